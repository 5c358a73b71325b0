"""``choose`` in a transfer's entry: ids, the attack that it implies, and its mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
from jsonschema import Draft202012Validator

from advtransfer.errors import BadInput
from advtransfer.host import Host
from advtransfer.node import Node
from advtransfer.planning import make_plan
from advtransfer.suite import load
from advtransfer.suite.choice import Choice
from advtransfer.suite.schema import suite_schema

HOST = Host.discover()
SUITE = """\
datasets: {d: {use: vision/digits}}
sources: {s: {use: vision/trained, data: d, epochs: 1}}
targets: {t: {data: d, n: [50], validation: 0.2}}
transfers: {tr: {use: finetune/TRANSFER}}
evaluations: {e: {use: foolbox/clean_accuracy}}
"""


def transfer_node(path: Path, transfer: str) -> Node:
    (path / "s.yaml").write_text(SUITE.replace("TRANSFER", transfer))
    (cell,) = load(str(path / "s.yaml"), HOST).transfers
    return cell.node


def problems(path: Path, transfer: str) -> list[str]:
    with pytest.raises(BadInput) as caught:
        transfer_node(path, transfer)
    return [str(problem).rpartition("s.yaml:")[2] for problem in caught.value.problems]


def choose(among: str, *, by: str = "accuracy", more: str = "") -> str:
    return f"choose: {{by: validation.{by}, among: {{{among}}}{more}}}"


def test_candidate_is_the_node_of_an_entry_with_its_options(tmp_path: Path) -> None:
    among = "optimiser: [{kind: adam}, {lr: 0.2}], blocks: [0, 2]"
    node = transfer_node(tmp_path, f"blocks, epochs: 3, {choose(among)}")
    choice = Choice.of_node(node)
    assert choice is not None
    entries = [
        "blocks, epochs: 3, blocks: 0, optimiser: {kind: adam}",
        "blocks, epochs: 3, blocks: 2, optimiser: {kind: adam}",
        "blocks, epochs: 3, blocks: 0, optimiser: {lr: 0.2}",
        "blocks, epochs: 3, blocks: 2, optimiser: {lr: 0.2}",
    ]

    assert [transfer_node(tmp_path, entry).id for entry in entries] == [
        choice.candidate_node(node, index).id for index in range(4)
    ]
    assert len({node.id, *(choice.candidate_node(node, index).id for index in range(4))}) == 5


def test_nested_option_is_named_by_dots(tmp_path: Path) -> None:
    node = transfer_node(tmp_path, f"full, {choose('optimiser.lr: [0.1, 0.3]')}")
    choice = Choice.of_node(node)

    assert choice is not None
    assert [{"optimiser.lr": 0.1}, {"optimiser.lr": 0.3}] == [
        choice.settings(index) for index in range(2)
    ]


def test_ball_of_the_training_is_attacked_where_no_attack_is_named(tmp_path: Path) -> None:
    among = "optimiser.lr: [0.1, 0.3]"
    implied = transfer_node(
        tmp_path,
        f"full, adversary: {{norm: l2, eps: 0.5}}, {choose(among, by='robust_accuracy')}",
    )
    attack = ", attack: {norm: l2, eps: 0.5, steps: 10, step_size: 0.125}"
    named = transfer_node(
        tmp_path,
        f"full, adversary: {{norm: l2, eps: 0.5}}, "
        f"{choose(among, by='robust_accuracy', more=attack)}",
    )

    assert named.id == implied.id


@pytest.mark.parametrize(
    ("transfer", "expected"),
    [
        ("linear_probe, choose: {among: {C: [1, 2]}}", ["no `by` in `choose`"]),
        ("linear_probe, choose: {by: validation.accuracy}", ["no `among` in `choose`"]),
        (
            "linear_probe, choose: {by: clean.accuracy, among: {C: [1, 2]}}",
            ["'clean.accuracy'; expected the metric to choose by"],
        ),
        (f"linear_probe, {choose('C: [1]')}", ["1 candidates; expected from 2 to 100"]),
        (f"linear_probe, {choose('D: [1, 2]')}", ["the unknown option 'D' in `choose`"]),
        (f"linear_probe, {choose('C: 1')}", ["1; expected a list of values"]),
        (f"linear_probe, {choose('C: [1, -1]')}", ["-1; expected greater than 0"]),
        (f"linear_probe, {choose('cached: [true, false]')}", ["'cached' to choose"]),
        (
            f"linear_probe, sweep: {{C: [1, 2]}}, {choose('C: [1, 2]')}",
            ["'C' in `choose` and 'C' in `sweep`"],
        ),
        (
            f"full, sweep: {{optimiser: [{{lr: 1}}]}}, {choose('optimiser.lr: [1, 2]')}",
            ["'optimiser.lr' in `choose` and 'optimiser' in `sweep`"],
        ),
        (
            f"full, {choose('optimiser.lr: [1, 2], optimiser: [{kind: adam}, {kind: sgd}]')}",
            ["'optimiser.lr' beside 'optimiser'"],
        ),
        (
            f"linear_probe, {choose('C: [1, 2]', more=', folds: 1, attack: {eps: 0.1}')}",
            ["1; expected a number of folds", "`attack`; expected none"],
        ),
        (
            f"full, {choose('epochs: [1, 2]', by='robust_accuracy', more=', attack: {eps: -1}')}",
            ['{"eps": -1}; expected eps'],
        ),
        (
            f"linear_probe, {choose('C: [1, 2]')}, label: 'probe {{C}}'",
            ["{C} in a label"],
        ),
    ],
)
def test_mistakes_are_told_together_with_their_line(
    tmp_path: Path, transfer: str, expected: list[str]
) -> None:
    found = problems(tmp_path, transfer)

    assert len(expected) == len(found)
    for problem, text in zip(found, expected, strict=True):
        assert problem.startswith("4:")
        assert text in problem


def test_schema_takes_what_the_loader_takes() -> None:
    validator = Draft202012Validator(cast("dict[str, Any]", suite_schema(HOST)))

    def errors(transfer: dict[str, object]) -> list[str]:
        top = {
            "datasets": {"d": {"use": "vision/digits"}},
            "targets": {"t": {"data": "d", "n": 50}},
            "transfers": {"tr": {"use": "finetune/full", **transfer}},
            "evaluations": {"e": {"use": "foolbox/clean_accuracy"}},
        }
        return [error.message for error in validator.iter_errors(json.loads(json.dumps(top)))]

    good = {
        "by": "validation.robust_accuracy",
        "among": {"optimiser.lr": [0.1, 1], "epochs": [1, 2]},
        "folds": 5,
        "attack": {"norm": "linf", "eps": "8/255"},
    }
    assert errors({"choose": good}) == []
    assert errors({"choose": good | {"by": "clean.accuracy"}})
    assert errors({"choose": good | {"among": {"network": [1]}}})
    assert errors({"choose": good | {"folds": 1}})


def plan_of(path: Path, *changes: tuple[str, str]) -> dict[str, Any]:  # Any: JSON of plans
    text = SUITE.replace("TRANSFER", "linear_probe")
    for old, new in changes:
        text = text.replace(old, new)
    (path / "s.yaml").write_text(text)
    return cast("dict[str, Any]", make_plan(load(str(path / "s.yaml"), HOST), HOST).leaderboard)


def test_plan_names_transfers_that_differ_in_swept_options(tmp_path: Path) -> None:
    swept = ("linear_probe", "linear_probe, sweep: {C: [1, 2]}")

    assert [["tr[C=1]", "tr[C=2]"]] == plan_of(tmp_path, swept)["swept"]
    assert "swept" not in plan_of(tmp_path)


def test_transfer_that_chooses_is_not_deterministic(tmp_path: Path) -> None:
    """Which images are held out depends on the subset's seed."""
    for transfer, labels in (
        ("linear_probe", ("tr",)),
        (f"linear_probe, {choose('C: [1, 2]')}", ()),
    ):
        (tmp_path / "s.yaml").write_text(SUITE.replace("TRANSFER", transfer))
        plan = make_plan(load(str(tmp_path / "s.yaml"), HOST), HOST)
        assert labels == plan.deterministic


def test_held_out_metrics_can_be_columns_and_rank(tmp_path: Path) -> None:
    board = "leaderboard: {rank_by: validation.accuracy, columns: [validation.robust_accuracy]}\n"
    plan = plan_of(tmp_path, ("evaluations:", f"{board}evaluations:"))

    assert "validation.accuracy" == plan["rank_by"]
    assert ["validation.robust_accuracy"] == plan["columns"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("{e: ", "{validation: "), "another name, since validation is what the host itself"),
        (
            ("evaluations:", "leaderboard: {rank_by: validation.loss}\nevaluations:"),
            "expected one of validation.accuracy, validation.robust_accuracy",
        ),
        (
            (
                "validation: 0.2}}",
                "validation: 0}}\nleaderboard: {rank_by: validation.accuracy}",
            ),
            "expected no metric of held-out images, since no fit has any",
        ),
    ],
)
def test_validation_is_a_reserved_label(
    tmp_path: Path, change: tuple[str, str], problem: str
) -> None:
    with pytest.raises(BadInput, match=problem):
        plan_of(tmp_path, change)
