"""JSON Schema of a component's options, and the helpers that all schemas are written with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias, cast

from advtransfer.host import Component
from advtransfer.options import Option, Options
from advtransfer.suite.entry import DIGEST_OPTION, option_names
from advtransfer.suite.sections import MAX_IMAGE_SIDE, MAX_LABEL_LENGTH, NAME_PATTERN, VIEW_OPTIONS
from advtransfer.types import Json

JsonSchema: TypeAlias = "dict[str, Json]"


def definition_ref(name: str) -> JsonSchema:
    """Return a reference to a schema in ``$defs``."""
    return {"$ref": f"#/$defs/{name}"}


def typed_value(name: str, **limits: Json) -> JsonSchema:
    """Return the schema of a value of a JSON type."""
    return {"type": name, **limits}


def or_null(schema: JsonSchema) -> JsonSchema:
    """Return the schema of a value or null, since a key with null counts as absent."""
    # Validators explain a list of types in plainer messages than `anyOf`.
    if isinstance(schema.get("type"), str) and not {"enum", "const"} & schema.keys():
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def list_of(items: JsonSchema, *, at_least: int = 1) -> JsonSchema:
    """Return the schema of a list."""
    return {"type": "array", "items": items, "minItems": at_least}


def one_or_more(schema: JsonSchema) -> JsonSchema:
    """Return the schema of a value or a list of such values."""
    return {"anyOf": [schema, list_of(schema)]}


def one_of(values: Iterable[str]) -> JsonSchema:
    """Return the schema of a choice between texts."""
    return {"enum": list(values)}


def closed_object(
    properties: Mapping[str, JsonSchema], *, required: Iterable[str] = ()
) -> JsonSchema:
    """Return the schema of a mapping with these keys only."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }


def named_entries(entry: JsonSchema) -> JsonSchema:
    """Return the schema of a section: a mapping of names to entries."""
    names: JsonSchema = {"pattern": f"^{NAME_PATTERN.pattern}$", "maxLength": MAX_LABEL_LENGTH}
    return {"type": "object", "propertyNames": names, "additionalProperties": entry}


def with_description(schema: JsonSchema, text: str) -> JsonSchema:
    """Return the schema with a text that an editor shows beside it."""
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
    "attribute": with_description(
        {"anyOf": [typed_value("integer", minimum=0), typed_value("string", pattern=r"\S")]},
        "One attribute, by name or number: 2 classes, without and with it.",
    ),
}


def lenient_options(options: Options) -> dict[str, JsonSchema]:
    """Return the schema of each plain option as an entry may be written."""
    plain = cast("Mapping[str, JsonSchema]", options.json_schema().get("properties", {}))
    return {name: cast(JsonSchema, _lenient_schema(schema)) for name, schema in plain.items()}


def option_schemas(component: Component) -> dict[str, JsonSchema]:
    """Return the schema of each option that an entry of a component may set."""
    plain = lenient_options(component.options)
    texts = documented_arguments(component.help_text)
    schemas: dict[str, JsonSchema] = {}
    for name in option_names(component):
        option = component.options.fields.get(name)
        if option is None:
            schemas[name] = _reserved_option(name)
            continue
        schema = _named_option(option)
        if option.is_plain:
            schema = plain[name]
        schemas[name] = with_description(schema, texts[name]) if name in texts else schema
    return schemas


def dotted_schemas(
    properties: Mapping[str, JsonSchema], *, before: str = ""
) -> dict[str, JsonSchema]:
    """Return the schemas of options and of the options inside them, by dotted name."""
    schemas: dict[str, JsonSchema] = {}
    for name, schema in properties.items():
        schemas[before + name] = schema
        # An optional group of options is a union of an object and null.
        for branch in (schema, *cast("list[JsonSchema]", schema.get("anyOf", []))):
            inner = cast("Mapping[str, JsonSchema]", branch.get("properties", {}))
            schemas |= dotted_schemas(inner, before=f"{before}{name}.")
    return schemas


def documented_arguments(help: str) -> dict[str, str]:
    """Return the text of each option in the ``Args`` section of a docstring."""
    _, _, section = help.partition("Args:\n")
    section = re.split(r"\n(?=\S)", section)[0]
    arguments = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", section, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in arguments}


def _reserved_option(name: str) -> JsonSchema:
    if name in VIEW_OPTIONS:
        return or_null(_VIEW_SCHEMAS[name])
    text = f"The {DIGEST_OPTION} of the file's content; with it, the plan need not read the file."
    return or_null(with_description(typed_value("string", pattern="^[0-9a-f]{64}$"), text))


def _named_option(option: Option) -> JsonSchema:
    item = typed_value("string") if option.file else definition_ref(f"{option.kind}_value")
    schema = list_of(item) if option.many else item
    return schema if option.required else or_null(schema)


def _lenient_schema(schema: Json) -> Json:
    """Return pydantic's schema as an entry may be written.

    Numbers may also be fractions. Nothing is required, since an option may come from defaults, a
    parent, or a sweep.
    """
    if isinstance(schema, Mapping):
        lenient = {
            key: value if key == "default" else _lenient_schema(value)
            for key, value in schema.items()
            if key != "required"
        }
        if schema.get("type") == "number":
            return {"anyOf": [lenient, definition_ref("fraction")]}
        return lenient
    if isinstance(schema, str | bool | int | float) or schema is None:
        return schema
    return [_lenient_schema(item) for item in schema]
