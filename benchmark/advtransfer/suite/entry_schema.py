"""JSON Schema of the entries of a suite: one for each kind of component, with the options of the installed plugins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from advtransfer.host import Component, Host
from advtransfer.suite.choice import ATTACK_OPTIONS, CRITERIA, MAX_FOLDS
from advtransfer.suite.component_schema import (
    JsonSchema,
    closed_object,
    definition_ref,
    dotted_schemas,
    lenient_options,
    list_of,
    one_of,
    option_schemas,
    or_null,
    typed_value,
    with_description,
)
from advtransfer.suite.resources import RESOURCES
from advtransfer.suite.sections import (
    CHOOSE,
    INLINE_WORDS,
    MAX_GRID_ENTRIES,
    REFERENCE_WORDS,
    SECTIONS,
    TRAINING_STARTS,
    Section,
)
from advtransfer.suite.yaml_core import FRACTION
from advtransfer.text import DURATION_PATTERN

_USE_TEXT = "The component, written plugin/factory (`advtransfer list`)."


def entry_definitions(host: Host) -> dict[str, JsonSchema]:
    """Return the definitions for every kind of component.

    They are: an entry; an entry that its parent completes; an inline entry; and a name or an inline
    entry. Sources have the last two for references as well.
    """
    definitions: dict[str, JsonSchema] = {
        "fraction": with_description(
            typed_value("string", pattern=f"^{FRACTION}$"), "A fraction: 8/255."
        )
    }
    all_components: list[Component] = []
    for section in SECTIONS:
        components = host.components(section.kind)
        all_components += components
        for component in components:
            options = {"type": "object", "properties": option_schemas(component)}
            definitions[_definition_key(component)] = cast(JsonSchema, options)
        definitions |= _kind_definitions(section, components)
    definitions["defaults"] = or_null(
        closed_object(
            {
                component.name: or_null(closed_object(option_schemas(component)))
                for component in all_components
            }
        )
    )
    return definitions


def _kind_definitions(section: Section, components: list[Component]) -> dict[str, JsonSchema]:
    kind = section.kind
    definitions: dict[str, JsonSchema] = {
        f"{kind}_entry": _entry_schema(section, components, words=section.words),
        # Without `use`, the entry changes one of the parent, whose component is not known here.
        f"{kind}_part": {
            "if": {"type": "object", "required": ["use"]},
            "then": definition_ref(f"{kind}_entry"),
            "else": {"type": ["object", "null"]},
        },
        f"{kind}_inline": _entry_schema(section, components, words=INLINE_WORDS),
        f"{kind}_value": {"anyOf": [typed_value("string"), definition_ref(f"{kind}_inline")]},
    }
    if kind == "source":
        definitions["reference_inline"] = _entry_schema(section, components, words=REFERENCE_WORDS)
        definitions["reference_value"] = {
            "anyOf": [typed_value("string"), definition_ref("reference_inline")]
        }
    return definitions


def _entry_schema(
    section: Section, components: list[Component], *, words: tuple[str, ...]
) -> JsonSchema:
    names = one_of(component.name for component in components)
    common = {"use": with_description(names, _USE_TEXT)}
    if "label" in words:
        text = "The cell's label; {option} stands for an option's value."
        common["label"] = or_null(with_description(typed_value("string"), text))
    if "timeout" in words:
        text = "The longest that building, fitting or measuring it may take: 90s, 30m, 1h30m."
        common["timeout"] = or_null(
            with_description(typed_value("string", pattern=DURATION_PATTERN), text)
        )
    if "only" in words:
        common["only"] = or_null(
            with_description(definition_ref("selection"), "The cells that the entry applies to.")
        )
    if RESOURCES in words:
        common[RESOURCES] = definition_ref(RESOURCES)
    return {
        "type": "object",
        "properties": common,
        "required": ["use"],
        # JSON Schema requires at least one item, which `True` is without any plugin.
        "allOf": [True, *(_component_schema(component, words) for component in components)],
        "unevaluatedProperties": False,
    }


def _component_schema(component: Component, words: tuple[str, ...]) -> JsonSchema:
    """Return the schema of an entry that uses this component."""
    own = option_schemas(component)
    more: dict[str, JsonSchema] = {}
    if "preset" in words and component.metadata.presets:
        more["preset"] = or_null(
            with_description(one_of(component.metadata.presets), "A named table of options.")
        )
    if "sweep" in words:
        lists = {name: list_of(schema) for name, schema in dotted_schemas(own).items()}
        more["sweep"] = or_null(
            with_description(closed_object(lists), "A cell for each combination of values.")
        )
    if CHOOSE in words:
        more[CHOOSE] = or_null(_choose_schema(component, own))
    if "seeds" in words and "seed" in component.options.fields:
        count = typed_value("integer", minimum=1, maximum=MAX_GRID_ENTRIES)
        listed = list_of(typed_value("integer", minimum=0))
        more["seeds"] = or_null(
            with_description({"anyOf": [count, listed]}, "Replicates, shown as one row.")
        )
    if "start" in words and "seed" in component.options.fields:
        text = "Initial weights: its own draw, or those from which a source of its seed starts."
        more["start"] = or_null(with_description(one_of(TRAINING_STARTS), text))
    return {
        "if": {"properties": {"use": {"const": component.name}}, "required": ["use"]},
        "then": {
            **with_description(definition_ref(_definition_key(component)), component.summary),
            "properties": dict(more),
        },
    }


def _choose_schema(component: Component, own: Mapping[str, JsonSchema]) -> JsonSchema:
    """Return the schema of ``choose`` in a transfer's entry."""
    fields = component.options.fields
    plain = {name: own[name] for name in own if name in fields and fields[name].is_plain}
    lists = {name: list_of(schema) for name, schema in dotted_schemas(plain).items()}
    among = with_description(closed_object(lists), "A candidate for each combination of values.")
    keys: dict[str, JsonSchema] = {
        "by": with_description(one_of(CRITERIA), "The metric to choose by."),
        "among": {**among, "minProperties": 1},
        "folds": or_null(
            with_description(
                typed_value("integer", minimum=2, maximum=MAX_FOLDS),
                "Folds of cross-validation, for targets without a validation part.",
            )
        ),
        "attack": with_description(
            lenient_options(ATTACK_OPTIONS)["attack"],
            "PGD on the validation images; by default in the training's ball.",
        ),
    }
    schema = closed_object(keys, required=("by", "among"))
    return with_description(schema, "Options that labelled images choose; the test part does not.")


def _definition_key(component: Component) -> str:
    return component.name.replace("/", ".")
