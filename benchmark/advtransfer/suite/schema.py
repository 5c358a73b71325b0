"""JSON Schema of suite files, including the options of every installed plugin, for editors.

It is written by hand beside the readers, not derived from models: the readers report positions and
next steps, which a model would lose. Tests hold the two against each other.
"""

from __future__ import annotations

from collections.abc import Iterable

from advtransfer.host import Host
from advtransfer.suite import leaderboard_settings, row_settings, targets
from advtransfer.suite.claim_settings import COMMIT_PATTERN, claim_schema
from advtransfer.suite.component_schema import (
    JsonSchema,
    closed_object,
    definition_ref,
    list_of,
    named_entries,
    one_of,
    one_or_more,
    or_null,
    typed_value,
    with_description,
)
from advtransfer.suite.entry_schema import entry_definitions
from advtransfer.suite.figure_settings import figure_schema
from advtransfer.suite.reported_tables import reported_names
from advtransfer.suite.resources import RESOURCE_KEYS, RESOURCES
from advtransfer.suite.sections import (
    MAX_TITLE_LENGTH,
    MAX_TRIALS,
    SECTIONS,
    SUITE_FORMAT,
    TOP_LEVEL_KEYS,
)
from advtransfer.suite.selection import AXES
from advtransfer.suite.targets import DRAW_KEYS, DRAW_RULES

_COUNT = typed_value("integer", minimum=1)
_TEXT = typed_value("string", pattern=r"\S")
_TITLE = typed_value("string", pattern=r"\S", maxLength=MAX_TITLE_LENGTH)
_METRIC = typed_value("string", pattern=r"^.+\.[A-Za-z]\w*(@[0-9./e-]+){0,2}$")


def head_schemas() -> dict[str, JsonSchema]:
    """Return the schemas of the top-level keys that are no sections."""
    return {
        "version": or_null(
            with_description({"const": SUITE_FORMAT}, "The version of this grammar.")
        ),
        "title": or_null(
            with_description(_TITLE, "The question of the suite, for the head of its page.")
        ),
        "extends": or_null(
            with_description(
                _TEXT, "The parent: a file beside this one, or the name of a shipped suite."
            )
        ),
        RESOURCES: definition_ref(RESOURCES),
        "exclude": or_null(
            with_description(
                list_of(definition_ref("selection"), at_least=0), "Cells that are left out."
            )
        ),
        "leaderboard": definition_ref("leaderboard"),
    }


def part_definitions(host: Host) -> dict[str, JsonSchema]:
    """Return the definitions that the head and the entries refer to."""
    return {
        "selection": _selection_schema(),
        "subset": closed_object(_draw_schemas()),
        "target": _target_schema(),
        RESOURCES: _resources_schema(),
        "metric": with_description(_METRIC, "evaluation.metric[@eps][@epoch]"),
        "leaderboard": _leaderboard_schema(host),
    }


def _selection_schema(allowed: Iterable[str] = AXES) -> JsonSchema:
    names = one_or_more(typed_value("string"))
    special = {
        "n": one_or_more({"anyOf": [_COUNT, {"const": "all"}]}),
        "seed": one_or_more(typed_value("integer", minimum=0)),
    }
    axes = {axis: or_null(special.get(axis, names)) for axis in allowed}
    text = "Cells that match on every axis named; names may be globs, or lists of either."
    return with_description({**closed_object(axes), "minProperties": 1}, text)


def _draw_schemas() -> dict[str, JsonSchema]:
    count: JsonSchema = {**_COUNT, "maximum": MAX_TRIALS}
    seeds: JsonSchema = {
        "anyOf": [
            count,
            list_of(typed_value("integer", minimum=0)),
            closed_object(
                {
                    "count": count,
                    "rule": or_null(one_of(DRAW_RULES)),
                    "paired": or_null(
                        with_description(
                            typed_value("boolean"), "Training i of a source with subset seed i."
                        )
                    ),
                },
                required=["count"],
            ),
        ]
    }
    share: JsonSchema = {
        "anyOf": [typed_value("number", minimum=0, exclusiveMaximum=1), definition_ref("fraction")]
    }
    described = {
        "n": with_description(
            one_or_more({"anyOf": [_COUNT, {"const": "all"}]}),
            "Labelled images a transfer may see, training and validation together: counts or all.",
        ),
        "seeds": with_description(
            seeds,
            "Subset draws: how many (0, 1, ...), which, or how many by which rule; `paired` takes "
            "training i of a source with seed i.",
        ),
        "validation": with_description(share, "The share of n that is kept for choosing options."),
    }
    return {name: or_null(described[name]) for name in DRAW_KEYS}


