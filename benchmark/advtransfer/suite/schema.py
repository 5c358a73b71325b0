"""JSON Schema of suite files, including the options of every installed plugin, for editors."""

from __future__ import annotations

from advtransfer.host import Component, Host
from advtransfer.suite import leaderboard_settings, targets
from advtransfer.suite.component_schema import (
    JsonSchema,
    closed_object,
    definition_ref,
    dotted_schemas,
    list_of,
    named_entries,
    one_of,
    one_or_more,
    option_schemas,
    or_null,
    typed_value,
    with_description,
)
from advtransfer.suite.sections import (
    INLINE_WORDS,
    MAX_GRID_ENTRIES,
    MAX_TITLE_LENGTH,
    MAX_TRIALS,
    REFERENCE_WORDS,
    SECTIONS,
    SUITE_FORMAT,
    TOP_LEVEL_KEYS,
    TRAINING_STARTS,
    Section,
)
from advtransfer.suite.selection import AXES
from advtransfer.suite.targets import DRAW_KEYS, DRAW_RULES
from advtransfer.suite.yaml_core import FRACTION

_COUNT = typed_value("integer", minimum=1)
_TEXT = typed_value("string", pattern=r"\S")
_TITLE = typed_value("string", pattern=r"\S", maxLength=MAX_TITLE_LENGTH)
_METRIC = typed_value("string", pattern=r"^.+\.[A-Za-z]\w*(@[0-9./e-]+){0,2}$")


def head_schemas() -> dict[str, JsonSchema]:
    """The keys of a suite that are no sections."""
    return {
        "version": or_null(
            with_description({"const": SUITE_FORMAT}, "The version of this grammar.")
        ),
        "title": or_null(
            with_description(_TITLE, "What the suite asks, for the head of its page.")
        ),
        "extends": or_null(
            with_description(
                _TEXT, "The parent: a file beside this one, or the name of a shipped suite."
            )
        ),
        "exclude": or_null(
            with_description(
                list_of(definition_ref("selection"), at_least=0), "Cells that are left out."
            )
        ),
        "leaderboard": definition_ref("leaderboard"),
    }


def part_definitions() -> dict[str, JsonSchema]:
    """What the head and the entries refer to."""
    return {
        "selection": _selection_schema(),
        "subset": closed_object(_draw_schemas()),
        "target": _target_schema(),
        "metric": with_description(_METRIC, "evaluation.metric[@eps][@epoch]"),
        "leaderboard": _leaderboard_schema(),
    }


def _selection_schema() -> JsonSchema:
    names = one_or_more(typed_value("string"))
    count, seed = (
        one_or_more({"anyOf": [_COUNT, {"const": "all"}]}),
        one_or_more(typed_value("integer", minimum=0)),
    )
    axes = {axis: or_null({"n": count, "seed": seed}.get(axis, names)) for axis in AXES}
    text = "Cells that match on every axis named; names may be globs, or lists of either."
    return with_description({**closed_object(axes), "minProperties": 1}, text)


def _draw_schemas() -> dict[str, JsonSchema]:
    count: JsonSchema = {**_COUNT, "maximum": MAX_TRIALS}
    seeds: JsonSchema = {
        "anyOf": [
            count,
            list_of(typed_value("integer", minimum=0)),
            closed_object({"rule": one_of(DRAW_RULES), "count": count}),
        ]
    }
    share: JsonSchema = {
        "anyOf": [typed_value("number", minimum=0, exclusiveMaximum=1), definition_ref("fraction")]
    }
    texts = (
        "Labelled images a transfer may see, training and validation together: counts or all.",
        "Subset draws: how many (0, 1, ...), which, or by which rule how many.",
        "The share of n that is kept for choosing options.",
    )
    schemas: tuple[JsonSchema, ...] = (
        one_or_more({"anyOf": [_COUNT, {"const": "all"}]}),
        seeds,
        share,
    )
    return {
        name: or_null(with_description(one, text))
        for name, one, text in zip(DRAW_KEYS, schemas, texts, strict=True)
    }


def _target_schema() -> JsonSchema:
    own: dict[str, JsonSchema] = {
        "data": with_description(definition_ref("dataset_value"), "The data set carried to."),
        **_draw_schemas(),
        "subsets": with_description(
            list_of(definition_ref("subset")), "In place of n, seeds and validation."
        ),
        "test": with_description(
            {"anyOf": [_COUNT, {"const": "all"}]}, "Test images: all, or a fixed draw."
        ),
        "reference": with_description(
            one_or_more(definition_ref("reference_value")), "f_T: a source trained on the target."
        ),
        "leakage": with_description(
            one_of(targets.LEAKAGE_POLICIES), "Shared images: counted, an error, or off."
        ),
    }
    schema = or_null(closed_object({name: or_null(own[name]) for name in targets.TARGET_KEYS}))
    return {
        **schema,
        "dependentSchemas": {
            "subsets": {"properties": {name: {"type": "null"} for name in DRAW_KEYS}}
        },
    }


def _leaderboard_schema() -> JsonSchema:
    figure = closed_object(
        {"kind": one_of(leaderboard_settings.FIGURE_KINDS), "metric": definition_ref("metric")},
        required=leaderboard_settings.FIGURE_KEYS,
    )
    lowest = closed_object(
        {"lowest": definition_ref("metric")}, required=leaderboard_settings.RANK_BY_KEYS
    )
    question: dict[str, JsonSchema] = {
        "predictor": one_or_more(definition_ref("metric")),
        "outcome": definition_ref("metric"),
        "across": one_of(leaderboard_settings.QUESTION_AXES),
        "given": or_null(definition_ref("selection")),
    }
    own: dict[str, JsonSchema] = {
        "baseline": {"anyOf": [_TEXT, closed_object({"transfer": _TEXT}, required=["transfer"])]},
        "rank_by": with_description(
            {"anyOf": [definition_ref("metric"), lowest]},
            "What is best is highest, or {lowest: metric}.",
        ),
        "columns": list_of(definition_ref("metric"), at_least=0),
        "figures": list_of(figure, at_least=0),
        "questions": list_of(
            closed_object(question, required=leaderboard_settings.QUESTION_KEYS[:3]), at_least=0
        ),
    }
    return or_null(
        closed_object({name: or_null(own[name]) for name in leaderboard_settings.LEADERBOARD_KEYS})
    )


