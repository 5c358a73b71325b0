"""Replay: the draw, the probability that false cells escape it, and a measurement that sees them."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Mapping
from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from scipy.stats import hypergeom

from advtransfer.cli import main
from advtransfer.errors import BadInput
from advtransfer.host import Host, Plugin
from advtransfer.planning import Plan, Trial
from advtransfer.planning.nodes import SuiteIndex
from advtransfer.publication.cells import plan_suite
from advtransfer.publication.manifest import MANIFEST_FILE, make_manifest
from advtransfer.publication.replay import (
    FALSE_SHARES,
    Replay,
    best_trials,
    compare_trials,
    draw_strata,
    fact_faults_of_fits,
    false_count,
    pass_probability,
    usual_kernel_batch,
    verdict_notes,
)
from advtransfer.publication.replay_tolerances import read_tolerances
from advtransfer.publication.trusted_plugins import require_trusted
from advtransfer.result import Run
from advtransfer.result.bundle import write_bundle
from advtransfer.result.record import pack_outcomes, robust_share, unpack_outcomes
from advtransfer.result.run_folder import record_bytes
from advtransfer.types import Outcome

RESULTS = Path(__file__).parents[2] / "leaderboard" / "results" / "quickstart"


@pytest.fixture(scope="module")
def run() -> Run:
    return Run(next(path.parent for path in sorted(RESULTS.rglob("plan.json"))))


@pytest.fixture(scope="module")
def plan(run: Run) -> Plan:
    return Plan.from_json(run.read_plan())


@pytest.mark.parametrize("size", [1, 7, 48, 500])
@pytest.mark.parametrize("share", FALSE_SHARES)
def test_the_probability_is_hypergeometric(size: int, share: float) -> None:
    for drawn in {0, 1, size // 2, size}:
        expected = hypergeom.pmf(0, size, false_count(size, share), drawn)

        assert expected == pytest.approx(pass_probability(size, drawn, share), abs=1e-12)


def test_at_least_one_trial_is_false_and_a_share_is_rounded_up() -> None:
    assert [1, 1, 5, 10] == [false_count(48, share) for share in (0, 0.01, 0.1, 0.2)]
    assert 20 == false_count(100, 0.2)


def test_false_trials_escape_the_draw_as_often_as_is_said(plan: Plan) -> None:
    """Over 2,000 draws of a verifier who does not know which of the trials are false."""
    trials = list(plan.trials)
    best, others = trials[:8], trials[8:]
    generator = random.Random(0)
    false = {trial.id for trial in generator.sample(others, false_count(len(others), 0.05))}
    draws = [draw_strata(best, others, 6, seed)[1].drawn for seed in range(2000)]
    escaped = sum(not any(trial.id in false for trial in drawn) for drawn in draws) / len(draws)
    expected = pass_probability(len(others), 3, 0.05)

    assert abs(escaped - expected) < 4 * sqrt(expected * (1 - expected) / len(draws))


@pytest.mark.parametrize(
    ("best", "others", "count", "drawn"),
    [
        (8, 40, 6, (3, 3)),
        (8, 40, 7, (4, 3)),
        (1, 40, 6, (1, 5)),
        (8, 0, 6, (6, 0)),
        (2, 2, 9, (2, 2)),
    ],
)
def test_half_comes_from_the_best_rows_as_far_as_there_are(
    plan: Plan, best: int, others: int, count: int, drawn: tuple[int, int]
) -> None:
    trials = list(plan.trials)
    strata = draw_strata(trials[:best], trials[best : best + others], count, 1)

    assert drawn == tuple(len(stratum.drawn) for stratum in strata)
    ids = [trial.id for stratum in strata for trial in stratum.drawn]

    assert len(set(ids)) == len(ids)


def test_a_seed_repeats_the_draw_in_any_order_of_trials(plan: Plan) -> None:
    trials = list(plan.trials)
    first = draw_strata(trials[:8], trials[8:], 6, 5)

    assert first == draw_strata(trials[7::-1], trials[:7:-1], 6, 5)
    assert first != draw_strata(trials[:8], trials[8:], 6, 6)


def test_the_best_rows_are_those_of_the_page(run: Run, plan: Plan) -> None:
    ids = best_trials(run)
    best = [trial for trial in plan.trials if trial.id in ids]

    assert {"n=20", "n=100"} == {f"n={trial.n}" for trial in best}
    # At least one row a table, each with its three seeds.
    assert len(best) in range(6, 48 + 1, 3)


def recorded(run: Run) -> dict[str, Mapping[str, Any]]:  # Any: JSON
    return {str(record["id"]): record for record in run.read_records()}


def changed(record: Mapping[str, Any], count: int) -> Mapping[str, Any]:  # Any: JSON
    """Return a result in which `count` samples that were not robust are called robust."""
    name, packed = next(iter(record["outcomes"].items()))
    values = list(unpack_outcomes(packed))
    for index in [index for index, value in enumerate(values) if value != Outcome.ROBUST][:count]:
        values[index] = Outcome.ROBUST
    return {
        **record,
        "outcomes": {name: pack_outcomes(values)},
        "metrics": {name: robust_share(values)},
    }


def test_what_is_measured_again_is_held_to_the_tolerance_of_its_metric(
    run: Run, plan: Plan
) -> None:
    records, trial = recorded(run), plan.trials[0]
    id = trial.evaluations["fgsm"][0]
    of = next(iter(records[id]["outcomes"].values()))["of"]
    tolerance = read_tolerances().of_metric("accuracy@0.1", is_share=True)
    assert tolerance is not None
    within, beyond = int(tolerance * of), int(tolerance * of) + 2

    def agrees(measured: Mapping[str, Mapping[str, Any]]) -> bool:  # Any: JSON
        return Replay(0, (), tuple(compare_trials([trial], records, measured))).agrees

    assert agrees(records)
    assert agrees({**records, id: changed(records[id], within)})
    assert not agrees({**records, id: changed(records[id], beyond)})
    assert not agrees({each: record for each, record in records.items() if each != id})


def test_breaks_of_batteries_are_held_to_those_measured_again(run: Run, plan: Plan) -> None:
    records: dict[str, Any] = recorded(run)
    trial = plan.trials[0]
    battery = next(
        each
        for each in records.values()
        if each["kind"] == "battery" and each["asked"]["inputs"]["model"] == trial.id
    )
    name = "targeted"
    values = unpack_outcomes(battery["outcomes"][name])
    fallen = [at for at, value in enumerate(values) if value == Outcome.ROBUST]
    assert len(fallen) > 20
    for at in fallen:
        values[at] = Outcome.BROKEN
    outcomes = {**battery["outcomes"], name: pack_outcomes(values)}
    measured = {**records, battery["id"]: {**battery, "outcomes": outcomes}}
    beyond = [each for each in compare_trials([trial], records, measured) if each.is_beyond]

    assert ["robust_accuracy@0.1 after the host's own attacks"] == [each.metric for each in beyond]
    assert beyond[0].measured == 0 < beyond[0].recorded


def test_the_kernel_batch_is_the_one_that_most_records_name() -> None:
    def records(*batches: int | None) -> list[dict[str, Any]]:  # Any: JSON
        named = [{} if rows is None else {"kernel_batch": rows} for rows in batches]
        return [{"provenance": provenance} for provenance in named]

    assert None is usual_kernel_batch([])
    assert None is usual_kernel_batch(records(None, 96, None))
    assert 96 == usual_kernel_batch(records(96, None, 96))
    assert None is usual_kernel_batch(records(96, None))


def test_another_verdict_is_told(run: Run, plan: Plan) -> None:
    records, trial = recorded(run), plan.trials[0]
    id = trial.evaluations["auto"][0]
    verdict = {"value": "suspicious", "reason": "rounded", "rules": 1}
    measured = {**records, id: {**records[id], "verdict": verdict}}

    assert [] == list(verdict_notes(plan.trials, records, records))
    assert [
        f"{trial.name}, auto: found the verdict checked; measured suspicious (rounded)"
    ] == list(verdict_notes([trial], records, measured))


def test_leaks_and_labels_are_held_to_those_counted_again(run: Run, plan: Plan) -> None:
    measured: dict[str, Any] = {
        str(record["id"]): record for record in run.read_records()
    }  # Any: JSON
    trial = plan.trials[0]
    fit = dict(measured[trial.id])
    pair, counts = next(iter(fit["leakage"].items()))
    fit["leakage"] = {**fit["leakage"], pair: {**counts, "exact": 123}}
    fit["facts"] = {**fit["facts"], "labels_used": 7}
    forged = {**measured, trial.id: fit}
    texts = [fault.text for fault in fact_faults_of_fits([trial], forged, measured)]

    assert [] == list(fact_faults_of_fits(plan.trials, measured, measured))
    assert 2 == len(texts)
    assert texts[0].startswith(f"found leakage of {pair} {{'exact': 123")
    assert (
        texts[1]
        == f"found labels_used 7; measured {measured[trial.id]['facts']['labels_used']}; expected the same"
    )


def test_the_report_names_the_seed_the_cell_and_what_may_be_missed(run: Run, plan: Plan) -> None:
    records, trial = recorded(run), plan.trials[0]
    id = trial.evaluations["fgsm"][0]
    measured = {**records, id: changed(records[id], 200)}
    strata = draw_strata(plan.trials[:1], plan.trials[1:], 1, 7)
    report = Replay(7, strata, tuple(compare_trials([trial], records, measured))).lines()

    assert "replayed 1 trial drawn by seed 7 (--seed 7 repeats it)" == report[0]
    assert any(line.startswith(f"{trial.name}, fgsm, accuracy@0.1: found") for line in report)
    assert (
        "best rows: 1 of 1 trial; the probability that false ones pass unseen, by their share: "
        "1%: 0.000, 5%: 0.000, 20%: 0.000"
    ) in report
    assert report[-1].endswith("1%: 1.000, 5%: 1.000, 20%: 1.000")


@pytest.mark.parametrize(
    ("trusted", "is_run"), [((), False), (("vision==2",), False), (("vision==1.0",), True)]
)
def test_plugins_of_others_are_run_only_if_they_are_trusted(
    trusted: tuple[str, ...], is_run: bool
) -> None:
    host = Host.discover()
    planned = plan_suite("quickstart", host)
    names = ("finetune", "foolbox", "vision")
    foreign = Host(
        Plugin(name, f"advtransfer_{name}", "theirs" if name == "vision" else "advtransfer", "1.0")
        for name in names
    )
    cells, drawn = SuiteIndex(planned.suite), planned.plan.trials[:1]
    if is_run:
        require_trusted(cells, drawn, trusted, foreign)
        return
    with pytest.raises(BadInput, match=r"--trust-plugins vision==1\.0"):
        require_trusted(cells, drawn, trusted, foreign)


SUITE = """
version: 1
title: A random network
datasets:
  high: {use: vision/digits, classes: [5, 6, 7, 8, 9]}
