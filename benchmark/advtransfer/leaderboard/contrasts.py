"""Contrasts: which rows are compared, in which metric and tables.

The rows are those that `leaderboard.answer` names, else the best row and the baseline, else the best
row and the second.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from advtransfer.errors import BadInput, Problem
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.table_rows import (
    TablePlace,
    find_column,
)
from advtransfer.suite.row_settings import ANSWER_AXES, ROW_AXES
from advtransfer.types import Json

AnswerVerdict: TypeAlias = Literal["yes", "no", "cannot tell"]
RowLabels: TypeAlias = "Mapping[str, str | None]"
"""Labels of a row by axis, None for an axis without one; an axis that is not named is any."""


class NamedRow(Protocol):
    """A row of a table, or its name alone."""

    @property
    def source(self) -> str | None: ...
    @property
    def adapter(self) -> str | None: ...
    @property
    def transfer(self) -> str: ...


class RowName(NamedTuple):
    """The name of a row: it may stand in several tables."""

    source: str | None
    adapter: str | None
    transfer: str


Row = TypeVar("Row", bound=NamedRow)


@dataclass(frozen=True, slots=True)
class Contrast:
    """Which rows are compared, in which metric and tables.

    Attributes:
        metric: Name of the column.
        lowest_is_best: Whether the lowest value is best.
        of: The row that is asked about, None for the best one.
        against: What it is compared with, None for the second best row.
        at: Labels of ``target``, ``n``, ``source`` and ``transfer`` to which rows are restricted;
            without ``n``, the tables are those of each target's largest n.
        is_stated: Whether the suite states it.
    """

    metric: str
    lowest_is_best: bool = False
    of: RowLabels | None = None
    against: RowLabels | None = None
    at: Mapping[str, tuple[str | int, ...]] = field(default_factory=dict)
    is_stated: bool = False

    def selected_places(self, places: Iterable[TablePlace]) -> list[TablePlace]:
        """Return the tables that the contrast is about."""
        targets = self.at.get("target")
        of_targets = [place for place in places if targets is None or place[0] in targets]
        counts = self.at.get("n")
        if counts is not None:
            return [place for place in of_targets if place[1] in counts]
        # Places are in order of n, `all` last, so that the last one of a target has the largest.
        return list({target: (target, n) for target, n in of_targets}.values())

    def asks_about(self, row: NamedRow) -> bool:
        """Return whether a row is one that the contrast is about."""
        is_placed = all(
            getattr(row, axis) in self.at[axis]
            for axis in ("source", "transfer")
            if axis in self.at
        )
        return is_placed and (self.of is None or _has_labels(row, self.of))

    def opponent(self, row: NamedRow, rows: Sequence[Row]) -> Row | None:
        """Return the row that a row is compared with, None without a single one.

        It agrees with the row on the axes that `against` does not name. A row without a source
        (training from scratch) is compared with those of any source.
        """
        against = self.against or {}
        others = [other for other in rows if other is not row and _has_labels(other, against)]
        if "source" not in against:
            others = [other for other in others if other.source in (row.source, None)]
        if "transfer" not in against:
            others = [other for other in others if other.transfer == row.transfer]
        # Only a preference: another source may need no adapter, or another one.
        same_adapter = [other for other in others if other.adapter == row.adapter]
        others = same_adapter or others
        return others[0] if len(others) == 1 else None


def read_contrast(settings: Mapping[str, Json]) -> Contrast | None:
    """Return the contrast of a plan's ``leaderboard``; None without a metric, or where a question asks.

    Raises:
        BadInput: `answer` is malformed.
    """
    stated = settings.get("answer")
    if stated is not None and not is_answer(stated):
        found = f"leaderboard answer {stated!r}"
        expected = "metric, of, against and at, as `advtransfer schema` says"
        raise BadInput([Problem(found, expected, "correct it in the suite and run it again")])
    answer: Mapping[str, Json] = stated if isinstance(stated, Mapping) else {}
    metric = answer.get("metric") or settings.get("rank_by")
    if not metric or (not answer and settings.get("questions")):
        return None
    lowest = metric.get("lowest") if isinstance(metric, Mapping) else None
    return Contrast(
        metric=str(lowest or metric),
        lowest_is_best=lowest is not None,
        of=row_labels(answer.get("of")),
        against=row_labels(answer.get("against")) or _baseline_labels(settings.get("baseline")),
        at=read_place(answer.get("at")),
        is_stated=bool(answer),
    )


def requested_contrast(data: RunData) -> Contrast | None:
    """Return the contrast of a run's page, as `read_contrast`.

    Raises:
        BadInput: It is malformed, its metric is not in the records, or it names no row of the plan.
    """
    contrast = read_contrast(data.plan.leaderboard)
    if contrast is None:
        return None
    find_column(contrast.metric, data)
    names = named_rows(data.plan.trials)
    if contrast.is_stated and (reason := unmatched_reason(contrast, names)):
        raise BadInput(
            [Problem(reason, "rows that can be compared", "correct `answer` in the suite")]
        )
    return contrast


def named_rows(trials: Iterable[_TrialName]) -> dict[TablePlace, list[RowName]]:
    """Return the names of the rows of each table of a plan, ordered by target and n."""
    tables: dict[TablePlace, dict[RowName, None]] = {}
    for trial in sorted(trials, key=_place_order):
        name = RowName(trial.row, trial.adapter, trial.transfer)
        tables.setdefault((trial.target, trial.n), {})[name] = None
    return {place: list(names) for place, names in tables.items()}


class _TrialName(Protocol):
    @property
    def row(self) -> str | None: ...
    @property
    def adapter(self) -> str | None: ...
    @property
    def transfer(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def n(self) -> int | Literal["all"]: ...


def _place_order(trial: _TrialName) -> tuple[str, bool, int]:
    is_all = trial.n == "all"
    return trial.target, is_all, 0 if trial.n == "all" else trial.n


def unmatched_reason(
    contrast: Contrast, tables: Mapping[TablePlace, Sequence[RowName]]
) -> str | None:
    """Return why no two planned rows meet in a contrast, None where some do."""
    places = contrast.selected_places(tables)
    if not places:
        return "`answer` selects no table: no trial has its target and n"
    asked = [
        (row, tables[place])
        for place in places
        for row in tables[place]
        if contrast.asks_about(row)
    ]
    if not asked:
        return "`answer` selects no row: none has the labels of `of` at this place"
    if contrast.against is not None and not any(
        contrast.opponent(row, rows) for row, rows in asked
    ):
        return "`answer` compares no rows: none of `against` (or the baseline) meets one of `of`"
    return None


def _has_labels(row: NamedRow, labels: RowLabels) -> bool:
    return all(getattr(row, axis) == label for axis, label in labels.items())


def _baseline_labels(baseline: Json) -> RowLabels | None:
    if isinstance(baseline, Mapping):
        return {"transfer": str(baseline.get("transfer"))}
    return {"source": str(baseline)} if baseline else None


def row_labels(value: Json) -> RowLabels | None:
    """Return the labels of a row as a plan stores them, None where it has none."""
    if not isinstance(value, Mapping):
        return None
    return {axis: str(label) for axis, label in value.items()}


def read_place(value: Json) -> dict[str, tuple[str | int, ...]]:
    """Return the labels of each axis to which a contrast is restricted."""
    if not isinstance(value, Mapping):
        return {}
    return {axis: _place_labels(labels) for axis, labels in value.items()}


def _place_labels(value: Json) -> tuple[str | int, ...]:
    labels = value if isinstance(value, list | tuple) else [value]
    return tuple(label for label in labels if isinstance(label, str | int))


def is_answer(value: Json) -> bool:
    """Return whether a plan's `answer` has the fields of one: plans come from elsewhere too."""
    if not isinstance(value, Mapping):
        return False
    metric, at = value.get("metric"), value.get("at", {})
    if isinstance(metric, Mapping):
        metric = metric.get("lowest")
    sides = [value[side] for side in ("of", "against") if side in value]
    return (
        isinstance(metric, str | None)
        and isinstance(at, Mapping)
        and at.keys() <= set(ANSWER_AXES)
        and all(isinstance(side, Mapping) and side.keys() <= set(ROW_AXES) for side in sides)
    )
