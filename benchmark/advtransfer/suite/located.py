"""Values of a suite with their file positions, and the collector of the problems found at them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NoReturn, TypeAlias

from advtransfer.errors import BadInput, Location, Problem
from advtransfer.types import Json


class Problems:
    """The mistakes found so far; `file` is the suite itself, whose problems come before those of its parents.

    `noted` counts what was noted, repetitions included: who sees it grow knows that something is wrong.
    """

    def __init__(self, file: str) -> None:
        self._file = file
        self._found: dict[Problem, None] = {}
        self._unreadable: set[Location] = set()
        self.noted_count = 0

    def add(self, mark: Location | None, *, found: str, expected: str, next_step: str) -> None:
        """Note a mistake; one already noted, or at a place that could not be read at all, adds nothing."""
        self.noted_count += 1
        if mark not in self._unreadable:
            self._found[Problem(found, expected, next_step, mark)] = None

    def add_unreadable(self, mark: Location, *, found: str, expected: str, next_step: str) -> None:
        """Note a value that cannot be read: what follows from it is not told as well."""
        self.add(mark, found=found, expected=expected, next_step=next_step)
        self._unreadable.add(mark)

    def add_and_raise(
        self, mark: Location | None, *, found: str, expected: str, next_step: str
    ) -> NoReturn:
        """Note a mistake behind which nothing can be read.

        Raises:
            BadInput: Always, with all problems so far.
        """
        self.add(mark, found=found, expected=expected, next_step=next_step)
        raise self._bad_input()

    def raise_if_any(self) -> None:
        """Raise what was collected.

        Raises:
            BadInput: There are problems; they are in the order of the file.
        """
        if self._found:
            raise self._bad_input()

    def _bad_input(self) -> BadInput:
        return BadInput(sorted(self._found, key=self._sort_key))

    def _sort_key(self, problem: Problem) -> tuple[bool, Location]:
        mark = problem.location or Location(self._file, 0, 0)
        return mark.file != self._file, mark


MAX_LISTED_NAMES = 30
"""So many names a message lists; the rest is counted."""
MAX_QUOTED_LENGTH = 60


def join_names(names: Iterable[object]) -> str:
    """Names for a message: all of them, or the first and how many more there are."""
    texts = list(map(str, names))
    more = [f"and {len(texts) - MAX_LISTED_NAMES:,} more"] if len(texts) > MAX_LISTED_NAMES else []
    return ", ".join([*texts[:MAX_LISTED_NAMES], *more])


def quote_name(name: object) -> str:
    """A name for a message, cut where it is long."""
    text = repr(name)
    return text if len(text) <= MAX_QUOTED_LENGTH else f"{text[: MAX_QUOTED_LENGTH - 3]}..."


def did_you_mean(name: object, known: Iterable[str], *, otherwise: str) -> str:
    """The next step for an unknown name: the nearest known one, or `otherwise`."""
    text = str(name)
    if len(text) > MAX_QUOTED_LENGTH:
        return otherwise
    names = [one for one in known if len(one) <= MAX_QUOTED_LENGTH]
    if (
        len(names) > MAX_LISTED_NAMES
    ):  # a ratio with every one of them, for each of many mistakes, would take minutes
        names = [one for one in names if one[:1] == text[:1] or one[-1:] == text[-1:]][
            : 10 * MAX_LISTED_NAMES
        ]
    near = difflib.get_close_matches(text, names, n=1)
    return f"did you mean {near[0]!r}?" if near else otherwise


LocatedValue: TypeAlias = (
    "bool | int | float | str | tuple[Located, ...] | Mapping[str, Located] | None"
)


@dataclass(frozen=True, slots=True)
class Located:
    """A value, where it stands, where its name stands, and, of a number, how the file writes it (``8/255``)."""

    value: LocatedValue
    location: Location
    key_location: Location | None = None
    text: str | None = None

    @property
    def name_location(self) -> Location:
        """Where the value's name stands, or the value itself where it has none."""
        return self.key_location or self.location

    def to_plain(self) -> Json:
        """The value without places."""
        if isinstance(self.value, Mapping):
            return {name: one.to_plain() for name, one in self.value.items()}
        if isinstance(self.value, tuple):
            return [one.to_plain() for one in self.value]
        return self.value

    def child(self, step: str | int) -> Located | None:
        """The value under a name or at a position, if there is one."""
        if isinstance(self.value, Mapping) and isinstance(step, str):
            return self.value.get(step)
        if isinstance(self.value, tuple) and isinstance(step, int) and 0 <= step < len(self.value):
            return self.value[step]
        return None

    def find_innermost(self, path: tuple[str | int, ...]) -> Located:
        """The value at a path, or the innermost one on the way to it."""
        child = self.child(path[0]) if path else None
        return child.find_innermost(path[1:]) if child else self

    def shown_text(self) -> str:
        """The value for a message."""
        text = self.text if self.text is not None else repr(self.to_plain())
        return text if len(text) <= 60 else f"{text[:57]}..."


def locate_plain(value: Json, mark: Location) -> Located:
    """A plain value, all of it at one place: a preset stands where it is named."""
    if isinstance(value, Mapping):
        return Located({name: locate_plain(one, mark) for name, one in value.items()}, mark)
    if isinstance(value, str | bool | int | float) or value is None:
        return Located(value, mark)
    return Located(tuple(locate_plain(one, mark) for one in value), mark)


def merge_located(lower: Located, upper: Located) -> Located:
    """`upper` over `lower`: mappings merge by name, all else is replaced; so is an entry of another component."""
    if not (
        isinstance(lower.value, Mapping) and isinstance(upper.value, Mapping)
    ) or _uses_other_component(lower, upper):
        return upper
    together = dict(lower.value)
    for name, one in upper.value.items():
        together[name] = merge_located(together[name], one) if name in together else one
    return replace(upper, value=together)


def _uses_other_component(lower: Located, upper: Located) -> bool:
    below, above = lower.child("use"), upper.child("use")
    return below is not None and above is not None and below.value != above.value
