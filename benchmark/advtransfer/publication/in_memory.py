"""Refusal of results that nobody can measure again: those of modules in the memory of one process."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from advtransfer.errors import Problem
from advtransfer.planning import Plan
from advtransfer.result import Run
from advtransfer.types.in_memory import CANNOT_BE_REBUILT, IN_MEMORY_USE

RecordJson = Mapping[str, Any]  # Any: JSON

_SUITE_WORD = re.compile(rf"^[^#\n]*\b{re.escape(IN_MEMORY_USE)}\b", re.MULTILINE)
EXPECTED = "rows that others can measure again"


def is_in_memory(record: RecordJson) -> bool:
    """Return whether a record is of a module that existed in the memory of one process."""
    asked = record.get("asked")
    return isinstance(asked, Mapping) and asked.get("use") == IN_MEMORY_USE


def in_memory_problems(run: Run) -> Iterator[Problem]:
    """Yield a problem if a run has rows of modules in memory."""
    planned = Plan.from_json(run.read_plan()).sources
    sources = [id for id in planned if run.has_record(id) and is_in_memory(run.read_record(id))]
    path = run.path / "suite.yaml"
    suite = path.read_text("utf-8", errors="replace") if path.is_file() else ""
    if sources or _SUITE_WORD.search(suite):
        yield Problem(
            f"rows of a module {CANNOT_BE_REBUILT}",
            EXPECTED,
            "give advtransfer.source rebuild=(factory, kwargs), or use vision/module, and run again",
        )
