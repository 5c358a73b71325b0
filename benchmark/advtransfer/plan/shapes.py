"""Why a cell cannot work, as far as its components tell without building anything."""

from __future__ import annotations

from advtransfer.host import Host
from advtransfer.node import Node
from advtransfer.precheck import Surroundings
from advtransfer.suite.outlines import Outlines
from advtransfer.types import Facts


class Obstacles:
    """Reasons to skip cells, each found once for all cells that share it."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._outlines = Outlines(host)

    def of(self, *, source: Node | None, adapter: Node | None, data: Node, transfer: Node, facts: Facts) -> str | None:
        """The reason: another task, shapes that differ with no adapter between them, or options that do not fit."""
        tasks = self._host.component(data.use).facts.tasks
        if not tasks & facts.tasks:
            works_on, task = (", ".join(sorted(some)) for some in (facts.tasks, tasks))
            return f"the transfer works on {works_on}; the target's task is {task}"
        around = Surroundings(target=self._outlines.of(data), source=self._outlines.of(source))
        gives, takes = around.target.shape, around.source.shape
        if source is not None and adapter is None and None not in (gives, takes) and gives != takes:
            return f"the target gives inputs {gives}, the source takes {takes}; add an adapter for this pair"
        for node in (adapter, transfer):
            reason = self._misfit(node, around) if node is not None else None
            if reason is not None:
                return reason
        return None

    def _misfit(self, node: Node, around: Surroundings) -> str | None:
        """The first reason for which a component is skipped there."""
        found = (one for one in self._outlines.misfits(node, around) if one.skips)
        misfit = next(found, None)
        return None if misfit is None else f"{misfit.found}; {misfit.next_step}"
