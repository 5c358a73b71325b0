"""A suite as plain frozen data: the cells on each axis, the exclusions, and the page's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from advtransfer.errors import Location
from advtransfer.host.plugin import plugins_of
from advtransfer.node import Node
from advtransfer.suite.placeholders import Placeholder
from advtransfer.suite.resources import NO_RESOURCES, Resources
from advtransfer.suite.selection import Selection
from advtransfer.types import ComponentMetadata, Json


@dataclass(frozen=True, slots=True)
class GridEntry:
    """One value on an axis: an entry, one point of its sweep, or one replicate of it.

    `key` is the entry's name and `label` this cell's own. Replicates, which differ only in their
    seed, share a `row`. `only` limits the cells of the grid that the value is used in, and
    `resources` are what jobs with it need. `test_data` is the data set whose test part an evaluation
    is measured on, where it is a further one of ``also``; None: that of the target's own data.
    """

    key: str
    label: str
    row: str
    replicate: int | None
    node: Node
    only: Selection | None
    facts: ComponentMetadata
    resources: Resources = NO_RESOURCES
    test_data: GridEntry | None = None


LeakagePolicy: TypeAlias = Literal["count", "error", "off"]


class SeedPairing(NamedTuple):
    """The position of a subset seed, from 0 to below `seed_count`, that is paired with trainings."""

    position: int
    seed_count: int


class Subset(NamedTuple):
    """A draw of the target's labelled images.

    `n` counts the labels seen in all, `validation` is the share of them that is held out, and
    `rule` the rule that draws them with `seed`. Where seeds are paired with trainings, `pairing` is
    the position of `seed` among the seeds, and thereby of its training among a source's.
    """

    n: int | Literal["all"]
    seed: int
    validation: float
    rule: str
    pairing: SeedPairing | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A task to transfer to.

    Its data, the subsets drawn from it in the order written, the number of its test images (None:
    all), and its references f_T, which are trained on the target itself. `leakage` is the policy on
    training images among the test images: count and show them, treat them as an error, or do not
    look for them. `also` are further data sets of the same classes, on whose test parts fitted
    models are evaluated too. `seeds_location` is where its subset seeds are written.
    """

    key: str
    data: GridEntry
    subsets: tuple[Subset, ...]
    test: int | None
    references: tuple[GridEntry, ...]
    leakage: LeakagePolicy = "count"
    also: tuple[GridEntry, ...] = ()
    seeds_location: Location | None = field(default=None, compare=False)


Baseline: TypeAlias = "str | Mapping[Literal['transfer'], str]"
"""A source's row, or the label of a transfer."""


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """Settings of the page.

    `baseline` is a source's row, or the label of a transfer; it is the first of `baselines` where a
    suite has several, each a column of differences. `all_n` are metrics with a table over all n.
    `rank_by` is a metric of which more is better, or ``{lowest: metric}``. `note` is the suite's own
    text for the page. `answer` is the contrast that answers the suite's question, as `plan.json`
    holds it. `open` names the axes that submissions to its board may add to, `reported` the
    publications whose tables are shown. `claims` are what papers claim, as `plan.json` holds them,
    and `registered` is the commit that held them before the run, empty without one.
    """

    baseline: Baseline | None = None
    rank_by: str | Mapping[str, str] | None = None
    columns: tuple[str, ...] = ()
    figures: tuple[Mapping[str, Json], ...] = ()
    questions: tuple[Mapping[str, Json], ...] = ()
    note: str = ""
    open: tuple[str, ...] = ()
    reported: tuple[str, ...] = ()
    answer: Mapping[str, Json] | None = None
    baselines: tuple[Baseline, ...] = ()
    all_n: tuple[str, ...] = ()
    claims: tuple[Mapping[str, Json], ...] = ()
    registered: str = ""


@dataclass(frozen=True, slots=True)
class Suite:
    """A checked suite.

    `text` is stored beside its results, with `extends` resolved. `section_locations` holds the
    position of each section's name. `resources` are those of jobs whose entries ask for none.
    `placeholders` are missing files and folders; a suite that has one can be planned but not run.
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
    resources: Resources = NO_RESOURCES
    placeholders: tuple[Placeholder, ...] = ()

    def plugin_names(self) -> list[str]:
        """Return the names of the plugins whose components are in the grid, sorted."""
        entries = [*self.sources, *self.adapters, *self.transfers, *self.evaluations]
        for target in self.targets:
            entries += [target.data, *target.references, *target.also]
        return sorted(set().union(*(plugins_of(entry.node) for entry in entries)))
