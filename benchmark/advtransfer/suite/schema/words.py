"""Small words of JSON Schema."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from advtransfer.suite.limits import LONGEST_LABEL
from advtransfer.suite.names import USABLE
from advtransfer.types import Json

Schema: TypeAlias = "dict[str, Json]"


def ref(name: str) -> Schema:
    """What stands under a name in ``$defs``."""
    return {"$ref": f"#/$defs/{name}"}


def typed(name: str, **limits: Json) -> Schema:
    """A value of a JSON type."""
    return {"type": name, **limits}


def nullable(schema: Schema) -> Schema:
    """The value, or null, which is as good as not written; by its type where it has one, for plainer messages."""
    if isinstance(schema.get("type"), str) and not {"enum", "const"} & schema.keys():
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def listed(items: Schema, *, at_least: int = 1) -> Schema:
    """A list."""
    return {"type": "array", "items": items, "minItems": at_least}


def one_or_more(schema: Schema) -> Schema:
    """A value, or a list of such values."""
    return {"anyOf": [schema, listed(schema)]}


def choice(values: Iterable[str]) -> Schema:
    """One of some texts."""
    return {"enum": list(values)}


def closed(properties: Mapping[str, Schema], *, required: Iterable[str] = ()) -> Schema:
    """A mapping with these keys only."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }


def named(entry: Schema) -> Schema:
    """A section: a mapping of the author's names to entries."""
    names: Schema = {"pattern": f"^{USABLE.pattern}$", "maxLength": LONGEST_LABEL}
    return {"type": "object", "propertyNames": names, "additionalProperties": entry}


def described(schema: Schema, text: str) -> Schema:
    """The same, with what an editor shows beside it."""
    return {"description": text, **schema}
