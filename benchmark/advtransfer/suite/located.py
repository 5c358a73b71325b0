"""Values of a suite with their file positions, and the collector of the problems found at them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn, TypeAlias

from advtransfer.errors import AbsentFile, BadInput, Location, Problem
from advtransfer.types import Json


class Problems:
    """The mistakes found in a suite so far.

    `file` is the suite itself, whose problems are reported before those of its parents.
    `noted_count` counts every call, repetitions included, so a reader can compare it before and
    after a step to see whether the step went wrong.
    """

    def __init__(self, file: str) -> None:
        self._file = file
        self._collected: dict[Problem, None] = {}
        self._unreadable: set[Location] = set()
        self.noted_count = 0

    def add(self, mark: Location | None, *, found: str, expected: str, next_step: str) -> None:
        """Add a mistake, unless it is already there or its value could not be read at all."""
        self.noted_count += 1
        # A value that could not be read was replaced by a stand-in, so any further complaint about
        # it would be about the stand-in.
        if mark not in self._unreadable:
            self._collected[Problem(found, expected, next_step, mark)] = None

    def add_absent(self, value: Located, *, expected: str, next_step: str) -> None:
        """Add the path of a file or folder that is not on this machine."""
        self.noted_count += 1
        self._collected[AbsentFile(value.shown_text(), expected, next_step, value.location)] = None

    def add_unreadable(self, mark: Location, *, found: str, expected: str, next_step: str) -> None:
        """Add a value that cannot be read, and silence every later problem at its position."""
        self.add(mark, found=found, expected=expected, next_step=next_step)
        self._unreadable.add(mark)

    def add_and_raise(
        self, mark: Location | None, *, found: str, expected: str, next_step: str
    ) -> NoReturn:
        """Add a mistake after which nothing more can be read.

        Raises:
            BadInput: Always, with all problems so far.
        """
        self.add(mark, found=found, expected=expected, next_step=next_step)
        raise self._bad_input()

    def raise_if_any(self) -> None:
        """Raise all problems collected so far.

        Raises:
            BadInput: There are problems; they are sorted by position, the suite before its parents.
        """
        if self._collected:
            raise self._bad_input()

    def _bad_input(self) -> BadInput:
        return BadInput(sorted(self._collected, key=self._sort_key))

    def _sort_key(self, problem: Problem) -> tuple[bool, Location]:
        mark = problem.location or Location(self._file, 0, 0)
        return mark.file != self._file, mark


MAX_LISTED_NAMES = 30
"""Number of names that a message lists; the others are counted."""
MAX_QUOTED_LENGTH = 60
"""Number of characters of a name or value that a message quotes."""


def join_names(names: Iterable[object]) -> str:
    """Return names for a message: all of them, or the first ones and the number of the others."""
    texts = list(map(str, names))
    hidden_count = len(texts) - MAX_LISTED_NAMES
    if hidden_count <= 0:
        return ", ".join(texts)
    return ", ".join([*texts[:MAX_LISTED_NAMES], f"and {hidden_count:,} more"])


def quote_name(name: object) -> str:
    """Return a name in quotes for a message, shortened where it is long."""
    return _shorten(repr(name))


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_QUOTED_LENGTH else f"{text[: MAX_QUOTED_LENGTH - 3]}..."


def did_you_mean(name: object, known: Iterable[str], *, otherwise: str) -> str:
    """Return the next step for an unknown name: the nearest known name, or `otherwise`."""
    text = str(name)
    if len(text) > MAX_QUOTED_LENGTH:
        return otherwise
    candidates = [candidate for candidate in known if len(candidate) <= MAX_QUOTED_LENGTH]
    # difflib compares with every candidate. With thousands of candidates and as many mistakes this
    # would take minutes, so only those that share the first or the last character are compared.
    if len(candidates) > MAX_LISTED_NAMES:
        similar = [
            candidate
            for candidate in candidates
            if candidate[:1] == text[:1] or candidate[-1:] == text[-1:]
        ]
        candidates = similar[: 10 * MAX_LISTED_NAMES]
    near = difflib.get_close_matches(text, candidates, n=1)
    return f"did you mean {near[0]!r}?" if near else otherwise


LocatedValue: TypeAlias = (
    "bool | int | float | str | tuple[Located, ...] | Mapping[str, Located] | None"
)


@dataclass(frozen=True, slots=True)
class Located:
    """A value with its position in the file and the position of its key.

    `text` is set for numbers: the file's own spelling of it, such as ``8/255``.
    """

    value: LocatedValue
    location: Location
    key_location: Location | None = None
    text: str | None = None

    @property
    def name_location(self) -> Location:
        """Position of the value's key, or of the value itself where it has no key."""
        return self.key_location or self.location

    def to_plain(self) -> Json:
        """Return the value without positions."""
        if isinstance(self.value, Mapping):
            return {name: item.to_plain() for name, item in self.value.items()}
        if isinstance(self.value, tuple):
            return [item.to_plain() for item in self.value]
        return self.value

    def child(self, step: str | int) -> Located | None:
        """Return the value under a name or at an index, or None where there is none."""
        if isinstance(self.value, Mapping) and isinstance(step, str):
            return self.value.get(step)
        if isinstance(self.value, tuple) and isinstance(step, int) and 0 <= step < len(self.value):
            return self.value[step]
        return None

    def find_innermost(self, path: tuple[str | int, ...]) -> Located:
        """Return the value at a path, or the innermost existing value on the way to it."""
        child = self.child(path[0]) if path else None
        return child.find_innermost(path[1:]) if child else self

    def shown_text(self) -> str:
        """Return the value for a message, shortened where it is long."""
        return _shorten(self.text if self.text is not None else repr(self.to_plain()))


def locate_plain(value: Json, mark: Location) -> Located:
    """Return a plain value with every part of it at one position, as a preset is at its name."""
    if isinstance(value, Mapping):
        return Located({name: locate_plain(item, mark) for name, item in value.items()}, mark)
    if isinstance(value, str | bool | int | float) or value is None:
        return Located(value, mark)
    return Located(tuple(locate_plain(item, mark) for item in value), mark)


def merge_located(lower: Located, upper: Located) -> Located:
    """Return `upper` merged over `lower`.

    Mappings are merged key by key. Any other value of `upper` replaces that of `lower`, and so does
    an entry that uses another component, since the options of `lower` belong to the other one.
    """
    if not (isinstance(lower.value, Mapping) and isinstance(upper.value, Mapping)):
        return upper
    if _uses_other_component(lower, upper):
        return upper
    merged = dict(lower.value)
    for name, value in upper.value.items():
        merged[name] = merge_located(merged[name], value) if name in merged else value
    return replace(upper, value=merged)


def _uses_other_component(lower: Located, upper: Located) -> bool:
    lower_use, upper_use = lower.child("use"), upper.child("use")
    return lower_use is not None and upper_use is not None and lower_use.value != upper_use.value


def set_at_path(mapping: Located, path: Sequence[str], value: Located) -> Located:
    """Return a mapping with a value set at a path; mappings missing on the way are added."""
    name, *rest = path
    items = mapping.value if isinstance(mapping.value, Mapping) else {}
    if rest:
        inner = items.get(name, Located({}, value.location, value.key_location))
        value = set_at_path(inner, rest, value)
    return replace(mapping, value={**items, name: value})
