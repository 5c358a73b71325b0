"""Nodes with content ids: the identity of everything that is computed, cached and recorded."""

from __future__ import annotations

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
    """Return RFC 8785 canonical JSON: equal values give equal text (``1`` and ``1.0``); NaN raises."""
    plain = cast(Any, value)  # Any: rfc8785's own JSON alias wants dict and list
    return rfc8785.dumps(plain).decode()


def text_sha256(text: str) -> str:
    """Return the sha256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def content_id(value: Json) -> str:
    """Return the sha256 of a value's canonical JSON, which does not depend on the order of its keys."""
    return text_sha256(canonical_json(value))


@dataclass(frozen=True, slots=True)
class Node:
    """One object to build: a component with its options, and the nodes that it is built from.

    The id is the sha256 of the canonical JSON of ``{inputs: {name: id}, kind, options, use, version}``.
    It excludes `files`, the paths on this machine of the contents that options name by sha256,
    `options_not_in_id`, the options marked `NotInId`, and `timeout`, the limit in seconds of the step
    that builds it.
    """

    kind: NodeKind
    use: str
    version: int = 1
    options: Mapping[str, Json] = field(default_factory=dict)
    inputs: Mapping[str, Node | tuple[Node, ...]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict, compare=False)
    options_not_in_id: Mapping[str, Json] = field(default_factory=dict, compare=False)
    timeout: float | None = field(default=None, compare=False)
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
        """Return a node of the same component and options, built from `inputs` besides its own."""
        # A grid has many such nodes: copying the fields reuses the canonical text after the inputs.
        # `copy.copy` asks a dataclass with slots for its fields each time, half of a plan's time.
        node = object.__new__(Node)
        for name in Node.__slots__:
            object.__setattr__(node, name, getattr(self, name))
        object.__setattr__(node, "inputs", {**self.inputs, **inputs})
        object.__setattr__(node, "id", node._content_id())
        return node

    def id_text_around(self, name: str) -> tuple[str, str]:
        """Return the text whose hash is the id of this node with one more input: before and after its id.

        A plan hashes it for each of 100,000 results that differ in nothing but their fit.
        """
        texts = {key: _input_ids_text(value) for key, value in self.inputs.items()}
        before, _, after = self._id_text({**texts, name: '"\0"'}).partition("\0")
        return before, after

    def _content_id(self) -> str:
        texts = {name: _input_ids_text(value) for name, value in self.inputs.items()}
        return text_sha256(self._id_text(texts))

    def _id_text(self, inputs: Mapping[str, str]) -> str:
        # Canonical JSON sorts the keys: inputs, kind, options, use, version. Only the first differs
        # between the cells of a grid, so the rest is written once, in `_canonical_suffix`.
        ids = ",".join([f'"{name}":{inputs[name]}' for name in sorted(inputs)])
        return f'{{"inputs":{{{ids}}}{self._canonical_suffix}'

    def id_fields(self) -> dict[str, Json]:
        """Return the fields that the id is the hash of; records store them as ``asked``."""
        return {
            "kind": self.kind,
            "use": self.use,
            "version": self.version,
            "options": dict(self.options),
            "inputs": {name: _input_ids(value) for name, value in sorted(self.inputs.items())},
        }

    def unversioned_id(self) -> str:
        """Return the id without component versions, of this node and of those below it.

        Random streams are derived from it, so a new version does not change random draws.
        """
        inputs = {name: _unversioned_ids(value) for name, value in self.inputs.items()}
        return content_id(
            {"kind": self.kind, "use": self.use, "options": self.options, "inputs": inputs}
        )

    def to_json(self) -> dict[str, Json]:
        """Return the node and everything below it as plain data, for a job."""
        return {
            "kind": self.kind,
            "use": self.use,
            "version": self.version,
            "options": dict(self.options),
            "inputs": {name: _nodes_to_json(value) for name, value in self.inputs.items()},
            "files": dict(self.files),
            "how": dict(self.options_not_in_id),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Node:  # Any: JSON read back; the ids check it
        """Return the node that `to_json` described."""
        inputs: dict[str, Node | tuple[Node, ...]] = {}
        for name, value in data["inputs"].items():
            is_list = isinstance(value, list)
            inputs[name] = tuple(map(cls.from_json, value)) if is_list else cls.from_json(value)
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


def _unversioned_ids(value: Node | tuple[Node, ...]) -> str | list[str]:
    if isinstance(value, tuple):
        return [node.unversioned_id() for node in value]
    return value.unversioned_id()


def _nodes_to_json(value: Node | tuple[Node, ...]) -> dict[str, Json] | list[dict[str, Json]]:
    return [node.to_json() for node in value] if isinstance(value, tuple) else value.to_json()


def _input_ids_text(value: Node | tuple[Node, ...]) -> str:
    if isinstance(value, tuple):
        return "[" + ",".join(f'"{node.id}"' for node in value) + "]"
    return f'"{value.id}"'
