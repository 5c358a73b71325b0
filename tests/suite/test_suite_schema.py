from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from jsonschema import Draft202012Validator

from advtransfer.errors import BadInput
from advtransfer.host import Host
from advtransfer.suite import Suite, shipped_suites, suite_schema
from advtransfer.suite.component_schema import documented_arguments
from advtransfer.suite.located import Problems
from advtransfer.suite.yaml_reader import read_yaml
from advtransfer.types import Json

CORRECT: list[dict[str, str]] = [
    {},
    {
        "sources": "s: {use: toy/trained, data: low, lr: '8/255', adversary: {eps: '0.5/255'}, preset: paper, seeds: 2}"
    },
    {
        "sources": "s: {use: toy/trained, data: {use: toy/images, size: 3}, adversary: null, seeds: [3, 4]}"
    },
    {
        "sources": "s: {use: toy/trained, data: low, sweep: {adversary.eps: [0.1, '8/255'], data: [low]}}"
    },
    {"sources": "s: {use: toy/fixed, label: x, only: {target: [task], n: 20}, sweep: null}"},
    {
        "sources": "s: {use: toy/fixed, timeout: 30m}",
        "transfers": "probe: {use: toy/probe, timeout: 1.5 h}",
        "evaluations": "clean: {use: toy/accuracy, timeout: 1h30m}",
        "targets": "task: {data: low, n: 20, reference: {use: toy/trained, data: low, timeout: 90s}}",
    },
    {"defaults": "toy/trained: {data: low, lr: 0.5}", "sources": "s: {use: toy/trained}"},
    {
        "datasets": (
            "low: {use: toy/images, classes: [1, 0], channels: 3, size: null}\n"
            "b: {use: toy/mixed, parts: [low]}"
        )
    },
    {
        "adapters": "a: {use: toy/chain, parts: [{use: toy/crop}, b]}\nb: {use: toy/crop, only: {target: task}}"
    },
    {
        "targets": "task: {data: low, n: all, seeds: {rule: utrera2021, count: 2}, test: 30, validation: 0.5}"
    },
    {
        "targets": "task: {data: low, n: null, subsets: [{n: [20, all], seeds: [3]}], reference: natural}"
    },
    {"targets": "task: {data: low, n: 20, reference: [{use: toy/trained, data: low, seeds: 2}]}"},
    {
        "targets": "task: {data: low, n: 20, reference: {use: toy/trained, data: low, start: source}}"
    },
    {
        "evaluations": "clean: {use: toy/accuracy}\npgd: {use: toy/pgd, eps: [0.1, '8/255'], sweep: {steps: [1, 2]}}"
    },
    {"resources": "{cpus: 2, gpus: null}"},
    {"evaluations": "clean: {use: toy/accuracy, resources: {cpus: 0.5, gpus: '1/4'}}"},
    {"transfers": "probe: {use: toy/probe, resources: {gpus: 2}}"},
    {"exclude": "- {source: nat*, n: [20]}", "title": "a title", "adapters": ""},
    {"leaderboard": "baseline: {transfer: probe}\nrank_by: clean.accuracy@0.1@3\nquestions: []"},
    {"leaderboard": "baselines: [natural, {transfer: probe}]"},
    {"leaderboard": "rank_by: {lowest: clean.loss@0.1}"},
    {"leaderboard": "answer: {metric: clean.accuracy, of: probe, against: null, at: {n: 20}}"},
    {
        "leaderboard": "figures: [{kind: accuracy_vs_n, metric: clean.accuracy}]\ncolumns: ['clean.accuracy@8/255']"
    },
    {
        "evaluations": "clean: {use: toy/accuracy}\npgd: {use: toy/normed, norm: linf, eps: [0.1, 0.2]}",
        "leaderboard": "figures: [{kind: metric_vs_eps, metric: pgd.robust_accuracy}, "
        "{kind: metric_vs_epoch, metric: clean.accuracy}, {kind: metric_vs_epoch, curve: train_loss}, "
        "{kind: robust_vs_clean, robust: pgd.robust_accuracy@0.1, clean: clean.accuracy}, "
        "{kind: scatter, predictor: clean.a, outcome: clean.b, across: transfer, given: {n: 20}}, "
        "{kind: scatter, predictor: clean.a, outcome: clean.b}]",
    },
    {
        "leaderboard": "questions: [{predictor: [clean.a, clean.b], outcome: clean.accuracy, across: source}]"
    },
]
WRONG: list[dict[str, str]] = [
    {"version": "2"},
    {"soruces": "{}"},
    {"targets": "{}"},
    {"sources": "s: {data: low}"},
    {"sources": "s: {use: toy/traned, data: low}"},
    {"sources": "s: {use: toy/probe}"},
    {"sources": "s: {use: toy/trained, data: low, epocs: 3}"},
    {"sources": "s: {use: toy/trained, data: low, epochs: 0}"},
    {"sources": "s: {use: toy/trained, data: low, epochs: '3'}"},
    {"sources": "s: {use: toy/trained, data: low, network: tiny}"},
    {"sources": "s: {use: toy/trained, data: low, lr: fast}"},
    {"sources": "s: {use: toy/trained, data: low, adversary: {epz: 1}}"},
    {"sources": "s: {use: toy/trained, data: 3}"},
    {"sources": "s: {use: toy/trained, data: {use: toy/images, spilt: 3}}"},
    {"sources": "s: {use: toy/trained, data: {use: toy/images, label: x}}"},
    {"sources": "s: {use: toy/trained, data: low, preset: papr}"},
    {"sources": "s: {use: toy/fixed, preset: paper}"},
    {"sources": "s: {use: toy/fixed, seeds: 2}"},
    {"sources": "s: {use: toy/fixed, sweep: {netwrk: [small]}}"},
    {"sources": "s: {use: toy/fixed, sweep: {network: small}}"},
    {"sources": "s: {use: toy/fixed, sweep: {network: [tiny]}}"},
    {"sources": "s: {use: toy/trained, data: low, sweep: {adversary.epz: [1]}}"},
    {"sources": "s: {use: toy/fixed, only: {sorce: s}}"},
    {"sources": "'s*': {use: toy/fixed}"},
    {"sources": "s: {use: toy/fixed, timeout: 30}"},
    {"sources": "s: {use: toy/fixed, timeout: 0m}"},
    {"sources": "s: {use: toy/fixed, timeout: 1 week}"},
    {"datasets": "low: {use: toy/images, timeout: 30m}"},
    {"sources": "s: {use: toy/trained, data: {use: toy/images, timeout: 30m}}"},
    {"defaults": "toy/trained: {epocs: 3}"},
    {"defaults": "toy/traned: {epochs: 3}"},
    {"datasets": "low: {use: toy/images, classes: [0]}"},
    {"datasets": "low: {use: toy/images, channels: 2}"},
    {"datasets": "low: {use: toy/images, only: {target: task}}"},
    {"datasets": "low: {use: toy/mixed, parts: low}"},
    {"datasets": "low: {use: toy/archive, file: a.npz, sha256: abc}"},
    {"targets": "task: {n: 20}"},
    {
        "targets": "task: {data: low, n: 20, reference: {use: toy/trained, data: low, start: shared}}"
    },
    {"targets": "task: {data: low, n: 20, reference: {use: toy/fixed, start: own}}"},
    {"sources": "s: {use: toy/trained, data: low, start: own}"},
    {"targets": "task: {data: low}"},
    {"targets": "task: {data: low, n: 0}"},
    {"targets": "task: {data: low, n: some}"},
    {"targets": "task: {data: low, n: 20, subsets: [{n: 20}]}"},
    {"targets": "task: {data: low, n: 20, validation: 1}"},
    {"targets": "task: {data: low, n: 20, seeds: {rule: utrera, count: 2}}"},
    {"targets": "task: {data: low, n: 20, tset: 3}"},
    {"resources": "{gpu: 1}"},
    {"resources": "2"},
    {"evaluations": "clean: {use: toy/accuracy, resources: {gpus: 1.5}}"},
    {"evaluations": "clean: {use: toy/accuracy, resources: {cpus: 0}}"},
    {"evaluations": "clean: {use: toy/accuracy, resources: {cpus: true}}"},
    {"datasets": "low: {use: toy/images, resources: {cpus: 1}}"},
    {"exclude": "- {}"},
    {"exclude": "- {sorce: natural}"},
    {"leaderboard": "rank_by: clean"},
    {"leaderboard": "rank_by: {}"},
    {"leaderboard": "answer: {}"},
    {"leaderboard": "answer: {metric: clean.accuracy, of: {n: 20}}"},
    {"leaderboard": "answer: {metric: clean.accuracy, at: {seed: 0}}"},
    {"leaderboard": "rank_by: {highest: clean.accuracy}"},
    {"leaderboard": "rank_by: {lowest: [clean.loss]}"},
    {"leaderboard": "rankby: clean.accuracy"},
    {"leaderboard": "baseline: {source: natural}"},
    {"leaderboard": "baselines: natural"},
    {"leaderboard": "figures: [{kind: pie, metric: clean.accuracy}]"},
    {"leaderboard": "figures: [{kind: robust_vs_clean, metric: clean.accuracy}]"},
    {"leaderboard": "figures: [{kind: robust_vs_clean, robust: pgd.robust_accuracy}]"},
    {"leaderboard": "figures: [{kind: accuracy_vs_n, metric: clean.accuracy, curve: loss}]"},
    {"leaderboard": "figures: [{kind: metric_vs_epoch}]"},
    {"leaderboard": "figures: [{kind: metric_vs_epoch, metric: clean.accuracy, curve: loss}]"},
    {
        "leaderboard": "figures: [{kind: scatter, predictor: clean.a, outcome: clean.b, across: colour}]"
    },
]


