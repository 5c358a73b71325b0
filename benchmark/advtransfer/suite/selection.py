"""``only`` and ``exclude``: selections of grid cells, compiled so that matching is a look-up."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeAlias

from advtransfer.suite import validators
from advtransfer.suite.located import Located, Problems, did_you_mean, join_names

AxisName: TypeAlias = str | int
AxisLabels: TypeAlias = frozenset[AxisName]

_GLOB_CHARACTERS = frozenset("*?[")
AXES = ("source", "adapter", "target", "n", "seed", "transfer", "evaluation")


@dataclass(frozen=True, slots=True)
class Selection:
    """The cells that match on every axis named: the selected labels on each axis.

    On the axes n and seed, the labels are their values.
    """

    axes: Mapping[str, AxisLabels]

    def matches(self, position: Mapping[str, AxisName | None]) -> bool:
        """Return True where a cell is selected; `position` holds its label or value on each axis.

        An axis that `position` lacks, or on which it has None (no source, no adapter), matches no
        pattern.
        """
        return all(position.get(axis) in labels for axis, labels in self.axes.items())


@dataclass(frozen=True, slots=True)
class Axis:
    """The names on one axis, each with the labels that it stands for.

    `unresolved` are patterns of the labels that entries with mistakes would have had.
    """

    names: Mapping[AxisName, AxisLabels]
    unresolved: tuple[re.Pattern[str], ...] = ()

    @classmethod
    def of_values(cls, values: Iterable[AxisName], *, complete: bool = True) -> Axis:
        """Return an axis of values that stand for themselves: n, seed or targets.

        Where they are not `complete`, any other name may be a value that a mistake keeps unknown.
        """
        # The pattern `.*` matches any name.
        return cls(
            {value: frozenset((value,)) for value in values},
            () if complete else (re.compile(".*"),),
        )

    def matching_labels(self, pattern: AxisName) -> AxisLabels:
        """Return the labels that a name or a glob stands for.

        A name wins over a glob, since labels may contain brackets.
        """
        if pattern in self.names or not isinstance(pattern, str):
            return self.names.get(pattern, frozenset())
        globbed = (
            name for name in self.names if isinstance(name, str) and fnmatchcase(name, pattern)
        )
        return frozenset().union(*(self.names[name] for name in globbed))

    def may_be_unresolved(self, pattern: AxisName) -> bool:
        """Return True where a name or a glob may mean a cell whose label a mistake keeps unknown.

        That mistake is reported at its own place.
        """
        text = str(pattern)
        if not _GLOB_CHARACTERS.isdisjoint(text):
            return bool(self.unresolved)
        return any(label.fullmatch(text) for label in self.unresolved)


@dataclass(frozen=True, slots=True)
class Grid:
    """The axes of a suite, against which selections are compiled."""

    axes: Mapping[str, Axis]

    def compile_selection(
        self, value: Located, *, allowed: Iterable[str] = AXES, problems: Problems
    ) -> Selection:
        """Return the selection of a mapping of axes to patterns.

        A pattern that matches nothing is a problem.
        """
        patterns_by_axis = validators.require_closed_mapping(
            value, allowed, of="a selection of cells", problems=problems
        )
        # An empty selection would match every cell, so that `exclude: [{}]` excluded them all.
        if value.value == {}:
            validators.add_mismatch(
                value,
                expected="at least one axis",
                next_step="write for example {source: NAME}",
                problems=problems,
            )
        return Selection(
            {
                axis: self._selected_labels(axis, patterns, problems)
                for axis, patterns in patterns_by_axis.items()
            }
        )

    def _selected_labels(self, axis: str, patterns: Located, problems: Problems) -> AxisLabels:
        items = patterns.value if isinstance(patterns.value, tuple) else (patterns,)
        return frozenset().union(
            *(self._pattern_labels(axis, pattern, problems) for pattern in items)
        )

    def _pattern_labels(self, axis: str, pattern: Located, problems: Problems) -> AxisLabels:
        value = pattern.value
        if isinstance(value, str | int) and not isinstance(value, bool):
            labels = self.axes[axis].matching_labels(value)
            if labels or self.axes[axis].may_be_unresolved(value):
                return labels
        names = self.axes[axis].names
        problems.add(
            pattern.location,
            found=f"{pattern.shown_text()}, which matches no {axis}",
            expected=join_names(names) if names else f"no {axis}, since the suite has none",
            next_step=did_you_mean(
                value, map(str, names), otherwise="correct it (a name may be a glob), or remove it"
            ),
        )
        return frozenset()
