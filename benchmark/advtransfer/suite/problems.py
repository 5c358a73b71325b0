"""Every mistake of a suite, collected so that one reading reports them all."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import NoReturn

from advtransfer.errors import BadInput, Mark, Problem


class Problems:
    """The mistakes found so far; `file` is the suite itself, whose problems come before those of its parents.

    `noted` counts what was noted, repetitions included: who sees it grow knows that something is wrong.
    """

    def __init__(self, file: str) -> None:
        self._file = file
        self._found: dict[Problem, None] = {}
        self._unreadable: set[Mark] = set()
        self.noted = 0

    def add(self, mark: Mark | None, *, found: str, expected: str, next_step: str) -> None:
        """Note a mistake; one already noted, or at a place that could not be read at all, adds nothing."""
        self.noted += 1
        if mark not in self._unreadable:
            self._found[Problem(found, expected, next_step, mark)] = None

    def unreadable(self, mark: Mark, *, found: str, expected: str, next_step: str) -> None:
        """Note a value that cannot be read: what follows from it is not told as well."""
        self.add(mark, found=found, expected=expected, next_step=next_step)
        self._unreadable.add(mark)

    def stop(self, mark: Mark | None, *, found: str, expected: str, next_step: str) -> NoReturn:
        """Note a mistake behind which nothing can be read.

        Raises:
            BadInput: Always, with all problems so far.
        """
        self.add(mark, found=found, expected=expected, next_step=next_step)
        raise self._error()

    def check(self) -> None:
        """Raise what was collected.

        Raises:
            BadInput: There are problems; they are in the order of the file.
        """
        if self._found:
            raise self._error()

    def _error(self) -> BadInput:
        return BadInput(sorted(self._found, key=self._place))

    def _place(self, problem: Problem) -> tuple[bool, Mark]:
        mark = problem.mark or Mark(self._file, 0, 0)
        return mark.file != self._file, mark


MOST_NAMES = 30
"""So many names a message lists; the rest is counted."""
LONGEST_NAME = 60


def listing(names: Iterable[object]) -> str:
    """Names for a message: all of them, or the first and how many more there are."""
    texts = list(map(str, names))
    more = [f"and {len(texts) - MOST_NAMES:,} more"] if len(texts) > MOST_NAMES else []
    return ", ".join([*texts[:MOST_NAMES], *more])


def quoted(name: object) -> str:
    """A name for a message, cut where it is long."""
    text = repr(name)
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 3]}..."


def did_you_mean(name: object, known: Iterable[str], *, otherwise: str) -> str:
    """The next step for an unknown name: the nearest known one, or `otherwise`."""
    text = str(name)
    if len(text) > LONGEST_NAME:
        return otherwise
    names = [one for one in known if len(one) <= LONGEST_NAME]
    if len(names) > MOST_NAMES:  # a ratio with every one of them, for each of many mistakes, would take minutes
        names = [one for one in names if one[:1] == text[:1] or one[-1:] == text[-1:]][: 10 * MOST_NAMES]
    near = difflib.get_close_matches(text, names, n=1)
    return f"did you mean {near[0]!r}?" if near else otherwise
