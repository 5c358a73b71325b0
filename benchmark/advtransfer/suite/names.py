"""The names of a section: which may be written, and what each stands for on its axis."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from advtransfer.suite.limits import LONGEST_LABEL
from advtransfer.suite.marked import Marked
from advtransfer.suite.problems import Problems, quoted
from advtransfer.suite.selection import Axis, Name
from advtransfer.suite.suite import Cell

USABLE = re.compile(r"\w([\w .+-]*[\w.+-])?")
_WORDS = "a name of letters, digits, and spaces, dots, plus, minus or underscores inside"


def check_names(section: Mapping[str, Marked], *, problems: Problems) -> None:
    """Note names of entries that globs, labels or metrics would be confused by."""
    for name, value in section.items():
        fault = untidy(name) or (None if USABLE.fullmatch(name) else _WORDS)
        if fault:
            problems.add(value.name_mark, found=f"the name {quoted(name)}", expected=fault, next_step="rename it")


def untidy(label: str) -> str | None:
    """What is expected in place of a name or label that a page cannot show as it is, or would show like another one."""
    if len(label) > LONGEST_LABEL:
        return f"at most {LONGEST_LABEL} characters"
    if not _one_line(label):
        return "one line of printable text"
    if " ".join(label.split()) != label:
        return "single spaces, none at the ends"
    if unicodedata.normalize("NFC", label) != label:
        return "composed characters (Unicode's NFC), as keyboards type them"
    return None


def _one_line(label: str) -> bool:
    """Whether nothing in it breaks a line; joiners, which emoji and scripts are spelled with, do not."""
    return all(one.isprintable() or unicodedata.category(one) == "Cf" for one in label) and not label.isspace()


def axis(
    section: Mapping[str, Marked], cells: Sequence[Cell], *, hidden: Iterable[re.Pattern[str]], problems: Problems
) -> Axis:
    """The axis of a section: its keys, rows and labels; one name for two things is a problem."""
    meant: dict[Name, set[Name]] = {key: set() for key in section}
    owners = _owners(section, cells)
    seen: set[tuple[str, str, str]] = set()
    for cell in cells:
        clash = (cell.key, cell.row, cell.label) in seen
        for name in (cell.row, cell.label):
            clash |= owners.setdefault(name, (cell.key, cell.row)) != (cell.key, cell.row)
        if clash:
            _note_clash(cell, section[cell.key], problems)
        seen.add((cell.key, cell.row, cell.label))
        for name in (cell.key, cell.row, cell.label):
            meant.setdefault(name, set()).add(cell.label)
    return Axis({name: frozenset(some) for name, some in meant.items()}, tuple(hidden))


def _owners(section: Mapping[str, Marked], cells: Sequence[Cell]) -> dict[str, tuple[str, str | None]]:
    """Every key with the row it may name: its only one, or none where it has several."""
    rows: dict[str, set[str]] = {key: set() for key in section}
    for cell in cells:
        rows[cell.key].add(cell.row)
    return {key: (key, next(iter(some)) if len(some) == 1 else None) for key, some in rows.items()}


def _note_clash(cell: Cell, entry: Marked, problems: Problems) -> None:
    label = entry.child("label")
    problems.add(
        label.mark if label else entry.name_mark,
        found=f"the label {quoted(cell.label)} for two things",
        expected="a name of its own for each cell",
        next_step="put each swept option in braces into `label`, or rename one of the two",
    )