@pytest.fixture(scope="module")
def validator(host: Host) -> Draft202012Validator:
    return Draft202012Validator(suite_schema(host))


@pytest.fixture
def accepts(validator: Draft202012Validator) -> Callable[[Path], bool]:
    """Whether the schema accepts a file, read as the loader reads it."""

    def accepts(path: Path) -> bool:
        value, _ = read_yaml(path, file=path.name, problems=Problems(path.name))
        return bool(validator.is_valid(value.to_plain()))

    return accepts


@pytest.fixture
def loads(suite: Callable[..., Suite]) -> Callable[..., bool]:
    def loads(**sections: str) -> bool:
        try:
            suite(**sections)
        except BadInput:
            return False
        return True

    return loads


def test_suite_schema_is_valid_json_schema(host: Host) -> None:
    Draft202012Validator.check_schema(suite_schema(host))
    Draft202012Validator.check_schema(suite_schema(Host([])))


@pytest.mark.parametrize("sections", CORRECT, ids=str)
def test_schema_accepts_what_the_loader_accepts(
    suite: Callable[..., Suite], accepts: Callable[[Path], bool], sections: dict[str, str]
) -> None:
    path = suite(**{name: text.replace("'", "") for name, text in sections.items()}).path

    assert accepts(path)


@pytest.mark.parametrize("sections", WRONG, ids=str)
def test_schema_and_loader_refuse_the_same_mistakes(
    loads: Callable[..., bool], accepts: Callable[[Path], bool], sections: dict[str, str]
) -> None:
    assert not loads(**sections)
    assert not accepts(Path("toy.yaml"))


