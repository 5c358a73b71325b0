"""The exported lines: the page's numbers, and a line for everything that has none."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from advtransfer.export import EXPORT_TABLES, metric_rows, outcome_rows
from advtransfer.leaderboard.aggregates import aggregate_metrics
from advtransfer.leaderboard.run_data import gather_run_data
from advtransfer.leaderboard.table_rows import columns_of, group_rows
from advtransfer.types import Outcome

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench

R, B, W, U = Outcome.ROBUST, Outcome.BROKEN, Outcome.WRONG, Outcome.UNKNOWN
PYTHON_TYPES = {"text": str, "integer": int, "number": float}


def lines_of(bench: Bench) -> list[dict[str, object]]:
    return [dict(row) for row in metric_rows(gather_run_data(bench.run()))]


def test_a_line_has_the_columns_in_order_and_of_their_types(bench: Bench) -> None:
    bench.filled()
    bench.attempt(bench.trial("robust", 9)["id"], "no memory")
    bench.checked(bench.trial("natural", 8, 0.5), [R, B, W, U] * 25)
    data = gather_run_data(bench.run())
    for table, rows in (("metrics", metric_rows(data)), ("outcomes", outcome_rows(data))):
        columns = EXPORT_TABLES[table]
        for row in rows:
            assert [column.name for column in columns] == list(row)
            for column in columns:
                assert row[column.name] is None or (
                    type(row[column.name]) is PYTHON_TYPES[column.type]
                )


def test_a_robust_accuracy_counts_what_the_battery_broke(bench: Bench) -> None:
    trial = bench.trial("natural", 0, 0.9)
    attack = [R] * 60 + [U] * 10 + [B] * 20 + [W] * 10
    bench.checked(trial, attack, broken=[0, 1, 2, 65])

    lines = {str(row["metric"]): row for row in lines_of(bench) if row["evaluation"] == "pgd"}
    folded, alone = lines["robust_accuracy@0.1"], lines["attack_accuracy@0.1"]

    assert (0.57, 0.57, 0.66) == (folded["value"], folded["low"], folded["high"])
    assert (0.60, 0.60, 0.70) == (alone["value"], alone["low"], alone["high"])
    assert (100, 100, 0.04) == (folded["of"], folded["probed"], folded["missed_share"])
    assert ("linf", 0.1, None) == (folded["norm"], folded["eps"], folded["epoch"])
    (battery,) = (id for id, record in bench.records.items() if record["kind"] == "battery")
    assert battery == folded["batteries"]
    assert (trial["id"], trial["evaluations"]["pgd"][0]) == (folded["fit"], folded["result"])
    assert alone["batteries"] is None

    words = [
        (row["outcome"], row["attack_outcome"])
        for row in outcome_rows(gather_run_data(bench.run()))
        if row["evaluation"] == "pgd"
    ]
    assert 100 == len(words)
    assert [("broken", "robust")] * 3 + [("robust", "robust")] == words[:4]
    assert ("broken", "unknown") == words[65]
    assert ("unknown", "unknown") == words[66]
    assert [("wrong", "wrong")] * 10 == words[90:]


def test_values_and_intervals_are_those_of_a_page_with_one_trial(bench: Bench) -> None:
    bench.trial("natural", 0, 0.5, 0.25, unknown=0.1)
    data = gather_run_data(bench.run())
    ((row,),) = group_rows(data).values()
    lines = {(str(each["evaluation"]), str(each["metric"])): each for each in metric_rows(data)}
    for column in columns_of(data):
        aggregate = aggregate_metrics(row.metric_values(column, data))
        line = lines[column.evaluation, str(column.metric)]
        assert (aggregate.low, aggregate.high) == (line["low"], line["high"])
        assert aggregate.interval == pytest.approx((line["interval_low"], line["interval_high"]))


def test_outcomes_give_the_shares_of_the_metrics_again(bench: Bench) -> None:
    bench.filled()
    bench.checked(bench.trial("natural", 8, 0.5), [R, B, W, U] * 25, broken=[0, 4])
    data = gather_run_data(bench.run())
    counts: dict[tuple[object, ...], Counter[object]] = {}
    for row in outcome_rows(data):
        key = (row["trial"], row["evaluation"], row["metric"])
        counts.setdefault(key, Counter())[row["outcome"]] += 1

    shares = [row for row in metric_rows(data) if row["of"]]
    assert shares
    for row in shares:
        if str(row["metric"]).startswith("attack_accuracy"):
            continue  # a column of the outcomes
        found = counts.pop((row["trial"], row["evaluation"], row["metric"]))
        assert row["of"] == found.total()
        assert row["value"] == found["robust"] / found.total()
        assert row["high"] == (found["robust"] + found["unknown"]) / found.total()
    assert {} == counts


def test_trials_without_numbers_are_lines_with_status_and_reason(bench: Bench) -> None:
    failed = bench.trial("natural", 0)
    bench.attempt(failed["id"], "out of memory")
    skipped = bench.trial("natural", 1, skipped="shapes do not fit")
    todo = bench.trial("natural", 2)
    partly = bench.trial("natural", 3, 0.5)
    bench.attempt(partly["evaluations"]["pgd"][0], "no gradient", status="skipped")
    broken = bench.trial("natural", 4, 0.5)
    bench.attempt(broken["evaluations"]["pgd"][0], "nan")

    found = {
        (row["seed"], row["evaluation"]): (row["status"], row["reason"], row["value"])
        for row in lines_of(bench)
    }

    assert 10 == len(found)
    for evaluation in ("clean", "pgd"):
        assert ("failed", "out of memory", None) == found[0, evaluation]
        assert ("skipped", "shapes do not fit", None) == found[1, evaluation]
        assert ("todo", None, None) == found[2, evaluation]
    assert ("skipped", "no gradient", None) == found[3, "pgd"]
    assert ("failed", "nan", None) == found[4, "pgd"]
    assert ("done", 0.5) == (found[3, "clean"][0], found[3, "clean"][2])
    planned = {trial["id"] for trial in (failed, skipped, todo, partly, broken)}
    assert planned == {row["trial"] for row in lines_of(bench)}


def test_a_trial_without_evaluations_has_a_line(bench: Bench) -> None:
    trial = bench.trial("natural", 9)
    trial["evaluations"] = {}
    bench.filled()

    (row,) = (row for row in lines_of(bench) if row["trial"] == trial["id"])

    assert (None, None, "todo") == (row["evaluation"], row["metric"], row["status"])


def test_each_reference_has_its_own_line(bench: Bench) -> None:
    bench.aligned("natural", [0.25, 0.75], 0.5)

    values = {row["reference"]: row["value"] for row in lines_of(bench) if row["metric"] == "alpha"}

    assert {"digits 0": 0.25, "digits 1": 0.75} == values


def test_a_snapshot_has_its_epoch_and_a_rank_is_no_radius(bench: Bench) -> None:
    trial = bench.trial("natural", 0, 0.5, 0.5)
    (id,) = trial["evaluations"]["pgd"]
    record = bench.records[id]
    for name in ("robust_accuracy@0.1@30", "accuracy@30", "accuracy"):
        record["metrics"][name] = record["metrics"]["robust_accuracy@0.1"]
        record["outcomes"][name] = record["outcomes"]["robust_accuracy@0.1"]
    (clean,) = trial["evaluations"]["clean"]
    bench.records[clean]["metrics"]["class_match@5"] = {"value": 0.5}

    found = {str(row["metric"]): (row["eps"], row["epoch"]) for row in lines_of(bench)}

    assert (0.1, 30) == found["robust_accuracy@0.1@30"]
    assert (None, 30) == found["accuracy@30"]
    assert (None, None) == found["class_match@5"]


def test_a_fit_that_did_not_learn_says_so(bench: Bench) -> None:
    trial = bench.trial("natural", 0)
    labels = {"largest_class": 0.6, "one_class": False}
    bench.checked(trial, [R] * 50 + [W] * 50, labels=labels)

    (row,) = (
        row
        for row in lines_of(bench)
        if row["metric"] == "robust_accuracy@0.1" and row["evaluation"] == "pgd"
    )

    assert "0.600" in str(row["unlearned"])
