"""Subset seeds that are paired with trainings: which trials the plan has, and which counts fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from advtransfer.errors import BadInput
from advtransfer.host import Host
from advtransfer.planning import Plan, make_plan
from advtransfer.suite import load

HOST = Host.discover()
SUITE = """
datasets:
  low: {use: vision/digits, classes: [0, 1, 2]}
  high: {use: vision/digits, classes: [5, 6, 7]}
sources:
  natural: {use: vision/trained, data: low, epochs: 1, seeds: 3}
  listed: {use: vision/trained, data: low, epochs: 2, seeds: [7, 5, 9]}
  single: {use: vision/trained, data: low, epochs: 3}
targets:
  digits: {data: high, n: [20, 50], seeds: {count: 3, paired: true}}
transfers:
  probe: {use: finetune/linear_probe}
  scratch: {use: finetune/scratch, network: {use: vision/random_init, data: high}}
evaluations:
  clean: {use: foolbox/clean_accuracy}
"""


def planned(tmp_path: Path, **changes: Any) -> Plan:  # noqa: ANN401  # Any: sections as YAML has them
    path = tmp_path / "paired.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(SUITE) | changes))
    return make_plan(load(str(path), HOST), HOST)


def seeds_by_source(plan: Plan) -> dict[str | None, list[int]]:
    seeds: dict[str | None, list[int]] = {}
    for trial in plan.trials:
        if trial.n == 20:
            seeds.setdefault(trial.source, []).append(trial.seed)
    return {source: sorted(of_source) for source, of_source in seeds.items()}


def test_training_i_meets_seed_i_and_a_single_training_meets_all(tmp_path: Path) -> None:
    assert {
        "natural[seed=0]": [0],
        "natural[seed=1]": [1],
        "natural[seed=2]": [2],
        # Position i in the list, whatever the seed of the training.
        "listed[seed=7]": [0],
        "listed[seed=5]": [1],
        "listed[seed=9]": [2],
        "single": [0, 1, 2],
        None: [0, 1, 2],
    } == seeds_by_source(planned(tmp_path))


def test_trials_are_those_of_the_full_grid_with_the_same_ids(tmp_path: Path) -> None:
    paired = planned(tmp_path)
    full = planned(tmp_path, targets={"digits": {"data": "high", "n": [20, 50], "seeds": 3}})

    assert 2 * (3 + 3 + 3 + 3) == len(paired.trials)
    assert 2 * (9 + 9 + 3 + 3) == len(full.trials)
    assert {trial.id for trial in paired.trials} < {trial.id for trial in full.trials}


def test_exclusions_by_hand_give_the_same_plan(tmp_path: Path) -> None:
    exclude = []
    for position, labels in enumerate(
        [["natural[seed=0]", "listed[seed=7]"], ["natural[seed=1]", "listed[seed=5]"]]
    ):
        exclude.append({"source": labels, "seed": [seed for seed in range(3) if seed != position]})
    exclude.append({"source": ["natural[seed=2]", "listed[seed=9]"], "seed": [0, 1]})
    by_hand = planned(
        tmp_path,
        targets={"digits": {"data": "high", "n": [20, 50], "seeds": 3}},
        exclude=exclude,
    )

    assert by_hand.to_json() == planned(tmp_path).to_json()


def test_papers_rule_can_be_paired(tmp_path: Path) -> None:
    seeds = {"count": 3, "rule": "utrera2021", "paired": True}
    plan = planned(tmp_path, targets={"digits": {"data": "high", "n": [20], "seeds": seeds}})

    assert [20_100_000] == seeds_by_source(plan)["natural[seed=1]"]


@pytest.mark.parametrize("count", [2, 4])
def test_other_counts_of_trainings_are_a_mistake(tmp_path: Path, count: int) -> None:
    seeds = {"count": count, "paired": True}
    with pytest.raises(BadInput) as mistake:
        planned(tmp_path, targets={"digits": {"data": "high", "n": [20, 50], "seeds": seeds}})

    (problem,) = mistake.value.problems
    assert "3 trainings of the sources 'listed', 'natural', and" in problem.found
    assert f"{count} subset seeds paired with them in the target 'digits'" in problem.found


def test_mistakes_of_many_sources_are_one_problem_for_each_count_at_the_targets_seeds(
    tmp_path: Path,
) -> None:
    sources = {
        f"s{number}": {
            "use": "vision/trained",
            "data": "low",
            "epochs": number + 1,
            "seeds": 4 if number == 5 else 2,
        }
        for number in range(6)
    }
    with pytest.raises(BadInput) as mistake:
        planned(tmp_path, sources=sources)

    assert [problem.found for problem in mistake.value.problems] == [
        f"{trainings} trainings of {names}, and 3 subset seeds paired with them in the target 'digits'"
        for trainings, names in (
            (2, "the sources 's0', 's1', 's2' and 2 more"),
            (4, "the source 's5'"),
        )
    ]
    text = (tmp_path / "paired.yaml").read_text()
    for problem in mistake.value.problems:
        assert problem.location is not None
        line = text.splitlines()[problem.location.line - 1]
        # Those of sources have their count on the same line.
        assert line.strip() == "seeds:"


def test_counts_matter_only_where_a_source_is_used(tmp_path: Path) -> None:
    seeds = {"count": 2, "paired": True}
    plan = planned(
        tmp_path,
        targets={"digits": {"data": "high", "n": [20], "seeds": seeds}},
        exclude=[{"source": ["natural", "listed"]}],
    )

    assert {"single": [0, 1], None: [0, 1]} == seeds_by_source(plan)
