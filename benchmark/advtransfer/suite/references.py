"""Where the references of a target start: from weights of their own, unless they are to share those of the sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from advtransfer.node import Node
from advtransfer.suite import expect
from advtransfer.suite.marked import Marked
from advtransfer.suite.problems import Problems, did_you_mean
from advtransfer.suite.sections import STARTS
from advtransfer.suite.suite import Cell


def started(cells: tuple[Cell, ...], value: Marked, *, problems: Problems) -> tuple[Cell, ...]:
    """The cells of a reference in place, each with the start that it says; by default weights of their own.

    The node of one with a start of its own says so among its options: it is another than that of a source. A component
    without the option `seed` draws nothing, so it has no start.
    """
    said = value.value.get("start") if isinstance(value.value, Mapping) else None
    start = said.value if said and said.value is not None else "own"
    if said and start not in STARTS:
        next_step = did_you_mean(start, STARTS, otherwise="correct the word, or leave `start` out")
        expect.wrong(said, expected=" or ".join(STARTS), next_step=next_step, problems=problems)
    elif said and said.value is not None and any("seed" not in cell.node.options for cell in cells):
        expected = f"no `start`, since {cells[0].node.use} has no `seed`: nothing of it is drawn"
        problems.add(said.name_mark, found="`start`", expected=expected, next_step="remove the line")
    return tuple(replace(cell, node=_with_start(cell.node)) for cell in cells) if start == "own" else cells


def start_of(node: Node) -> str | None:
    """Where a source or reference starts, one of `STARTS`; None where nothing of it is drawn."""
    return str(node.options.get("start", "source")) if "seed" in node.options else None


def _with_start(node: Node) -> Node:
    return replace(node, options={**node.options, "start": "own"}) if "seed" in node.options else node