_USE_TEXT = "The component, written plugin/factory (`advtransfer list`)."


def entry_definitions(host: Host) -> dict[str, JsonSchema]:
    """Of every kind: an entry, an entry over its parent's, an entry in place, and a name or an entry in place."""
    found: dict[str, JsonSchema] = {
        "fraction": with_description(
            typed_value("string", pattern=f"^{FRACTION}$"), "A fraction: 8/255."
        )
    }
    every: list[Component] = []
    for section in SECTIONS:
        components = host.components(section.kind)
        every += components
        found |= {
            _definition_key(one): {"type": "object", "properties": option_schemas(one)}
            for one in components
        }
        kind = section.kind
        found[f"{kind}_entry"] = _entry_schema(section, components, words=section.words)
        found[f"{kind}_part"] = {
            "if": {"type": "object", "required": ["use"]},
            "then": definition_ref(f"{kind}_entry"),
            "else": {"type": ["object", "null"]},
        }
        found[f"{kind}_inline"] = _entry_schema(section, components, words=INLINE_WORDS)
        found[f"{kind}_value"] = {
            "anyOf": [typed_value("string"), definition_ref(f"{kind}_inline")]
        }
        if kind == "source":
            found["reference_inline"] = _entry_schema(section, components, words=REFERENCE_WORDS)
            found["reference_value"] = {
                "anyOf": [typed_value("string"), definition_ref("reference_inline")]
            }
    found["defaults"] = or_null(
        closed_object({one.name: or_null(closed_object(option_schemas(one))) for one in every})
    )
    return found


def _entry_schema(
    section: Section, components: list[Component], *, words: tuple[str, ...]
) -> JsonSchema:
    common = {"use": with_description(one_of(one.name for one in components), _USE_TEXT)}
    if "label" in words:
        text = "The cell's label; {option} stands for an option's value."
        common["label"] = or_null(with_description(typed_value("string"), text))
    if "only" in words:
        common["only"] = or_null(
            with_description(definition_ref("selection"), "The cells that the entry applies to.")
        )
    return {
        "type": "object",
        "properties": common,
        "required": ["use"],
        "allOf": [
            True,
            *(_component_schema(one, words) for one in components),
        ],  # never empty, as its own schema asks
        "unevaluatedProperties": False,
    }


def _component_schema(component: Component, words: tuple[str, ...]) -> JsonSchema:
    """What an entry may hold when it uses this component."""
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
    if "seeds" in words and "seed" in component.options.fields:
        count, some = (
            typed_value("integer", minimum=1, maximum=MAX_GRID_ENTRIES),
            list_of(typed_value("integer", minimum=0)),
        )
        more["seeds"] = or_null(
            with_description({"anyOf": [count, some]}, "Replicates, shown as one row.")
        )
    if "start" in words and "seed" in component.options.fields:
        text = "Where its training starts: from weights of its own, or from those of a source of its seed."
        more["start"] = or_null(with_description(one_of(TRAINING_STARTS), text))
    return {
        "if": {"properties": {"use": {"const": component.name}}, "required": ["use"]},
        "then": {
            **with_description(definition_ref(_definition_key(component)), component.summary),
            "properties": dict(more),
        },
    }


def _definition_key(component: Component) -> str:
    return component.name.replace("/", ".")


_REQUIRED_SECTIONS = ("targets", "transfers", "evaluations")


def suite_schema(host: Host) -> JsonSchema:
    """JSON Schema (draft 2020-12) of a suite.

    It refuses unknown names and wrong values as the loader does. What hangs on other parts of the file (names of
    entries, options that ``defaults``, a sweep or a parent bring) only the loader knows.
    """
    drawn: JsonSchema = {"anyOf": [{"required": ["n"]}, {"required": ["subsets"]}]}
    target: JsonSchema = {
        "type": "object",
        "required": ["data"],
        "allOf": [definition_ref("target"), drawn],
    }
    whole = {
        section.name: named_entries(definition_ref(f"{section.kind}_entry")) for section in SECTIONS
    } | {"targets": named_entries(target)}
    over = {
        section.name: named_entries(definition_ref(f"{section.kind}_part")) for section in SECTIONS
    }
    over["targets"] = named_entries(definition_ref("target"))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "advtransfer suite",
        "description": "What to run: sources x targets x transfers x evaluations. The suite's name is the file's name.",
        "type": "object",
        "properties": {
            **dict.fromkeys(TOP_LEVEL_KEYS, True),
            **head_schemas(),
            "defaults": definition_ref("defaults"),
        },
        "additionalProperties": False,
        "if": {"properties": {"extends": {"type": "string"}}, "required": ["extends"]},
        "then": {"properties": {name: or_null(one) for name, one in over.items()}},
        "else": {
            "properties": {
                name: {**one, "minProperties": 1} if name in _REQUIRED_SECTIONS else or_null(one)
                for name, one in whole.items()
            },
            "required": list(_REQUIRED_SECTIONS),
        },
        "$defs": {**part_definitions(), **entry_definitions(host)},
    }
