"""The parts of a suite that hang on no component: head, targets, selections, leaderboard."""

from __future__ import annotations

from advtransfer.suite import board, targets
from advtransfer.suite.limits import LONGEST_TITLE, MOST_TRIALS
from advtransfer.suite.schema.words import Schema, choice, closed, described, listed, nullable, one_or_more, ref, typed
from advtransfer.suite.sections import FORMAT
from advtransfer.suite.selection import AXES
from advtransfer.suite.subsets import DRAWN, RULES

_COUNT = typed("integer", minimum=1)
_TEXT = typed("string", pattern=r"\S")
_TITLE = typed("string", pattern=r"\S", maxLength=LONGEST_TITLE)
_METRIC = typed("string", pattern=r"^.+\.[A-Za-z]\w*(@[0-9./e-]+){0,2}$")


def head() -> dict[str, Schema]:
    """The keys of a suite that are no sections."""
    return {
        "version": nullable(described({"const": FORMAT}, "The version of this grammar.")),
        "title": nullable(described(_TITLE, "What the suite asks, for the head of its page.")),
        "extends": nullable(described(_TEXT, "The parent: a file beside this one, or the name of a shipped suite.")),
        "exclude": nullable(described(listed(ref("selection"), at_least=0), "Cells that are left out.")),
        "leaderboard": ref("leaderboard"),
    }


def definitions() -> dict[str, Schema]:
    """What the head and the entries refer to."""
    return {
        "selection": _selection(),
        "subset": closed(_drawn()),
        "target": _target(),
        "metric": described(_METRIC, "evaluation.metric[@eps][@epoch]"),
        "leaderboard": _leaderboard(),
    }


def _selection() -> Schema:
    names = one_or_more(typed("string"))
    count, seed = one_or_more({"anyOf": [_COUNT, {"const": "all"}]}), one_or_more(typed("integer", minimum=0))
    axes = {axis: nullable({"n": count, "seed": seed}.get(axis, names)) for axis in AXES}
    text = "Cells that match on every axis named; names may be globs, or lists of either."
    return described({**closed(axes), "minProperties": 1}, text)


def _drawn() -> dict[str, Schema]:
    count: Schema = {**_COUNT, "maximum": MOST_TRIALS}
    seeds: Schema = {
        "anyOf": [count, listed(typed("integer", minimum=0)), closed({"rule": choice(RULES), "count": count})]
    }
    share: Schema = {"anyOf": [typed("number", minimum=0, exclusiveMaximum=1), ref("fraction")]}
    texts = (
        "Labelled images a transfer may see, training and validation together: counts or all.",
        "Subset draws: how many (0, 1, ...), which, or by which rule how many.",
        "The share of n that is kept for choosing options.",
    )
    schemas: tuple[Schema, ...] = (one_or_more({"anyOf": [_COUNT, {"const": "all"}]}), seeds, share)
    return {name: nullable(described(one, text)) for name, one, text in zip(DRAWN, schemas, texts, strict=True)}


def _target() -> Schema:
    own: dict[str, Schema] = {
        "data": described(ref("dataset_value"), "The data set carried to."),
        **_drawn(),
        "subsets": described(listed(ref("subset")), "In place of n, seeds and validation."),
        "test": described({"anyOf": [_COUNT, {"const": "all"}]}, "Test images: all, or a fixed draw."),
        "reference": described(one_or_more(ref("reference_value")), "f_T: a source trained on the target."),
        "leakage": described(choice(targets.LEAKAGE), "Shared images: counted, an error, or off."),
    }
    schema = nullable(closed({name: nullable(own[name]) for name in targets.KEYS}))
    return {**schema, "dependentSchemas": {"subsets": {"properties": {name: {"type": "null"} for name in DRAWN}}}}


def _leaderboard() -> Schema:
    figure = closed({"kind": choice(board.FIGURES), "metric": ref("metric")}, required=board.FIGURE)
    lowest = closed({"lowest": ref("metric")}, required=board.RANKING)
    question: dict[str, Schema] = {
        "predictor": one_or_more(ref("metric")),
        "outcome": ref("metric"),
        "across": choice(board.ACROSS),
        "given": nullable(ref("selection")),
    }
    own: dict[str, Schema] = {
        "baseline": {"anyOf": [_TEXT, closed({"transfer": _TEXT}, required=["transfer"])]},
        "rank_by": described({"anyOf": [ref("metric"), lowest]}, "What is best is highest, or {lowest: metric}."),
        "columns": listed(ref("metric"), at_least=0),
        "figures": listed(figure, at_least=0),
        "questions": listed(closed(question, required=board.QUESTION[:3]), at_least=0),
    }
    return nullable(closed({name: nullable(own[name]) for name in board.KEYS}))