def _target_schema() -> JsonSchema:
    own: dict[str, JsonSchema] = {
        "data": with_description(definition_ref("dataset_value"), "The data set to transfer to."),
        **_draw_schemas(),
        "subsets": with_description(
            list_of(definition_ref("subset")), "In place of n, seeds and validation."
        ),
        "test": with_description(
            {"anyOf": [_COUNT, {"const": "all"}]}, "Test images: all, or a fixed draw."
        ),
        "also": with_description(
            list_of(_TEXT),
            "Data sets of the same classes, on whose test parts fitted models are evaluated too.",
        ),
        "reference": with_description(
            one_or_more(definition_ref("reference_value")), "f_T: a source trained on the target."
        ),
        "leakage": with_description(
            one_of(targets.LEAKAGE_POLICIES), "Shared images: counted, an error, or off."
        ),
    }
    # In a suite with a parent, any key of a target may be missing or null.
    schema = or_null(closed_object({name: or_null(own[name]) for name in targets.TARGET_KEYS}))
    return {
        **schema,
        # `subsets` replaces n, seeds and validation.
        "dependentSchemas": {
            "subsets": {"properties": {name: {"type": "null"} for name in DRAW_KEYS}}
        },
    }


def _resources_schema() -> JsonSchema:
    share: JsonSchema = {
        "anyOf": [
            {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
            typed_value("integer", minimum=1),
            definition_ref("fraction"),
        ]
    }
    cores: JsonSchema = {
        "anyOf": [{"type": "number", "exclusiveMinimum": 0}, definition_ref("fraction")]
    }
    own = {
        "cpus": with_description(cores, "CPU cores of a job; by default its threads."),
        "gpus": with_description(share, "GPUs of a job with --device cuda, or the share of one."),
    }
    schema = closed_object({name: or_null(own[name]) for name in RESOURCE_KEYS})
    return or_null(with_description(schema, "What an executor reserves for a job; in no id."))


def _leaderboard_schema(host: Host) -> JsonSchema:
    figures = [
        figure_schema(name, kind, axes=leaderboard_settings.QUESTION_AXES)
        for name, kind in host.figure_kinds().items()
    ]
    lowest = closed_object(
        {"lowest": definition_ref("metric")}, required=leaderboard_settings.RANK_BY_KEYS
    )
    question: dict[str, JsonSchema] = {
        "predictor": one_or_more(definition_ref("metric")),
        "outcome": definition_ref("metric"),
        "across": one_of((*leaderboard_settings.QUESTION_AXES, leaderboard_settings.IMAGE_AXIS)),
        "given": or_null(definition_ref("selection")),
        "exploratory": or_null(
            with_description(
                typed_value("boolean"), "Asked after looking at results: no p is printed."
            )
        ),
        "note": or_null(with_description(_TEXT, "A text for the page.")),
    }
    baseline: JsonSchema = {
        "anyOf": [_TEXT, closed_object({"transfer": _TEXT}, required=["transfer"])]
    }
    own: dict[str, JsonSchema] = {
        "note": with_description(_TEXT, "A text for the top of the page."),
        "answer": with_description(
            _answer_schema(lowest), "The contrast that answers the suite's question."
        ),
        "baseline": baseline,
        "baselines": with_description(
            list_of(baseline, at_least=0),
            "Several baselines in place of one, each a column of differences; answers and curves meet the first.",
        ),
        "rank_by": with_description(
            {"anyOf": [definition_ref("metric"), lowest]},
            "The metric to rank by, highest first, or {lowest: metric}.",
        ),
        "columns": list_of(definition_ref("metric"), at_least=0),
        "all_n": with_description(
            list_of(definition_ref("metric"), at_least=0),
            "Metrics of `columns` with one table over all n of each target.",
        ),
        "figures": list_of({"anyOf": figures}, at_least=0),
        "questions": list_of(
            closed_object(question, required=leaderboard_settings.REQUIRED_QUESTION_KEYS),
            at_least=0,
        ),
        "claims": with_description(
            list_of(
                claim_schema(
                    row=_row_schema(),
                    place=_selection_schema(row_settings.ANSWER_AXES),
                    axes=leaderboard_settings.QUESTION_AXES,
                ),
                at_least=0,
            ),
            "What papers claim; the page answers each by its rule.",
        ),
        "registered": with_description(
            typed_value("string", pattern=f"^{COMMIT_PATTERN.pattern}$"),
            "The commit that held the claims before the run.",
        ),
        "open": with_description(
            list_of(one_of(leaderboard_settings.OPEN_AXES), at_least=0),
            "What submissions to the suite's board may add.",
        ),
        "reported": with_description(
            list_of(one_of(reported_names()), at_least=0),
            "Publications whose tables the page shows, as reported.",
        ),
    }
    return or_null(
        closed_object({name: or_null(own[name]) for name in leaderboard_settings.LEADERBOARD_KEYS})
    )


def _row_schema() -> JsonSchema:
    row = {axis: or_null(_TEXT) for axis in row_settings.ROW_AXES}
    return {"anyOf": [_TEXT, {**closed_object(row), "minProperties": 1}]}


def _answer_schema(lowest: JsonSchema) -> JsonSchema:
    side = _row_schema()
    keys: dict[str, JsonSchema] = {
        "metric": with_description(
            {"anyOf": [definition_ref("metric"), lowest]}, "By default that of rank_by."
        ),
        "of": with_description(side, "A source, a transfer or a row; by default the best row."),
        "against": with_description(side, "What it is compared with; by default the baseline."),
        "at": with_description(
            _selection_schema(row_settings.ANSWER_AXES),
            "Targets, n, sources or transfers; by default the largest n.",
        ),
    }
    return {
        **closed_object({name: or_null(keys[name]) for name in leaderboard_settings.ANSWER_KEYS}),
        "minProperties": 1,
    }


_REQUIRED_SECTIONS = ("targets", "transfers", "evaluations")


def suite_schema(host: Host) -> JsonSchema:
    """Return the JSON Schema (draft 2020-12) of a suite.

    It refuses unknown names and wrong values as the loader does. Only the loader checks what
    depends on other parts of the file: names of entries, and options from ``defaults``, a sweep or
    a parent.
    """
    has_draws: JsonSchema = {"anyOf": [{"required": ["n"]}, {"required": ["subsets"]}]}
    target: JsonSchema = {
        "type": "object",
        "required": ["data"],
        "allOf": [definition_ref("target"), has_draws],
    }
    complete = {
        section.name: named_entries(definition_ref(f"{section.kind}_entry")) for section in SECTIONS
    }
    complete["targets"] = named_entries(target)
    extending = {
        section.name: named_entries(definition_ref(f"{section.kind}_part")) for section in SECTIONS
    }
    extending["targets"] = named_entries(definition_ref("target"))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "advtransfer suite",
        "description": (
            "A study: sources x targets x transfers x evaluations. "
            "The suite's name is the file's name."
        ),
        "type": "object",
        "properties": {
            **dict.fromkeys(TOP_LEVEL_KEYS, True),
            **head_schemas(),
            "defaults": definition_ref("defaults"),
        },
        "additionalProperties": False,
        # A suite with a parent may leave out whatever the parent has.
        "if": {"properties": {"extends": {"type": "string"}}, "required": ["extends"]},
        "then": {"properties": {name: or_null(schema) for name, schema in extending.items()}},
        "else": {
            "properties": {
                name: {**schema, "minProperties": 1}
                if name in _REQUIRED_SECTIONS
                else or_null(schema)
                for name, schema in complete.items()
            },
            "required": list(_REQUIRED_SECTIONS),
        },
        "$defs": {**part_definitions(host), **entry_definitions(host)},
    }
