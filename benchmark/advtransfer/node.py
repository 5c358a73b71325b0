"""What was asked, as nodes with content ids.

The identity of everything that is computed, cached and recorded.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

import rfc8785

from advtransfer.types import Json

NodeKind: TypeAlias = Literal[
    "data",
    "subset",
    "test",
    "source",
    "adapter",
    "transfer",
    "evaluation",
    "fit",
    "result",
    "battery",
]


def canonical_json(value: Json) -> str:
    """RFC 8785 canonical JSON: one text for one value (``1`` and ``1.0`` agree; NaN is refused)."""
    return rfc8785.dumps(
        cast(Any, value)
    ).decode()  # Any: rfc8785's own JSON alias wants dict and list


def text_sha256(text: str) -> str:
    """The sha256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def content_id(value: Json) -> str:
    """Return the sha256 of a value's canonical JSON: equal for equal values, whatever the order of their keys."""
    return text_sha256(canonical_json(value))


@dataclass(frozen=True, slots=True)
class Node:
    """One thing asked for: a component with its options, and the nodes it is made from.

    The id is sha256 over canonical JSON of ``{inputs: {name: id}, kind, options, use, version}``. Never in it: `files`,
    which says where on this machine the content behind a sha256 lies, and `how`, the options marked `NotAsked`.
    """

    kind: NodeKind
    use: str
    version: int = 1
    options: Mapping[str, Json] = field(default_factory=dict)
    inputs: Mapping[str, Node | tuple[Node, ...]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict, compare=False)
    options_not_in_id: Mapping[str, Json] = field(default_factory=dict, compare=False)
    id: str = field(init=False, default="")
    _canonical_suffix: str = field(init=False, repr=False, compare=False, default="")

    def __post_init__(self) -> None:
        suffix = (
            f',"kind":"{self.kind}","options":{canonical_json(self.options)}'
            f',"use":{canonical_json(self.use)},"version":{self.version}}}'
        )
        object.__setattr__(self, "_canonical_suffix", suffix)
        object.__setattr__(self, "id", self._content_id())

    def with_inputs(self, inputs: Mapping[str, Node]) -> Node:
        """Return a node of the same component and options that is made from `inputs` beside its own.

        A grid has many such nodes: the part of the canonical text after the inputs is written once for all of them.
        """
        node = copy.copy(self)
        object.__setattr__(node, "inputs", {**self.inputs, **inputs})
        object.__setattr__(node, "id", node._content_id())
        return node

    def _content_id(self) -> str:
        # Keys sort as inputs, kind, options, use, version: only the first differs between the cells of a grid.
        inputs = ",".join(
            f'"{name}":{_input_ids_text(self.inputs[name])}' for name in sorted(self.inputs)
        )
        return text_sha256(f'{{"inputs":{{{inputs}}}{self._canonical_suffix}')

    def id_fields(self) -> dict[str, Json]:
        """What the id is the hash of: ``{kind, use, version, options, inputs: {name: id}}``."""
        return {
            "kind": self.kind,
            "use": self.use,
            "version": self.version,
            "options": dict(self.options),
            "inputs": {name: _input_ids(value) for name, value in sorted(self.inputs.items())},
        }

    def unversioned_id(self) -> str:
        """An id without versions, here and below: random streams hang on it, so a new version redraws nothing."""
        inputs = {
            name: [node.unversioned_id() for node in value]
            if isinstance(value, tuple)
            else value.unversioned_id()
            for name, value in self.inputs.items()
        }
        return content_id(
            {"kind": self.kind, "use": self.use, "options": self.options, "inputs": inputs}
        )

    def to_json(self) -> dict[str, Json]:
        """The node and all below it as plain data, for a job."""
        return {
            "kind": self.kind,
            "use": self.use,
            "version": self.version,
            "options": dict(self.options),
            "inputs": {
                name: [node.to_json() for node in value]
                if isinstance(value, tuple)
                else value.to_json()
                for name, value in self.inputs.items()
            },
            "files": dict(self.files),
            "how": dict(self.options_not_in_id),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Node:  # Any: JSON read back; the ids check it
        """The inverse of `to_json`."""
        inputs = {
            name: tuple(map(cls.from_json, value))
            if isinstance(value, list)
            else cls.from_json(value)
            for name, value in data["inputs"].items()
        }
        return cls(
            data["kind"],
            data["use"],
            data["version"],
            data["options"],
            inputs,
            data["files"],
            data["how"],
        )


def _input_ids(value: Node | tuple[Node, ...]) -> str | list[str]:
    return [node.id for node in value] if isinstance(value, tuple) else value.id


def _input_ids_text(value: Node | tuple[Node, ...]) -> str:
    if isinstance(value, tuple):
        return "[" + ",".join(f'"{node.id}"' for node in value) + "]"
    return f'"{value.id}"'
