"""Evaluations on further data sets (``also``) on a page: columns of their own, which no test part is mixed with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from advtransfer.leaderboard import make_page, make_table
from advtransfer.leaderboard.pareto import AccuracyPair, default_pair
from advtransfer.leaderboard.run_data import gather_run_data
from advtransfer.leaderboard.table_rows import Column
from advtransfer.result.record import pack_outcomes, robust_share
from advtransfer.types import Json, Outcome

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench

    from advtransfer.leaderboard import RunRecords

Record: TypeAlias = dict[str, Any]  # Any: JSON

ROBUST, BROKEN = int(Outcome.ROBUST), int(Outcome.BROKEN)
ALSO: dict[str, Json] = {"clean/mild": ["clean", "mild"], "pgd/mild": ["pgd", "mild"]}
TEN_CLASSES: Json = {"largest_class": 0.125, "one_class": False}
CONSTANT: Json = {"largest_class": 0.125, "one_class": True}


def attacked(bench: Bench, trial: Record, label: str, values: list[int]) -> str:
    """Add the result of an attack on a further data set, and return its id."""
    id = f"{len(bench.records):064x}"
    trial["evaluations"][label] = [id]
    record = bench.record("result", id, "foolbox/pgd", {"norm": "linf", "eps": 0.1}, 0.25)
    record |= {
        "metrics": {"robust_accuracy@0.1": robust_share(values)},
        "outcomes": {"robust_accuracy@0.1": pack_outcomes(values)},
        "checks": [],
        "battery": None,
    }
    record["asked"]["inputs"] = {"model": trial["id"], "test": "mild"}
    bench.records[id] = record
    return id


def with_also(bench: Bench) -> RunRecords:
    run = bench.run()
    return replace(run, plan={**run.plan, "also": ALSO})


@pytest.fixture
def shifted(bench: Bench) -> Bench:
    """A trial whose attack breaks half of the test part, and all but one image of the further test part."""
    trial = bench.trial("natural", 0, 0.9, 0.5)
    bench.checked(trial, [ROBUST] * 4 + [BROKEN] * 4, labels=TEN_CLASSES)
    attacked(bench, trial, "pgd/mild", [ROBUST] + [BROKEN] * 7)
    # In the order of a plan whose own results came later, the further ones are read first.
    trial["evaluations"] = dict(reversed(trial["evaluations"].items()))
    bench.leaderboard["columns"] = [
        "pgd.robust_accuracy",
        "pgd/mild.robust_accuracy",
        "worst_linf.robust_accuracy",
    ]
    bench.leaderboard["rank_by"] = "pgd/mild.robust_accuracy"
    bench.leaderboard["baseline"] = None
    return bench


def test_the_worst_over_attacks_is_of_the_test_part_alone(shifted: Bench) -> None:
    (trial,) = shifted.trials
    worst = gather_run_data(with_also(shifted)).worst[trial["id"], "worst_linf"]

    assert worst.metrics["robust_accuracy@0.1"].low == 0.5
    assert worst.test_id == "digits"


def test_an_attack_on_further_data_alone_gives_no_worst(shifted: Bench) -> None:
    (trial,) = shifted.trials
    del shifted.records[trial["evaluations"]["pgd"][0]]

    assert gather_run_data(with_also(shifted)).worst == {}


def test_a_missing_result_on_further_data_leaves_the_worst_as_it_is(shifted: Bench) -> None:
    (trial,) = shifted.trials
    del shifted.records[trial["evaluations"]["pgd/mild"][0]]

    assert (trial["id"], "worst_linf") in gather_run_data(with_also(shifted)).worst


def test_accuracies_on_two_test_parts_are_no_attacks_that_differ(shifted: Bench) -> None:
    text = make_table(with_also(shifted), target="digits", n=20)
    row = shifted.row(text, "natural")

    assert [cell.split(" [")[0] for cell in row[3:6]] == [".500", "at most .125", ".500"]
    assert "of several attacks in one ball" not in text
    # Without `also` in the plan they would be two attacks on one test part.
    assert "of several attacks in one ball" in make_table(shifted.run(), target="digits", n=20)


@pytest.mark.parametrize(
    ("own", "other", "learned"), [(TEN_CLASSES, CONSTANT, True), (CONSTANT, TEN_CLASSES, False)]
)
def test_only_the_test_part_tells_whether_a_model_learned(
    shifted: Bench, own: Json, other: Json, learned: bool
) -> None:
    (trial,) = shifted.trials
    shifted.records[trial["evaluations"]["pgd"][0]]["labels"] = own
    shifted.records[trial["evaluations"]["pgd/mild"][0]]["labels"] = other
    data = gather_run_data(with_also(shifted))
    (planned,) = data.plan.trials

    assert (data.unlearned_reason(planned) is None) == learned


def test_a_front_pairs_accuracies_of_one_test_part(shifted: Bench) -> None:
    (trial,) = shifted.trials
    id = f"{len(shifted.records):064x}"
    trial["evaluations"]["clean/mild"] = [id]
    shifted.result(id, "foolbox/clean_accuracy", {}, {"accuracy": 0.4})
    shifted.leaderboard["columns"] = ["clean.accuracy", "clean/mild.accuracy"]
    data = gather_run_data(with_also(shifted))
    robust = Column("pgd/mild.robust_accuracy", "pgd/mild", "robust_accuracy@0.1")

    assert default_pair(data) == AccuracyPair(
        Column("clean/mild.accuracy", "clean/mild", "accuracy"), robust
    )

    shifted.leaderboard["columns"] = ["clean.accuracy"]
    assert default_pair(gather_run_data(with_also(shifted))) is None


def test_images_that_further_data_share_are_in_the_table_of_leakage(shifted: Bench) -> None:
    (trial,) = shifted.trials
    pairs = {"also test in source train": 3, "also test in target train": 2}
    shifted.records[trial["evaluations"]["pgd/mild"][0]]["leakage"] = {
        pair: {"exact": count, "near": 0, "of": 8} for pair, count in pairs.items()
    }
    section = make_page(with_also(shifted)).markdown.partition("## Leakage\n")[2]

    own, source = "mild test in target train", "mild test in source train"
    assert shifted.row(section, own)[2:] == [own, "2", "0", "8"]
    assert shifted.row(section, source)[1:] == ["natural", source, "3", "0", "8"]


def test_the_table_of_data_sets_has_a_row_for_each_further_one(shifted: Bench) -> None:
    run = with_also(shifted)
    also: Json = {"mild": {"use": "vision/npz", "classes": 8, "shape": [1, 4, 4], "test": 8}}
    plan: dict[str, Json] = {
        **run.plan,
        "datasets": {"digits": {"use": "vision/idx", "also": also}},
    }
    page = make_page(replace(run, plan=plan)).markdown.partition("## Data sets")[2]

    row = shifted.row(page, "digits, also mild")
    assert row[1:4] == ["`vision/npz`", "8", "1 x 4 x 4"]
    assert row[-2:] == ["8", "`mild`"]
    assert shifted.row(page, "digits")[-2:] == ["8, 1,000", "`digits`"]
    # A plan without facts of the data names them too.
    assert "| digits, also mild |" in make_page(run).markdown
