"""What a suite file says, as plain frozen data.

The cells on each axis, what is left out, how the page looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from advtransfer.errors import Location
from advtransfer.node import Node
from advtransfer.suite.selection import Selection
from advtransfer.types import ComponentMetadata, Json


@dataclass(frozen=True, slots=True)
class GridEntry:
    """One value on an axis: an entry, or one point of its sweep, or one replicate of it.

    `key` is the entry's name, `label` this cell's own; replicates, which differ in their seed only, share a `row`.
    """

    key: str
    label: str
    row: str
    replicate: int | None
    node: Node
    only: Selection | None
    facts: ComponentMetadata


LeakagePolicy: TypeAlias = Literal["count", "error", "off"]


class Subset(NamedTuple):
    """A draw of the target's labelled images: `n` labels seen in all, `validation` the share of them held back."""

    n: int | Literal["all"]
    seed: int
    validation: float
    rule: str


@dataclass(frozen=True, slots=True)
class Target:
    """A task carried to: its data, the subsets drawn from it in order, its test images (None: all), its f_T.

    `leakage` says what becomes of training images among the test images: counted and shown, an error, or not looked
    for.
    """

    key: str
    data: GridEntry
    subsets: tuple[Subset, ...]
    test: int | None
    references: tuple[GridEntry, ...]
    leakage: LeakagePolicy = "count"


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """How results are shown.

    `baseline` is a source's row, or the label of a transfer; `rank_by` a metric of which more is better, or
    ``{lowest: metric}``.
    """

    baseline: str | Mapping[Literal["transfer"], str] | None = None
    rank_by: str | Mapping[str, str] | None = None
    columns: tuple[str, ...] = ()
    figures: tuple[Mapping[str, Json], ...] = ()
    questions: tuple[Mapping[str, Json], ...] = ()


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite, checked: `text` is what is stored beside its results, with `extends` resolved.

    `marks` says where each of its sections stands.
    """

    name: str
    title: str
    path: Path
    text: str
    datasets: tuple[GridEntry, ...] = ()
    sources: tuple[GridEntry, ...] = ()
    adapters: tuple[GridEntry, ...] = ()
    targets: tuple[Target, ...] = ()
    transfers: tuple[GridEntry, ...] = ()
    evaluations: tuple[GridEntry, ...] = ()
    exclude: tuple[Selection, ...] = ()
    leaderboard: Leaderboard = field(default_factory=Leaderboard)
    section_locations: Mapping[str, Location] = field(default_factory=dict)
