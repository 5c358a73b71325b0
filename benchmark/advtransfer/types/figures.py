"""Kinds of figures that a page can show: their keys in a suite, and the function that draws them.

A kind is no component: a figure is made from records, so that it has no options in any content id and no version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from advtransfer.types.factory import Json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FigureKeyType: TypeAlias = Literal[
    "metric",
    "metrics",
    "robust_metric",
    "plain_metric",
    "metric_at_all_eps",
    "curve",
    "axis",
    "selection",
    "baseline",
    "evaluation",
    "option",
    "file",
    "text",
]
"""What a key of a figure holds in a suite.

``metric`` is one metric as in ``columns``, ``metrics`` one or a list, ``robust_metric`` a robust accuracy of the
fitted model and ``plain_metric`` any other, ``metric_at_all_eps`` one without its eps. ``curve`` is a column of the
fits' training curves, ``axis`` an axis of the grid, ``selection`` the labels on some axes, ``baseline`` a source or
``{transfer: NAME}`` to compare with, ``evaluation`` the name of one, ``option`` an option of a transfer or source, with
dots inside, ``file`` a file that the evaluation of the same figure writes, and ``text`` any text.
"""


@dataclass(frozen=True, slots=True)
class FigureRow:
    """The number of one row of a table: a source, adapter and transfer at one target and n.

    Attributes:
        target: Target.
        n: Labelled images, or ``all``.
        source: Source without its replicates, None where the transfer needs none.
        adapter: Adapter, None without one.
        transfer: Transfer.
        mean: Mean over the trials.
        interval: Its 95 % interval as on the page, None without spread.
        values: The number of each trial, by replicate of the source (None without any) and subset seed.
    """

    target: str
    n: int | str
    source: str | None
    adapter: str | None
    transfer: str
    mean: float
    interval: tuple[float, float] | None
    values: Mapping[tuple[int | None, int], float]


class FigureInputs(Protocol):
    """The settings of a figure and the numbers of its run."""

    @property
    def settings(self) -> Mapping[str, Json]:
        """The keys of the figure as the plan stores them, with labels in place of names."""

    @property
    def run(self) -> object:
        """The run as the host's own kinds read it; it may change with any release."""

    def rows(self, metric: str) -> Sequence[FigureRow]:
        """Return the rows that have a metric such as ``clean.accuracy``, ordered by target and n.

        Raises:
            BadInput: No record has such a metric, or several match.
        """


@dataclass(frozen=True, slots=True)
class Drawing:
    """What a kind of figure makes of a run.

    Attributes:
        name: What it shows, for its file name: its metric, or several.
        build: Returns the figure of matplotlib. It is called with the settings of the page's look; colors, markers
            and dashes of labels are in `advtransfer.toolkit.plot_style`.
        text: Alternative text, which states what a reader would see.
        caption: Caption in markdown.
        title: Name for screen readers, by default `name`.
        table: A table of the numbers in markdown, shown below the caption; empty without one.
    """

    name: str
    build: Callable[[], Figure]
    text: str
    caption: str
    title: str = ""
    table: str = ""


@dataclass(frozen=True, slots=True)
class FigureKind:
    """A kind of figure, as a plugin registers it with ``register_figures``.

    Attributes:
        name: Its name in ``kind``, which for kinds of plugins is ``plugin/name``.
        draw: Returns the drawing, or None where the run has no number for it.
        required: The keys that it must have beside ``kind``, and what each holds.
        optional: The keys that it may have.
        either: Keys of `optional` of which it must have exactly one.
        check: Raises `BadInput` where the records cannot give the figure (a metric without snapshots); the page then
            lists the reason in place of the figure.
        help: A sentence on what it shows.
    """

    name: str
    draw: Callable[[FigureInputs], Drawing | None]
    required: Mapping[str, FigureKeyType] = field(default_factory=dict)
    optional: Mapping[str, FigureKeyType] = field(default_factory=dict)
    either: tuple[str, ...] = ()
    check: Callable[[FigureInputs], None] | None = None
    help: str = ""

    @property
    def keys(self) -> Mapping[str, FigureKeyType]:
        """All keys beside ``kind``, and what each holds."""
        return {**self.required, **self.optional}
