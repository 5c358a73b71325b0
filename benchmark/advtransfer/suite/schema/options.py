"""A component's options as JSON Schema: plain ones from their types, those that name entries or files by their kind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

from advtransfer.host import Component
from advtransfer.options import Option
from advtransfer.suite.entry import DIGEST, option_names
from advtransfer.suite.limits import MOST_PIXELS
from advtransfer.suite.schema.words import Schema, described, listed, nullable, ref, typed
from advtransfer.suite.sections import VIEWS
from advtransfer.types import Json

_VIEWS: dict[str, Schema] = {
    "classes": described(
        {**listed(typed("integer", minimum=0), at_least=2), "uniqueItems": True},
        "The classes to keep; they become 0, 1, ... in this order.",
    ),
    "channels": described({"enum": [1, 3]}, "1: the mean of the channels; 3: one channel, repeated."),
    "size": described(typed("integer", minimum=1, maximum=MOST_PIXELS), "Images are resized to this square."),
}


def options(component: Component) -> dict[str, Schema]:
    """The schema of everything that may be set for a component."""
    plain = cast("Mapping[str, Schema]", component.options.schema().get("properties", {}))
    texts = arguments(component.help)
    found: dict[str, Schema] = {}
    for name in option_names(component):
        option = component.options.fields.get(name)
        if option is None:
            found[name] = _extra(name)
        else:
            schema = _lenient(plain[name]) if option.plain else _named(option)
            found[name] = described(cast(Schema, schema), texts[name]) if name in texts else cast(Schema, schema)
    return found


def dotted(properties: Mapping[str, Schema], *, before: str = "") -> dict[str, Schema]:
    """The options and the options inside them, by dotted name: what a sweep can set."""
    found: dict[str, Schema] = {}
    for name, schema in properties.items():
        found[before + name] = schema
        for branch in (schema, *cast("list[Schema]", schema.get("anyOf", []))):
            inner = cast("Mapping[str, Schema]", branch.get("properties", {}))
            found |= dotted(inner, before=f"{before}{name}.")
    return found


def arguments(help: str) -> dict[str, str]:
    """What the ``Args`` section of a docstring says of each option."""
    _, _, section = help.partition("Args:\n")
    section = re.split(r"\n(?=\S)", section)[0]
    found = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", section, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def _extra(name: str) -> Schema:
    if name in VIEWS:
        return nullable(_VIEWS[name])
    text = f"The {DIGEST} of the file's content; written, the plan need not read the file."
    return nullable(described(typed("string", pattern="^[0-9a-f]{64}$"), text))


def _named(option: Option) -> Schema:
    one = typed("string") if option.file else ref(f"{option.kind}_value")
    schema = listed(one) if option.many else one
    return schema if option.required else nullable(schema)


def _lenient(schema: Json) -> Json:
    """Numbers may be fractions; what is required may come from elsewhere (defaults, a parent, a sweep)."""
    if isinstance(schema, Mapping):
        inner = {
            key: _lenient(value) if key != "default" else value for key, value in schema.items() if key != "required"
        }
        return {"anyOf": [inner, ref("fraction")]} if schema.get("type") == "number" else inner
    if isinstance(schema, str | bool | int | float) or schema is None:
        return schema
    return [_lenient(one) for one in schema]
