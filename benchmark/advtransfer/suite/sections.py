"""The sections of a suite, and the words that an entry of each may use beside its component's options."""

from __future__ import annotations

from dataclasses import dataclass

from advtransfer.hookspecs import Kind
from advtransfer.node import NodeKind
from advtransfer.suite.selection import AXES

FORMAT = 1
VIEWS = ("classes", "channels", "size")


@dataclass(frozen=True, slots=True)
class Section:
    """A section of component entries: what it holds, the words of its entries, the axes their `only` may name."""

    name: str
    kind: Kind
    node: NodeKind
    words: tuple[str, ...]
    only: tuple[str, ...] = AXES
    views: tuple[str, ...] = ()


INLINE = ("use", "preset")
REFERENCE = (*INLINE, "seeds", "start")
STARTS = ("own", "source")
"""Where a reference's training starts: from weights of its own, or from those that a source of its seed starts from."""
DATASETS = Section("datasets", "dataset", "data", ("use", "preset", "sweep", "label"), views=VIEWS)
SOURCES = Section("sources", "source", "source", ("use", "preset", "sweep", "label", "only", "seeds"))
ADAPTERS = Section("adapters", "adapter", "adapter", ("use", "preset", "sweep", "label", "only"), ("source", "target"))
TRANSFERS = Section("transfers", "transfer", "transfer", ("use", "preset", "sweep", "label", "only"))
EVALUATIONS = Section("evaluations", "evaluation", "evaluation", ("use", "preset", "sweep", "label", "only"))
SECTIONS = (DATASETS, SOURCES, ADAPTERS, TRANSFERS, EVALUATIONS)
BY_KIND = {section.kind: section for section in SECTIONS}

NAMED = ("defaults", "targets", *(section.name for section in SECTIONS))
TOP = (
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
