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
from advtransfer.suite.resources import RESOURCES
from advtransfer.suite.selection import AXES, Axis, AxisName
from advtransfer.suite.suite import GridEntry
from advtransfer.types.metric_names import RESERVED_LABELS

MAX_GRID_ENTRIES = 10_000
"""Limit on the entries of all sections, with each sweep point and each replicate counted."""
MAX_TRIALS = 100_000
MAX_RESULTS = 1_000_000
MAX_TITLE_LENGTH = 300
MAX_LABEL_LENGTH = 160
"""Limit on labels, which are printed in tables, in names of figures, and before every metric."""
MAX_IMAGE_SIDE = 4096
"""Limit on the side in pixels to which images are resized. A batch of larger ones needs tens of
gigabytes."""


SUITE_FORMAT = 1
VIEW_OPTIONS = ("classes", "channels", "size", "attribute")


@dataclass(frozen=True, slots=True)
class Section:
    """A section of component entries.

    Its components' kind and their nodes' kind, the reserved words of its entries, the axes that
    their `only` may name, the options that select a view of a data set, and the labels that the
    host gives itself.
    """

    name: str
    kind: ComponentKind
    node_kind: NodeKind
    words: tuple[str, ...]
    only: tuple[str, ...] = AXES
    views: tuple[str, ...] = ()
    reserved: frozenset[str] = frozenset()


INLINE_WORDS = ("use", "preset")
REFERENCE_WORDS = (*INLINE_WORDS, "seeds", "start", RESOURCES, "timeout")
TRAINING_STARTS = ("own", "source")
"""Initial weights of a reference: its own draw, or those from which a source of its seed starts."""
CHOOSE = "choose"
CHOOSE_KEYS = ("by", "among", "folds", "attack")
CHOICE_STEP = "write `choose: {by: validation.accuracy, among: {OPTION: [...]}, folds: 5}`"
"""Next step where options are written as if a component chose among them itself."""
# Data sets are on no axis of the grid, so their entries have no `only`.
DATASETS = Section(
    "datasets", "dataset", "data", ("use", "preset", "sweep", "label"), views=VIEW_OPTIONS
)
SOURCES = Section(
    "sources",
    "source",
    "source",
    ("use", "preset", "sweep", "label", "only", "seeds", RESOURCES, "timeout"),
)
# An adapter connects a source to a target, whatever is transferred and measured there.
ADAPTERS = Section(
    "adapters",
    "adapter",
    "adapter",
    ("use", "preset", "sweep", "label", "only", RESOURCES),
    ("source", "target"),
)
TRANSFERS = Section(
    "transfers",
    "transfer",
    "transfer",
    ("use", "preset", "sweep", CHOOSE, "label", "only", RESOURCES, "timeout"),
)
EVALUATIONS = Section(
    "evaluations",
    "evaluation",
    "evaluation",
    ("use", "preset", "sweep", "label", "only", RESOURCES, "timeout"),
    reserved=RESERVED_LABELS,
)
SECTIONS = (DATASETS, SOURCES, ADAPTERS, TRANSFERS, EVALUATIONS)
SECTIONS_BY_KIND = {section.kind: section for section in SECTIONS}

NAMED_SECTIONS = ("defaults", "targets", *(section.name for section in SECTIONS))
TOP_LEVEL_KEYS = (
    "version",
    "title",
    "extends",
    RESOURCES,
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


# Globs, brackets, commas and @ are left out: they have a meaning in selections, labels and metrics.
NAME_PATTERN = re.compile(r"\w([\w .+-]*[\w.+-])?")
_NAME_RULE = "a name of letters, digits, and spaces, dots, plus, minus or underscores inside"


def check_names(
    section: Mapping[str, Located], *, reserved: frozenset[str] = frozenset(), problems: Problems
) -> None:
    """Add problems for names of entries that would confuse globs, labels or metrics."""
    for name, value in section.items():
        expected = label_fault(name, reserved=reserved)
        if expected is None and not NAME_PATTERN.fullmatch(name):
            expected = _NAME_RULE
        if expected is not None:
            problems.add(
                value.name_location,
                found=f"the name {quote_name(name)}",
                expected=expected,
                next_step="rename it",
            )


def label_fault(label: str, *, reserved: frozenset[str] = frozenset()) -> str | None:
    """Return what is expected in place of a name or label, or None where it can be used.

    A page must be able to print a label, and two labels must not look the same.
    """
    if label in reserved:
        return f"another name, since {label} is what the host itself measures"
    if len(label) > MAX_LABEL_LENGTH:
        return f"at most {MAX_LABEL_LENGTH} characters"
    if not _is_one_line(label):
        return "one line of printable text"
    if " ".join(label.split()) != label:
        return "single spaces, none at the ends"
    # Two texts that differ only in their composition look the same, and name two things.
    if unicodedata.normalize("NFC", label) != label:
        return "composed characters (Unicode's NFC), as keyboards type them"
    return None


def _is_one_line(label: str) -> bool:
    # isprintable() refuses every character of category Cf. Joiners are of it too, and emoji and
    # several scripts are spelled with them.
    printable = all(
        character.isprintable() or unicodedata.category(character) == "Cf" for character in label
    )
    return printable and not label.isspace()


def build_axis(
    section: Mapping[str, Located],
    cells: Sequence[GridEntry],
    *,
    hidden: Iterable[re.Pattern[str]],
    problems: Problems,
) -> Axis:
    """Return the axis of a section, and add a problem for each name that means two things.

    A cell can be named by its entry's key, by its row (all replicates of it), or by its own label.

    Args:
        section: The section's entries by key.
        cells: The cells of all entries.
        hidden: Patterns of the labels that entries with mistakes would have had.
        problems: Collects the problems.
    """
    labels: dict[AxisName, set[AxisName]] = {key: set() for key in section}
    owners = _key_owners(section, cells)
    seen: set[tuple[str, str, str]] = set()
    for cell in cells:
        owner = (cell.key, cell.row)
        is_clash = (*owner, cell.label) in seen
        for name in (cell.row, cell.label):
            is_clash |= owners.setdefault(name, owner) != owner
        if is_clash:
            _add_label_clash(cell, section[cell.key], problems)
        seen.add((*owner, cell.label))
        for name in (cell.key, cell.row, cell.label):
            labels.setdefault(name, set()).add(cell.label)
    return Axis({name: frozenset(group) for name, group in labels.items()}, tuple(hidden))


def _key_owners(
    section: Mapping[str, Located], cells: Sequence[GridEntry]
) -> dict[str, tuple[str, str | None]]:
    """Return each key with the row that may have the same name: its only row, or None."""
    rows: dict[str, set[str]] = {key: set() for key in section}
    for cell in cells:
        rows[cell.key].add(cell.row)
    return {
        key: (key, next(iter(names)) if len(names) == 1 else None) for key, names in rows.items()
    }


def _add_label_clash(cell: GridEntry, entry: Located, problems: Problems) -> None:
    label = entry.child("label")
    problems.add(
        label.location if label else entry.name_location,
        found=f"the label {quote_name(cell.label)} for two things",
        expected="a different name for each cell",
        next_step="put each swept option in braces into `label`, or rename one of the two",
    )
