from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from advtransfer.errors import BadInput
from advtransfer.host import Host
from advtransfer.planning import Plan, job_requests, make_plan
from advtransfer.planning.nodes import SuiteIndex
from advtransfer.suite import Suite, load

HOST = Host.discover()
SUITE = """
datasets:
  low: {use: vision/digits, classes: [0, 1, 2]}
  high: {use: vision/digits, classes: [5, 6, 7]}
  large: {use: vision/digits, channels: 3, pixels: 16}
sources:
  natural: {use: vision/trained, data: low, epochs: 1, seeds: 2}
  linf: {use: vision/trained, data: low, adversary: {norm: linf, eps: 0.1, steps: 2}}
targets:
  digits: {data: high, n: [20, all], seeds: 2}
transfers:
  probe: {use: finetune/linear_probe}
  blocks: {use: finetune/blocks, blocks: 1, sweep: {blocks: [0, 1]}}
evaluations:
  clean: {use: foolbox/clean_accuracy}
  pgd: {use: foolbox/pgd, norm: linf, eps: 0.1, steps: 2, step_size: 0.1, only: {transfer: probe}}
"""


def suite(tmp_path: Path, text: str = SUITE, **changes: Any) -> Suite:  # noqa: ANN401  # Any: sections as YAML has them
    path = tmp_path / "grid.yaml"
    path.write_text(
        yaml.safe_dump(yaml.safe_load(text.replace(", pixels: 16", ", size: 16")) | changes)
    )
    return load(str(path), HOST)


def planned(tmp_path: Path, **changes: Any) -> Plan:  # noqa: ANN401  # Any: sections as YAML has them
    return make_plan(suite(tmp_path, **changes), HOST)


def test_grid_is_the_product_of_its_axes(tmp_path: Path) -> None:
    plan = planned(tmp_path)

    assert 3 * 1 * 4 * 3 == len(plan.trials)
    assert 3 * 4 * 3 + 3 * 4 == plan.count_results()
    assert {"natural[seed=0]", "natural[seed=1]", "linf"} == set(plan.sources.values())


def test_plan_names_the_transfers_that_draw_no_random_number(tmp_path: Path) -> None:
    transfers = {
        "probe": {"use": "finetune/linear_probe"},
        "sgd": {"use": "finetune/linear_probe", "solver": "sgd", "epochs": 1},
        "affine": {"use": "finetune/logit_affine"},
        "blocks": {"use": "finetune/blocks", "blocks": 1},
    }
    plan = planned(tmp_path, transfers=transfers)

    assert ("affine", "probe") == plan.deterministic == Plan.from_json(plan.to_json()).deterministic


def test_replicates_share_a_row(tmp_path: Path) -> None:
    rows = {(trial.source, trial.row, trial.replicate) for trial in planned(tmp_path).trials}

    assert {
        ("natural[seed=0]", "natural", 0),
        ("natural[seed=1]", "natural", 1),
        ("linf", "linf", None),
    } == rows


def test_plan_ids_are_those_of_the_nodes(tmp_path: Path) -> None:
    checked = suite(tmp_path)
    cells, plan = SuiteIndex(checked), make_plan(checked, HOST)

    for trial in plan.trials:
        assert trial.id == cells.trial_fit(trial).id
        assert set(trial.record_ids()[1:]) == {node.id for node in cells.trial_results(trial)}


def test_order_of_entries_changes_neither_ids_nor_the_order_of_the_plan(tmp_path: Path) -> None:
    sections = yaml.safe_load(SUITE.replace(", pixels: 16", ", size: 16"))
    shuffled = {}
    for name in random.Random(0).sample(list(sections), len(sections)):
        shuffled[name] = dict(
            random.Random(1).sample(list(sections[name].items()), len(sections[name]))
        )
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(shuffled, sort_keys=False))

    assert make_plan(load(str(path), HOST), HOST).trials == planned(tmp_path).trials


def test_one_trial_in_two_suites_has_one_id(tmp_path: Path) -> None:
    few = planned(tmp_path, evaluations={"clean": {"use": "foolbox/clean_accuracy"}})
    many = planned(tmp_path)

    assert {trial.id for trial in few.trials} == {trial.id for trial in many.trials}


