"""JSON Schema of a component's options, and the helpers that all schemas are written with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias, cast

from advtransfer.host import Component
from advtransfer.options import Option
from advtransfer.suite.entry import DIGEST_OPTION, option_names
from advtransfer.suite.sections import MAX_IMAGE_SIDE, MAX_LABEL_LENGTH, NAME_PATTERN, VIEW_OPTIONS
from advtransfer.types import Json

JsonSchema: TypeAlias = "dict[str, Json]"


def definition_ref(name: str) -> JsonSchema:
    """What stands under a name in ``$defs``."""
    return {"$ref": f"#/$defs/{name}"}


def typed_value(name: str, **limits: Json) -> JsonSchema:
    """A value of a JSON type."""
    return {"type": name, **limits}


def or_null(schema: JsonSchema) -> JsonSchema:
    """The value, or null, which is as good as not written; by its type where it has one, for plainer messages."""
    if isinstance(schema.get("type"), str) and not {"enum", "const"} & schema.keys():
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def list_of(items: JsonSchema, *, at_least: int = 1) -> JsonSchema:
    """A list."""
    return {"type": "array", "items": items, "minItems": at_least}


def one_or_more(schema: JsonSchema) -> JsonSchema:
    """A value, or a list of such values."""
    return {"anyOf": [schema, list_of(schema)]}


def one_of(values: Iterable[str]) -> JsonSchema:
    """One of some texts."""
    return {"enum": list(values)}


def closed_object(
    properties: Mapping[str, JsonSchema], *, required: Iterable[str] = ()
) -> JsonSchema:
    """A mapping with these keys only."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }


def named_entries(entry: JsonSchema) -> JsonSchema:
    """A section: a mapping of the author's names to entries."""
    names: JsonSchema = {"pattern": f"^{NAME_PATTERN.pattern}$", "maxLength": MAX_LABEL_LENGTH}
    return {"type": "object", "propertyNames": names, "additionalProperties": entry}


def with_description(schema: JsonSchema, text: str) -> JsonSchema:
    """The same, with what an editor shows beside it."""
    return {"description": text, **schema}


_VIEW_SCHEMAS: dict[str, JsonSchema] = {
    "classes": with_description(
        {**list_of(typed_value("integer", minimum=0), at_least=2), "uniqueItems": True},
        "The classes to keep; they become 0, 1, ... in this order.",
    ),
    "channels": with_description(
        {"enum": [1, 3]}, "1: the mean of the channels; 3: one channel, repeated."
    ),
    "size": with_description(
        typed_value("integer", minimum=1, maximum=MAX_IMAGE_SIDE),
        "Images are resized to this square.",
    ),
}


def option_schemas(component: Component) -> dict[str, JsonSchema]:
    """The schema of everything that may be set for a component."""
    plain = cast("Mapping[str, JsonSchema]", component.options.json_schema().get("properties", {}))
    texts = documented_arguments(component.help_text)
    found: dict[str, JsonSchema] = {}
    for name in option_names(component):
        option = component.options.fields.get(name)
        if option is None:
            found[name] = _reserved_option(name)
        else:
            schema = _lenient_schema(plain[name]) if option.is_plain else _named_option(option)
            found[name] = (
                with_description(cast(JsonSchema, schema), texts[name])
                if name in texts
                else cast(JsonSchema, schema)
            )
    return found


def dotted_schemas(
    properties: Mapping[str, JsonSchema], *, before: str = ""
) -> dict[str, JsonSchema]:
    """The options and the options inside them, by dotted name: what a sweep can set."""
    found: dict[str, JsonSchema] = {}
    for name, schema in properties.items():
        found[before + name] = schema
        for branch in (schema, *cast("list[JsonSchema]", schema.get("anyOf", []))):
            inner = cast("Mapping[str, JsonSchema]", branch.get("properties", {}))
            found |= dotted_schemas(inner, before=f"{before}{name}.")
    return found


def documented_arguments(help: str) -> dict[str, str]:
    """What the ``Args`` section of a docstring says of each option."""
    _, _, section = help.partition("Args:\n")
    section = re.split(r"\n(?=\S)", section)[0]
    found = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", section, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def _reserved_option(name: str) -> JsonSchema:
    if name in VIEW_OPTIONS:
        return or_null(_VIEW_SCHEMAS[name])
    text = f"The {DIGEST_OPTION} of the file's content; written, the plan need not read the file."
    return or_null(with_description(typed_value("string", pattern="^[0-9a-f]{64}$"), text))


def _named_option(option: Option) -> JsonSchema:
    one = typed_value("string") if option.file else definition_ref(f"{option.kind}_value")
    schema = list_of(one) if option.many else one
    return schema if option.required else or_null(schema)


def _lenient_schema(schema: Json) -> Json:
    """Numbers may be fractions; what is required may come from elsewhere (defaults, a parent, a sweep)."""
    if isinstance(schema, Mapping):
        inner = {
            key: _lenient_schema(value) if key != "default" else value
            for key, value in schema.items()
            if key != "required"
        }
        return (
            {"anyOf": [inner, definition_ref("fraction")]}
            if schema.get("type") == "number"
            else inner
        )
    if isinstance(schema, str | bool | int | float) or schema is None:
        return schema
    return [_lenient_schema(one) for one in schema]
