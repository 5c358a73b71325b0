"""Small readers of marked values: each gives the value, or notes what was expected in its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from advtransfer.suite.marked import Marked
from advtransfer.suite.number_texts import number_step
from advtransfer.suite.problems import Problems, did_you_mean, listing, quoted
from advtransfer.suite.scalars import LARGEST_INTEGER


def mapping(value: Marked, *, expected: str, problems: Problems) -> Mapping[str, Marked]:
    """A mapping, or an empty one and a problem."""
    if isinstance(value.value, Mapping):
        return value.value
    wrong(value, expected=expected, next_step="write `name: value` lines", problems=problems)
    return {}


def known(entries: Mapping[str, Marked], names: Iterable[str], *, of: str, problems: Problems) -> dict[str, Marked]:
    """What is set under known names; any other name is a problem."""
    allowed = list(names)
    for name in entries.keys() - set(allowed):
        problems.add(
            entries[name].name_mark,
            found=f"the unknown name {quoted(name)} in {of}",
            expected=f"one of {listing(allowed)}" if allowed else "nothing there",
            next_step=did_you_mean(name, allowed, otherwise="remove it"),
        )
    return {name: value for name, value in entries.items() if name in allowed}


def closed(value: Marked, names: Iterable[str], *, of: str, problems: Problems) -> dict[str, Marked]:
    """A mapping with known names only; a null is as good as not written."""
    entries = known(mapping(value, expected=f"{of}, a mapping", problems=problems), names, of=of, problems=problems)
    return {name: one for name, one in entries.items() if one.value is not None}


def listed(value: Marked, *, expected: str, problems: Problems) -> tuple[Marked, ...]:
    """A list with something in it, or an empty one and a problem."""
    if isinstance(value.value, tuple) and value.value:
        return value.value
    wrong(value, expected=expected, next_step="write it as `[a, b]`", problems=problems)
    return ()


def text(value: Marked, *, expected: str, problems: Problems) -> str | None:
    """A text with something in it, or None and a problem."""
    if isinstance(value.value, str) and value.value.strip():
        return value.value
    wrong(value, expected=expected, next_step="put a text that looks like another value in quotes", problems=problems)
    return None


def integer(
    value: Marked, *, at_least: int, at_most: int = LARGEST_INTEGER, expected: str, problems: Problems
) -> int | None:
    """An integer of some range, or None and a problem."""
    number = value.value
    if isinstance(number, int) and not isinstance(number, bool) and at_least <= number <= at_most:
        return number
    wrong(value, expected=expected, next_step=corrected(value), problems=problems)
    return None


def corrected(value: Marked) -> str:
    """The next step for a value that should be a number."""
    if isinstance(value.value, float) and value.value.is_integer():
        return f"write {int(value.value)}"
    step = number_step(value.value) if isinstance(value.value, str) else None
    return step or "correct it"


def count_or_all(value: Marked, *, of: str, problems: Problems) -> int | Literal["all"] | None:
    """A count above 0 or ``all``, or None and a problem."""
    if value.value == "all":
        return "all"
    if isinstance(value.value, str) and value.value.strip().lower() == "all":
        wrong(value, expected=f"a count of {of} above 0, or all", next_step="write all", problems=problems)
        return None
    return integer(value, at_least=1, expected=f"a count of {of} above 0, or all", problems=problems)


def wrong(value: Marked, *, expected: str, next_step: str, problems: Problems) -> None:
    """Note that a value is not what was expected."""
    problems.add(value.mark, found=value.shown(), expected=expected, next_step=next_step)
