"""The sections of a suite.

The reserved words of their entries, limits on their size, and the names on their axes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from advtransfer.hookspecs import ComponentKind
from advtransfer.node import NodeKind
from advtransfer.suite.located import Located, Problems, quote_name
from advtransfer.suite.selection import AXES, Axis, AxisName
from advtransfer.suite.suite import GridEntry

MAX_GRID_ENTRIES = 10_000
"""Sources, adapters, transfers, evaluations and data sets together, each point of a sweep and each replicate."""
MAX_TRIALS = 100_000
MAX_RESULTS = 1_000_000
MAX_TITLE_LENGTH = 300
MAX_LABEL_LENGTH = 160
"""Labels stand in tables, in the names of figures, and before every metric."""
MAX_IMAGE_SIDE = 4096
"""Of a side to which images are resized: one batch of larger ones takes tens of gigabytes."""


SUITE_FORMAT = 1
VIEW_OPTIONS = ("classes", "channels", "size")


@dataclass(frozen=True, slots=True)
class Section:
    """A section of component entries: what it holds, the words of its entries, the axes their `only` may name."""

    name: str
    kind: ComponentKind
    node_kind: NodeKind
    words: tuple[str, ...]
    only: tuple[str, ...] = AXES
    views: tuple[str, ...] = ()


INLINE_WORDS = ("use", "preset")
REFERENCE_WORDS = (*INLINE_WORDS, "seeds", "start")
TRAINING_STARTS = ("own", "source")
"""Where a reference's training starts: from weights of its own, or from those that a source of its seed starts from."""
DATASETS = Section(
    "datasets", "dataset", "data", ("use", "preset", "sweep", "label"), views=VIEW_OPTIONS
)
SOURCES = Section(
    "sources", "source", "source", ("use", "preset", "sweep", "label", "only", "seeds")
)
ADAPTERS = Section(
    "adapters",
    "adapter",
    "adapter",
    ("use", "preset", "sweep", "label", "only"),
    ("source", "target"),
)
TRANSFERS = Section(
    "transfers", "transfer", "transfer", ("use", "preset", "sweep", "label", "only")
)
EVALUATIONS = Section(
    "evaluations", "evaluation", "evaluation", ("use", "preset", "sweep", "label", "only")
)
SECTIONS = (DATASETS, SOURCES, ADAPTERS, TRANSFERS, EVALUATIONS)
SECTIONS_BY_KIND = {section.kind: section for section in SECTIONS}

NAMED_SECTIONS = ("defaults", "targets", *(section.name for section in SECTIONS))
TOP_LEVEL_KEYS = (
    "version",
    "title",
    "extends",
    "defaults",
    "datasets",
    "sources",
    "adapters",
    "targets",
    "transfers",
    "evaluations",
    "exclude",
    "leaderboard",
)


NAME_PATTERN = re.compile(r"\w([\w .+-]*[\w.+-])?")
_NAME_RULE = "a name of letters, digits, and spaces, dots, plus, minus or underscores inside"


def check_names(section: Mapping[str, Located], *, problems: Problems) -> None:
    """Note names of entries that globs, labels or metrics would be confused by."""
    for name, value in section.items():
        fault = label_fault(name) or (None if NAME_PATTERN.fullmatch(name) else _NAME_RULE)
        if fault:
            problems.add(
                value.name_location,
                found=f"the name {quote_name(name)}",
                expected=fault,
                next_step="rename it",
            )


def label_fault(label: str) -> str | None:
    """What is expected in place of a name or label that a page cannot show as it is, or would show like another one."""
    if len(label) > MAX_LABEL_LENGTH:
        return f"at most {MAX_LABEL_LENGTH} characters"
    if not _is_one_line(label):
        return "one line of printable text"
    if " ".join(label.split()) != label:
        return "single spaces, none at the ends"
    if unicodedata.normalize("NFC", label) != label:
        return "composed characters (Unicode's NFC), as keyboards type them"
    return None


def _is_one_line(label: str) -> bool:
    """Whether nothing in it breaks a line; joiners, which emoji and scripts are spelled with, do not."""
    return (
        all(one.isprintable() or unicodedata.category(one) == "Cf" for one in label)
        and not label.isspace()
    )


def build_axis(
    section: Mapping[str, Located],
    cells: Sequence[GridEntry],
    *,
    hidden: Iterable[re.Pattern[str]],
    problems: Problems,
) -> Axis:
    """The axis of a section: its keys, rows and labels; one name for two things is a problem."""
    meant: dict[AxisName, set[AxisName]] = {key: set() for key in section}
    owners = _key_owners(section, cells)
    seen: set[tuple[str, str, str]] = set()
    for cell in cells:
        clash = (cell.key, cell.row, cell.label) in seen
        for name in (cell.row, cell.label):
            clash |= owners.setdefault(name, (cell.key, cell.row)) != (cell.key, cell.row)
        if clash:
            _add_label_clash(cell, section[cell.key], problems)
        seen.add((cell.key, cell.row, cell.label))
        for name in (cell.key, cell.row, cell.label):
            meant.setdefault(name, set()).add(cell.label)
    return Axis({name: frozenset(some) for name, some in meant.items()}, tuple(hidden))


def _key_owners(
    section: Mapping[str, Located], cells: Sequence[GridEntry]
) -> dict[str, tuple[str, str | None]]:
    """Every key with the row it may name: its only one, or none where it has several."""
    rows: dict[str, set[str]] = {key: set() for key in section}
    for cell in cells:
        rows[cell.key].add(cell.row)
    return {key: (key, next(iter(some)) if len(some) == 1 else None) for key, some in rows.items()}


def _add_label_clash(cell: GridEntry, entry: Located, problems: Problems) -> None:
    label = entry.child("label")
    problems.add(
        label.location if label else entry.name_location,
        found=f"the label {quote_name(cell.label)} for two things",
        expected="a name of its own for each cell",
        next_step="put each swept option in braces into `label`, or rename one of the two",
    )