def test_only_of_an_evaluation_leaves_it_out_elsewhere(tmp_path: Path) -> None:
    measured = {(trial.transfer, tuple(trial.evaluations)) for trial in planned(tmp_path).trials}

    assert {
        ("probe", ("clean", "pgd")),
        ("blocks[blocks=0]", ("clean",)),
        ("blocks[blocks=1]", ("clean",)),
    } == measured


def test_exclude_drops_cells_or_single_evaluations(tmp_path: Path) -> None:
    plan = planned(
        tmp_path, exclude=[{"source": "natural", "n": "all"}, {"evaluation": "pgd", "seed": 1}]
    )
    remaining = {(trial.row, trial.n) for trial in plan.trials}

    assert ("natural", "all") not in remaining
    assert ("linf", "all") in remaining
    assert {("pgd" in trial.evaluations) for trial in plan.trials if trial.seed == 1} == {False}


def test_different_shapes_without_an_adapter_are_skipped_with_the_reason(tmp_path: Path) -> None:
    plan = planned(tmp_path, targets={"large": {"data": "large", "n": [20]}})

    assert {
        "the target gives inputs (3, 16, 16), the source takes (1, 8, 8); add an adapter for this pair"
    } == {trial.skipped for trial in plan.trials}


def test_explicit_identity_is_the_same_trial_as_no_adapter(tmp_path: Path) -> None:
    plain = planned(tmp_path)
    named = planned(tmp_path, adapters={"same": {"use": "adapters/identity"}})

    assert [trial.id for trial in plain.trials] == [trial.id for trial in named.trials]
    assert [tuple(trial.evaluations.items()) for trial in plain.trials] == [
        tuple(trial.evaluations.items()) for trial in named.trials
    ]
    assert {"same"} == {trial.adapter for trial in named.trials}


def test_two_labels_for_one_fit_are_an_error(tmp_path: Path) -> None:
    twins = {"a": {"use": "finetune/linear_probe"}, "b": {"use": "finetune/linear_probe", "C": 1.0}}

    with pytest.raises(BadInput, match="which ask for the same fit"):
        planned(tmp_path, transfers=twins, evaluations={"clean": {"use": "foolbox/clean_accuracy"}})


def test_plan_survives_its_json(tmp_path: Path) -> None:
    plan = planned(tmp_path)

    assert plan == Plan.from_json(plan.to_json())


def test_jobs_of_a_trial_hold_exactly_the_missing_records(tmp_path: Path) -> None:
    checked = suite(tmp_path)
    cells, plan = SuiteIndex(checked), make_plan(checked, HOST)
    trial = next(trial for trial in plan.trials if len(trial.evaluations) == 2)
    clean, pgd = (trial.evaluations[name][0] for name in ("clean", "pgd"))

    assert [] == job_requests(cells, trial, [])
    whole = job_requests(cells, trial, trial.record_ids())
    assert [(trial.id, {clean, pgd})] == [
        (one.node.id, {node.id for node in one.results}) for one in whole
    ]
    again = job_requests(cells, trial, [pgd])
    assert [(trial.id, {pgd})] == [
        (one.node.id, {node.id for node in one.results}) for one in again
    ]


def test_one_attribute_is_a_task_of_classes(tmp_path: Path) -> None:
    """Attributes together suit no linear probe; a view of one of them does."""
    labels = np.array([[0, 1], [1, 0], [1, 1], [0, 0]] * 10)
    images = np.zeros((40, 3, 3, 1), dtype=np.uint8)
    np.savez(tmp_path / "faces.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    file = {"use": "vision/npz", "file": str(tmp_path / "faces.npz")}
    plan = planned(
        tmp_path,
        datasets={"all": file, "one": file | {"attribute": 1}},
        sources={"random": {"use": "vision/random_init", "data": "one", "network": "fcnet"}},
        targets={
            "all": {"data": "all", "n": [20]},
            "one": {"data": "one", "n": [20]},
        },
        transfers={"probe": {"use": "finetune/linear_probe"}},
        evaluations={"clean": {"use": "foolbox/clean_accuracy", "only": {"target": "one"}}},
    )

    assert {
        "all": "the transfer works on classes; the target's task is attributes",
        "one": None,
    } == {trial.target: trial.skipped for trial in plan.trials}
