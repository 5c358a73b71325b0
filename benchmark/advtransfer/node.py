"""What was asked, as nodes with content ids: the identity of everything that is computed, cached and recorded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

import rfc8785

from advtransfer.types import Json

NodeKind: TypeAlias = Literal[
    "data", "subset", "test", "source", "adapter", "transfer", "evaluation", "fit", "result", "battery"
]


def canonical(value: Json) -> str:
    """RFC 8785 canonical JSON: one text for one value (``1`` and ``1.0`` agree; NaN is refused)."""
    return rfc8785.dumps(cast(Any, value)).decode()  # Any: rfc8785's own JSON alias wants dict and list


def digest(text: str) -> str:
    """The sha256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


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
    how: Mapping[str, Json] = field(default_factory=dict, compare=False)
    id: str = field(init=False, default="")

    def __post_init__(self) -> None:
        inputs = {name: _ids(value) for name, value in self.inputs.items()}
        object.__setattr__(self, "id", digest(asked_text(inputs, self.tail())))

    def tail(self) -> str:
        """The canonical text after the inputs: the same for every node of one component and options."""
        return (
            f',"kind":"{self.kind}","options":{canonical(self.options)}'
            f',"use":{canonical(self.use)},"version":{self.version}}}'
        )

    def asked(self) -> dict[str, Json]:
        """What the id is the hash of: ``{kind, use, version, options, inputs: {name: id}}``."""
        return {
            "kind": self.kind,
            "use": self.use,
            "version": self.version,
            "options": dict(self.options),
            "inputs": {name: _ids(value) for name, value in sorted(self.inputs.items())},
        }

    def unversioned(self) -> str:
        """An id without versions, here and below: random streams hang on it, so a new version redraws nothing."""
        inputs = {
            name: [node.unversioned() for node in value] if isinstance(value, tuple) else value.unversioned()
            for name, value in self.inputs.items()
        }
        return digest(canonical({"kind": self.kind, "use": self.use, "options": self.options, "inputs": inputs}))

    def to_json(self) -> dict[str, Json]:
        """The node and all below it as plain data, for a job."""
        return {
            "kind": self.kind,
            "use": self.use,
            "version": self.version,
            "options": dict(self.options),
            "inputs": {
                name: [node.to_json() for node in value] if isinstance(value, tuple) else value.to_json()
                for name, value in self.inputs.items()
            },
            "files": dict(self.files),
            "how": dict(self.how),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Node:  # Any: JSON read back; the ids check it
        """The inverse of `to_json`."""
        inputs = {
            name: tuple(map(cls.from_json, value)) if isinstance(value, list) else cls.from_json(value)
            for name, value in data["inputs"].items()
        }
        return cls(data["kind"], data["use"], data["version"], data["options"], inputs, data["files"], data["how"])


def _ids(value: Node | tuple[Node, ...]) -> str | list[str]:
    return [node.id for node in value] if isinstance(value, tuple) else value.id


def asked_text(inputs: Mapping[str, str | list[str]], tail: str) -> str:
    """The canonical text of a node, put together: inputs sort first, so the rest can be written once for many nodes."""
    parts = []
    for name in sorted(inputs):
        value = inputs[name]
        text = f'"{value}"' if isinstance(value, str) else "[" + ",".join(f'"{one}"' for one in value) + "]"
        parts.append(f'"{name}":{text}')
    return '{"inputs":{' + ",".join(parts) + "}" + tail
