"""Names of a table's rows in ``leaderboard``: a source, a transfer, or several axes of a row.

Names are checked against the grid and replaced by the labels that results are shown under.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from advtransfer.suite import validators
from advtransfer.suite.located import Located, Problems, did_you_mean, join_names
from advtransfer.suite.selection import AxisName, Grid
from advtransfer.suite.suite import GridEntry
from advtransfer.types import Json

ROW_AXES = ("source", "adapter", "transfer")
"""The axes that name a row of a table."""
ANSWER_AXES = ("target", "n", "source", "transfer")
"""The axes on which `answer` may restrict tables and rows."""


@dataclass(frozen=True, slots=True)
class RowReader:
    """Reader of the names of rows, with the suite's grid and sources."""

    grid: Grid
    sources: tuple[GridEntry, ...]
    problems: Problems

    def _read_row(self, side: str, value: Located) -> Mapping[str, str] | None:
        """Return the labels that name rows: of a source, a transfer, or several axes of a row."""
        if isinstance(value.value, Mapping):
            items = validators.require_closed_mapping(
                value, ROW_AXES, of=f"`{side}`", problems=self.problems
            )
            if not value.value:
                self._add_unknown_row(value)
            labels = {
                axis: self._row_label(axis, items[axis]) for axis in ROW_AXES if axis in items
            }
            return {axis: label for axis, label in labels.items() if label is not None} or None
        axes = [axis for axis in ("source", "transfer") if self._is_name(axis, value)]
        if len(axes) == 1:
            label = self._row_label(axes[0], value)
            return None if label is None else {axes[0]: label}
        text = str(value.value)
        if axes or not any(self.grid.axes[axis].may_be_unresolved(text) for axis in ROW_AXES):
            self._add_unknown_row(value)
        return None

    def _row_label(self, axis: str, value: Located) -> str | None:
        if axis != "source":
            return self._single_label(axis, value)
        labels = self._labels_named("source", value)
        rows = {cell.row for cell in self.sources if cell.label in labels}
        return self._only_one(rows, value, "row of sources")

    def _is_name(self, axis: str, value: Located) -> bool:
        return isinstance(value.value, str) and value.value in self.grid.axes[axis].names

    def _add_unknown_row(self, value: Located) -> None:
        """Add a problem for a value that names no row, or both a source and a transfer."""
        names = {axis: self.grid.axes[axis].names for axis in ("source", "transfer")}
        texts = [f"a {axis}: {join_names(known)}" for axis, known in names.items() if known]
        both = [*names["source"], *names["transfer"]]
        is_ambiguous = all(self._is_name(axis, value) for axis in names)
        otherwise = "write {source: NAME}, {transfer: NAME}, or both"
        validators.add_mismatch(
            value,
            expected="a source or a transfer, not a name of both"
            if is_ambiguous
            else f"{'; or '.join(texts)}; or a mapping of {', '.join(ROW_AXES)}",
            next_step=otherwise
            if is_ambiguous
            else did_you_mean(value.value, map(str, both), otherwise=otherwise),
            problems=self.problems,
        )

    def _read_place(self, value: Located) -> dict[str, Json]:
        """Return the labels to which `answer` is restricted; sources as rows."""
        selected = self.grid.compile_selection(
            value, allowed=ANSWER_AXES, problems=self.problems
        ).axes
        place = {axis: set(labels) for axis, labels in selected.items()}
        if "source" in place:
            labels = place["source"]
            place["source"] = {cell.row for cell in self.sources if cell.label in labels}
        return {axis: sorted_labels(labels) for axis, labels in place.items()}

    def _single_label(self, axis: str, value: Located) -> str | None:
        return self._only_one(self._labels_named(axis, value), value, axis)

    def _labels_named(self, axis: str, value: Located) -> set[str]:
        """Return the labels that a name stands for; a glob is no name here."""
        names = self.grid.axes[axis].names
        text = value.value
        if isinstance(text, str) and text in names:
            return {str(label) for label in names[text]}
        # A name that an entry with mistakes may have had is no further mistake.
        if not (isinstance(text, str) and self.grid.axes[axis].may_be_unresolved(text)):
            choices = f"a {axis}: {join_names(names)}"
            validators.add_mismatch(
                value,
                expected=choices if names else f"no {axis}, since the suite has none",
                next_step=did_you_mean(text, map(str, names), otherwise="correct the name"),
                problems=self.problems,
            )
        return set()

    def _only_one(self, labels: set[str], value: Located, noun: str) -> str | None:
        if len(labels) > 1:
            validators.add_mismatch(
                value,
                expected=f"the name of one {noun}",
                next_step=f"name one of {join_names(sorted(labels))}",
                problems=self.problems,
            )
        return next(iter(labels)) if len(labels) == 1 else None


def sorted_labels(labels: Iterable[AxisName]) -> list[Json]:
    """Return labels in order, counts before the text "all"."""
    # Python does not compare the two types.
    return sorted(labels, key=lambda label: (isinstance(label, str), label))
