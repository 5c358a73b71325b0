"""``only`` and ``exclude``.

Which cells of the grid are meant, compiled so that matching is a look-up.
"""

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
    """The cells that match on every axis named: for each such axis the labels (of n and seed the values) meant."""

    axes: Mapping[str, AxisLabels]

    def matches(self, place: Mapping[str, AxisName | None]) -> bool:
        """Whether a cell is meant; `place` gives its label, or value, on each axis.

        An axis that the place lacks, or has None on (no source, no adapter), matches no pattern.
        """
        return all(place.get(axis) in labels for axis, labels in self.axes.items())


@dataclass(frozen=True, slots=True)
class Axis:
    """The names on one axis and the labels each stands for; `hidden` tells labels that a mistake keeps unknown."""

    names: Mapping[AxisName, AxisLabels]
    unresolved: tuple[re.Pattern[str], ...] = ()

    @classmethod
    def of_values(cls, values: Iterable[AxisName], *, complete: bool = True) -> Axis:
        """An axis of values that stand for themselves: n, seed, targets."""
        return cls(
            {value: frozenset((value,)) for value in values},
            () if complete else (re.compile(".*"),),
        )

    def matching_labels(self, pattern: AxisName) -> AxisLabels:
        """The labels that a name or a glob stands for; a name wins, since labels may hold brackets."""
        if pattern in self.names or not isinstance(pattern, str):
            return self.names.get(pattern, frozenset())
        globbed = (
            name for name in self.names if isinstance(name, str) and fnmatchcase(name, pattern)
        )
        return frozenset().union(*(self.names[name] for name in globbed))

    def may_be_unresolved(self, pattern: AxisName) -> bool:
        """Whether a name or a glob may mean a cell that a mistake, noted elsewhere, keeps from having a label."""
        text = str(pattern)
        return any(
            one.fullmatch(text) or not _GLOB_CHARACTERS.isdisjoint(text) for one in self.unresolved
        )


@dataclass(frozen=True, slots=True)
class Grid:
    """The axes of a suite; compiles what its selections say."""

    axes: Mapping[str, Axis]

    def compile_selection(
        self, value: Located, *, allowed: Iterable[str] = AXES, problems: Problems
    ) -> Selection:
        """The selection that a mapping of axes to patterns says; a pattern that matches nothing is a problem."""
        known = validators.require_closed_mapping(
            value, allowed, of="a selection of cells", problems=problems
        )
        if value.value == {}:
            next_step = "write for example {source: NAME}"
            validators.add_mismatch(
                value, expected="at least one axis", next_step=next_step, problems=problems
            )
        return Selection(
            {
                axis: self._selected_labels(axis, patterns, problems)
                for axis, patterns in known.items()
            }
        )

    def _selected_labels(self, axis: str, patterns: Located, problems: Problems) -> AxisLabels:
        several = patterns.value if isinstance(patterns.value, tuple) else (patterns,)
        return frozenset().union(
            *(self._pattern_labels(axis, pattern, problems) for pattern in several)
        )

    def _pattern_labels(self, axis: str, pattern: Located, problems: Problems) -> AxisLabels:
        value, names = pattern.value, self.axes[axis].names
        if isinstance(value, str | int) and not isinstance(value, bool):
            labels = self.axes[axis].matching_labels(value)
            if labels or self.axes[axis].may_be_unresolved(value):
                return labels
        problems.add(
            pattern.location,
            found=f"{pattern.shown_text()}, which matches no {axis}",
            expected=join_names(names) if names else f"no {axis}, since the suite has none",
            next_step=did_you_mean(
                value, map(str, names), otherwise="correct it (a name may be a glob), or remove it"
            ),
        )
        return frozenset()
