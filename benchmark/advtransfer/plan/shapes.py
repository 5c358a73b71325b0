"""Why a cell cannot work, as far as its components' stated facts tell without building anything."""

from __future__ import annotations

from advtransfer.host import Host
from advtransfer.node import Node
from advtransfer.types import Facts, Shape


def obstacle(source: Node | None, adapter: Node | None, data: Node, transfer: Facts, host: Host) -> str | None:
    """The reason to skip a cell: another task, or input shapes that differ with no adapter between them."""
    tasks = host.component(data.use).facts.tasks
    if not tasks & transfer.tasks:
        works_on, task = (", ".join(sorted(some)) for some in (transfer.tasks, tasks))
        return f"the transfer works on {works_on}; the target's task is {task}"
    if source is None or adapter is not None:
        return None
    gives, takes = shape_of(data, host), shape_of(source, host)
    if gives is None or takes is None or gives == takes:
        return None
    return f"the target gives inputs {gives}, the source takes {takes}; add an adapter for this pair"


def shape_of(node: Node, host: Host) -> Shape | None:
    """The input shape of a data set (with its view) or source; None where only building it would tell."""
    stated = host.component(node.use).facts.shape
    if isinstance(stated, str):
        below = node.inputs.get(stated)
        stated = shape_of(below, host) if isinstance(below, Node) else None
    if stated is None or len(stated) != 3 or node.kind != "data":
        return stated
    channels, size = node.options.get("channels"), node.options.get("size")
    depth = channels if isinstance(channels, int) else stated[0]
    return (depth, size, size) if isinstance(size, int) else (depth, *stated[1:])
