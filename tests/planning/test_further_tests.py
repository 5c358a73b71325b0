"""``also`` in a plan: results on further data sets beside those on the test part, and what stays as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from advtransfer.errors import BadInput
from advtransfer.host import Host
from advtransfer.planning import Plan, limits, make_plan
from advtransfer.planning.nodes import SuiteIndex
from advtransfer.planning.trials import FurtherTest
from advtransfer.suite import Suite, load_text

HOST = Host.discover()
SUITE = """
datasets:
  low: {use: vision/digits, classes: [0, 1, 2]}
  high: {use: vision/digits, classes: [5, 6, 7]}
  other: {use: vision/digits, classes: [5, 6, 7], split_seed: 1}
  third: {use: vision/digits, classes: [5, 6, 7], split_seed: 2}
sources:
  natural: {use: vision/trained, data: low, epochs: 1}
targets:
  digits: {data: high, n: [20, all], seeds: 2, test: 60}
  plain: {data: other, n: 20}
transfers:
  probe: {use: finetune/linear_probe, C: 1}
  scratch: {use: finetune/scratch, network: {use: vision/random_init, data: high}, epochs: 1}
evaluations:
  clean: {use: foolbox/clean_accuracy}
  pgd: {use: foolbox/pgd, norm: linf, eps: 0.1, steps: 2, step_size: 0.1, only: {transfer: probe}}
  logme: {use: alignment/logme}
"""


def suite(also: bool = True, *, without_data: bool = False, **changes: Any) -> Suite:  # noqa: ANN401  # Any: sections as YAML has them
    content = yaml.safe_load(SUITE)
    if also:
        content["targets"]["digits"]["also"] = ["other", "third"]
    text = yaml.safe_dump(content | changes)
    return load_text(text, "shift", HOST, without_data=without_data)


def planned(also: bool = True, **changes: Any) -> Plan:  # noqa: ANN401  # Any: sections as YAML has them
    return make_plan(suite(also, **changes), HOST)


def test_trials_and_ids_of_the_test_part_stay_bit_for_bit() -> None:
    without, plan = planned(also=False), planned()

    assert [trial.id for trial in plan.trials] == [trial.id for trial in without.trials]
    for before, trial in zip(without.trials, plan.trials, strict=True):
        own = {label: ids for label, ids in trial.evaluations.items() if label not in plan.also}
        assert (own, trial.builds) == (before.evaluations, before.builds)
        # Those on further data sets are new results of the same fit.
        added = {id for id in trial.record_ids() if id not in before.record_ids()}
        assert len(added) == len(trial.evaluations) - len(own)
    assert "also" not in json.dumps(without.to_json())


def test_each_evaluation_of_a_fitted_model_is_planned_on_each_further_data_set() -> None:
    plan = planned()
    probe = next(
        trial for trial in plan.trials if (trial.target, trial.transfer) == ("digits", "probe")
    )
    scratch = next(
        trial for trial in plan.trials if (trial.target, trial.transfer) == ("digits", "scratch")
    )

    further = ["clean/other", "clean/third", "pgd/other", "pgd/third"]
    assert sorted(probe.evaluations) == sorted(["clean", "pgd", "logme", *further])
    # `only` of an evaluation holds on further data too.
    assert sorted(scratch.evaluations) == ["clean", "clean/other", "clean/third"]
    assert {
        label for trial in plan.trials if trial.target == "plain" for label in trial.evaluations
    } == {
        "clean",
        "pgd",
        "logme",
    }
    # 8 fits of digits, of which 4 probes have 7 results and 4 scratches 3; of plain 3 and 1.
    assert plan.count_results() == 4 * 7 + 4 * 3 + 3 + 1


def test_nodes_of_its_results_have_the_fit_the_options_and_the_other_test_part() -> None:
    loaded = suite()
    plan = make_plan(loaded, HOST)
    index = SuiteIndex(loaded)
    trial = next(trial for trial in plan.trials if trial.transfer == "probe")
    nodes = {node.id: node for node in index.trial_results(trial)}

    assert set(nodes) == set(trial.record_ids()[1:])
    (own,), (other,) = trial.evaluations["pgd"], trial.evaluations["pgd/other"]
    assert nodes[own].options == nodes[other].options
    assert nodes[own].inputs["model"] == nodes[other].inputs["model"]
    test: Any = nodes[other].inputs["test"]  # Any: a node
    assert test.options == {"count": 60}
    assert test.inputs["data"].id == index.targets["plain"].data.node.id


def test_plan_says_what_is_measured_where_and_comes_back_from_json() -> None:
    plan = planned()

    assert plan.also == {
        "clean/other": FurtherTest("clean", "other"),
        "clean/third": FurtherTest("clean", "third"),
        "pgd/other": FurtherTest("pgd", "other"),
        "pgd/third": FurtherTest("pgd", "third"),
    }
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    also: Any = plan.datasets["digits"]["also"]  # Any: JSON
    assert also["other"]["classes"] == 3
    assert "also" not in plan.datasets["plain"]


def test_exclude_leaves_an_evaluation_out_on_further_data_alone() -> None:
    plan = planned(exclude=[{"evaluation": "pgd/*"}, {"evaluation": "clean/third"}])

    assert {label for trial in plan.trials for label in trial.evaluations} == {
        "clean",
        "clean/other",
        "pgd",
        "logme",
    }
    assert list(plan.also) == ["clean/other"]


def test_order_of_further_data_sets_changes_no_plan() -> None:
    content = yaml.safe_load(SUITE)["targets"]
    content["digits"]["also"] = ["third", "other"]

    assert planned(targets=content).to_json() == planned().to_json()


def test_missing_files_of_further_data_are_placeholders_without_data() -> None:
    content = yaml.safe_load(SUITE)
    datasets = content["datasets"] | {"mine": {"use": "vision/npz", "file": "missing.npz"}}
    targets = content["targets"]
    targets["digits"]["also"] = ["mine"]

    with pytest.raises(BadInput, match=r"missing\.npz"):
        suite(datasets=datasets, targets=targets)
    loaded = suite(also=False, without_data=True, datasets=datasets, targets=targets)
    assert [Path(item.name).name for item in loaded.placeholders] == ["missing.npz"]
    assert "clean/mine" in make_plan(loaded, HOST).also


@pytest.mark.parametrize(("most", "fits"), [(30, True), (29, False)])
def test_results_on_further_data_count_towards_the_limit(
    monkeypatch: pytest.MonkeyPatch, most: int, fits: bool
) -> None:
    monkeypatch.setattr(limits, "MAX_RESULTS", most)
    content = yaml.safe_load(SUITE)
    evaluations = {"clean": content["evaluations"]["clean"]}
    targets = {"digits": content["targets"]["digits"] | {"also": ["other", "third"]}}
    # 8 fits with three results each, and 6 fits of a target without further data with one.
    targets["more"] = {"data": "low", "n": [9, 12, 15]}
    if fits:
        assert planned(evaluations=evaluations, targets=targets).count_results() == 8 * 3 + 6
    else:
        with pytest.raises(BadInput, match="30 results"):
            planned(evaluations=evaluations, targets=targets)
