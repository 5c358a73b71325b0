"""The shape of the inputs of each source in memory: as given, of its own data, or of the first target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias, cast

from advtransfer.api.arrays import DatasetInMemory
from advtransfer.api.in_memory import SourceInMemory
from advtransfer.host import Host
from advtransfer.node import Node
from advtransfer.suite import Suite
from advtransfer.types import Json, Shape

Sections: TypeAlias = Mapping[str, Mapping[str, Json]]
"""Entries by section and name, which are merged over a suite."""
LoadSuite: TypeAlias = Callable[[Sections], Suite]
"""Reads a suite with entries merged over it."""


def data_entry(value: SourceInMemory, folder: Path) -> Json:
    """Return the source's own data as an entry names it."""
    if isinstance(value.trained_on, DatasetInMemory):
        return value.trained_on.write_entry(folder)
    return value.trained_on


def source_shapes(
    load: LoadSuite,
    entries: Sections,
    sources: Mapping[str, SourceInMemory],
    folder: Path,
    host: Host,
) -> dict[str, Shape]:
    """Return the shape of each source's inputs: as given, of its own data, or of the first target."""
    shapes = {name: value.shape for name, value in sources.items()}
    if None in shapes.values():
        # The suite is read once before, with sources that are never built, to know its data.
        outlines: dict[str, Json] = {}
        for name, value in sources.items():
            data = data_entry(value, folder)
            outline: dict[str, Json] = {"use": "local/module", "nonce": "", "shape": [1]}
            outlines[name] = outline if data is None else {**outline, "data": data}
        suite = load({**entries, "sources": outlines})
        for name, shape in shapes.items():
            if shape is None:
                shapes[name] = _data_shape(_own_or_first_data(suite, name), host)
    return {name: cast(Shape, shape) for name, shape in shapes.items()}


def _own_or_first_data(suite: Suite, name: str) -> Node:
    """Return the node of a source's own data, or else of the first target's."""
    node = source_node(suite, name)
    data = node.inputs.get("data") if node is not None else None
    return data if isinstance(data, Node) else suite.targets[0].data.node


def source_node(suite: Suite, name: str) -> Node | None:
    """Return the node of a source of a suite, None where there is none of this name."""
    return next((cell.node for cell in suite.sources if cell.key == name), None)


def _data_shape(node: Node, host: Host) -> Shape:
    from advtransfer.worker.object_builder import dataset_of

    return dataset_of(host, node).card().shape