def test_editor_sees_fractions_as_texts(validator: Draft202012Validator) -> None:
    entry = {"use": "toy/pgd", "eps": "8/255"}
    whole = {
        "sources": {"s": {"use": "toy/trained", "data": "low", "lr": "8/255"}},
        "targets": {"t": {"data": "low", "n": 20, "validation": "1/10"}},
        "transfers": {"p": {"use": "toy/probe"}},
        "evaluations": {"e": entry},
    }

    assert validator.is_valid(whole)
    assert not validator.is_valid(whole | {"evaluations": {"e": entry | {"eps": "8:255"}}})


def test_suite_with_a_parent_may_omit_sections(
    write: Callable[[str, str], Path], accepts: Callable[[Path], bool]
) -> None:
    ok = "extends: base\nsources: {s: {lr: 0.1}, gone: null}\ntargets: {t: {n: 20}}\nevaluations: null"

    assert accepts(write("a.yaml", ok))
    assert not accepts(write("b.yaml", f"{ok}\ntransfers: {{p: {{use: toy/probe, D: 1}}}}"))
    assert not accepts(write("c.yaml", "sources: {s: {lr: 0.1}}"))


def test_option_schemas_have_help_and_defaults(host: Host) -> None:
    definitions = cast(
        "dict[str, dict[str, dict[str, dict[str, Json]]]]", suite_schema(host)["$defs"]
    )
    options = definitions["toy.trained"]["properties"]

    assert options["lr"]["description"] == "The learning rate, over two lines."
    assert options["data"]["description"] == "What to train on."
    assert (options["epochs"]["default"], options["epochs"]["minimum"]) == (10, 1)


def test_args_of_a_docstring_end_with_their_section() -> None:
    help = "Head.\n\nArgs:\n    one: First,\n        and more: so.\n    two: Second.\n\nRaises:\n    three: No."

    assert documented_arguments(help) == {"one": "First, and more: so.", "two": "Second."}
    assert documented_arguments("Head.") == {}


def test_schema_of_the_installed_plugins_accepts_every_shipped_suite() -> None:
    validator = Draft202012Validator(suite_schema(Host.discover()))

    for path in shipped_suites().values():
        value, _ = read_yaml(path, file=path.name, problems=Problems(path.name))
        assert [error.message for error in validator.iter_errors(value.to_plain())] == []