sources:
  random: {use: vision/random_init, data: high, network: small_cnn}
targets:
  digits: {data: high, n: [20], seeds: 4}
transfers:
  probe: {use: finetune/linear_probe}
evaluations:
  clean: {use: foolbox/clean_accuracy}
leaderboard: {rank_by: clean.accuracy}
"""


@pytest.mark.slow
def test_a_replay_measures_again_and_sees_outcomes_that_offline_checks_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADVTRANSFER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "toy.yaml").write_text(SUITE)
    invoke = CliRunner().invoke
    assert 0 == invoke(main, ["run", str(tmp_path / "toy.yaml"), "--runs", str(tmp_path)]).exit_code
    bundle = publish(Run(tmp_path / "toy"), tmp_path / "results" / "toy" / "honest")
    honest = invoke(main, ["verify", str(bundle), "--replay", "2", "--seed", "1", "--no-board"])

    assert "replayed 2 trials drawn by seed 1" in honest.output
    assert 0 == honest.exit_code, honest.output
    # Each test image that the probe has wrong is called right, with all that follows.
    cheated = tmp_path / "results" / "toy" / "cheated"
    shutil.copytree(bundle, cheated)
    records = [dict(record) for record in Run(bundle).read_records()]
    records = [dict(changed(each, 500)) if each["kind"] == "result" else each for each in records]
    for path in (cheated / "records").iterdir():
        path.unlink()
    for record in records:
        with (cheated / "records" / f"{record['kind']}.jsonl").open("a") as file:
            file.write(f"{json.dumps(record)}\n")
    seal(cheated)

    # Perfect outcomes are equal, and say nothing of whose they are.
    assert 0 == invoke(main, ["verify", str(cheated), "--no-board"]).exit_code
    replayed = invoke(main, ["verify", str(cheated), "--replay", "1", "--no-board"])
    assert 1 == replayed.exit_code
    assert "clean, accuracy: found 1; measured" in replayed.output


def publish(run: Run, folder: Path) -> Path:
    write_bundle(run, folder)
    (folder / "citation").write_text("title: none\n")
    return seal(folder)


def seal(folder: Path) -> Path:
    manifest = make_manifest(
        Run(folder),
        name=folder.name,
        who="a group",
        licence="MIT",
        citation="citation",
        board="b" * 64,
    )
    (folder / MANIFEST_FILE).write_bytes(record_bytes(manifest))
    return folder


def test_a_trial_without_a_seed_of_its_own_is_still_drawn(plan: Plan) -> None:
    trials: list[Trial] = [replace(trial, seed=0) for trial in plan.trials[:3]]

    assert 3 == sum(len(stratum.drawn) for stratum in draw_strata([], trials, 5, 0))
