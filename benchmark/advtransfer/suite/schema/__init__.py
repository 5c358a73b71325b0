"""The JSON Schema of suite files, options of every installed plugin included: what editors complete and check by."""

from __future__ import annotations

from advtransfer.host import Host
from advtransfer.suite.schema import entries, parts
from advtransfer.suite.schema.words import Schema, named, nullable, ref
from advtransfer.suite.sections import SECTIONS, TOP

_REQUIRED = ("targets", "transfers", "evaluations")


def schema(host: Host) -> Schema:
    """JSON Schema (draft 2020-12) of a suite.

    It refuses unknown names and wrong values as the loader does. What hangs on other parts of the file (names of
    entries, options that ``defaults``, a sweep or a parent bring) only the loader knows.
    """
    drawn: Schema = {"anyOf": [{"required": ["n"]}, {"required": ["subsets"]}]}
    target: Schema = {"type": "object", "required": ["data"], "allOf": [ref("target"), drawn]}
    whole = {section.name: named(ref(f"{section.kind}_entry")) for section in SECTIONS} | {"targets": named(target)}
    over = {section.name: named(ref(f"{section.kind}_part")) for section in SECTIONS}
    over["targets"] = named(ref("target"))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "advtransfer suite",
        "description": "What to run: sources x targets x transfers x evaluations. The suite's name is the file's name.",
        "type": "object",
        "properties": {**dict.fromkeys(TOP, True), **parts.head(), "defaults": ref("defaults")},
        "additionalProperties": False,
        "if": {"properties": {"extends": {"type": "string"}}, "required": ["extends"]},
        "then": {"properties": {name: nullable(one) for name, one in over.items()}},
        "else": {
            "properties": {
                name: {**one, "minProperties": 1} if name in _REQUIRED else nullable(one) for name, one in whole.items()
            },
            "required": list(_REQUIRED),
        },
        "$defs": {**parts.definitions(), **entries.definitions(host)},
    }
