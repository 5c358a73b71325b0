"""``advtransfer status`` of run folders that a test writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from advtransfer.cli import main
from advtransfer.planning import Plan, Trial
from advtransfer.result import Run
from advtransfer.testing.records import complete_record

RECORDS = [complete_record({"kind": kind}) for kind in ("fit", "result")]
FIT, RESULT = (str(one["id"]) for one in RECORDS)
IDS = {"done": FIT, "failed": "b" * 64, "skipped": "c" * 64, "todo": "d" * 64}


def trial(name: str, seed: int) -> Trial:
    skipped = "shapes differ" if name == "skipped" else None
    return Trial(
        IDS[name], "natural", "natural", None, None, "digits", 20, seed, "probe", {}, (), skipped
    )


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with a trial in each state."""
    run = Run(tmp_path / "runs" / "small")
    trials = tuple(trial(name, seed) for seed, name in enumerate(IDS))
    run.write_plan(Plan("small", "Small", {}, {}, trials).to_json())
    run.write_record(RECORDS[0])
    run.write_attempt(
        {"id": IDS["failed"], "status": "failed", "reason": "no luck", "deterministic": False}
    )
    return run


def status(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["status", *arguments])


def test_counts_come_first_then_failures_and_skips_with_their_reasons(run: Run) -> None:
    result = status(str(run.path))

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "small: 4 trials: 1 done, 1 failed, 1 skipped, 1 to do",
        "failed  natural -> digits n=20 seed=1 probe: no luck",
        "skipped 1 x  shapes differ  (first: natural -> digits n=20 seed=2 probe)",
        f"tracebacks: {run.path}/attempts; to try again: the same `advtransfer run`",
    ]


def test_status_as_json_has_the_trial_of_every_failure_and_skip(run: Run) -> None:
    shown = json.loads(status(str(run.path), "--json").stdout)

    assert {key: shown[key] for key in IDS} == dict.fromkeys(IDS, 1)
    assert shown["failures"] == [
        {
            "id": IDS["failed"],
            "name": "natural -> digits n=20 seed=1 probe",
            "reason": "no luck",
            "evaluation": None,
            "evaluations": {},
        }
    ]
    assert [one["reason"] for one in shown["skips"]] == ["shapes differ"]


def test_skipped_evaluations_of_done_trials_are_reported(tmp_path: Path) -> None:
    run = Run(tmp_path / "runs" / "odd")
    evaluations = {"clean": (RESULT,), "leep": ("e" * 64,)}
    place = ("natural", "natural", None, None, "digits", 20, 0, "probe")
    run.write_plan(Plan("odd", "Odd", {}, {}, (Trial(FIT, *place, evaluations),)).to_json())
    for one in RECORDS:
        run.write_record(one)
    run.write_attempt(
        {"id": "e" * 64, "status": "skipped", "reason": "no\nclasses", "deterministic": True}
    )

    assert status(str(run.path)).stdout.splitlines() == [
        "odd: 1 trial: 1 done, 0 failed, 0 skipped, 0 to do",
        "leep skipped in 1 trial: no classes",
    ]
    assert json.loads(status(str(run.path), "--json").stdout)["evaluations_skipped"] == [
        {"evaluation": "leep", "reason": "no\nclasses", "trials": 1}
    ]


def test_folder_without_a_run_is_bad_input(tmp_path: Path) -> None:
    result = status(str(tmp_path / "nothing"))

    assert (result.exit_code, result.stdout) == (2, "")
    assert "no plan.json in" in result.stderr


@pytest.mark.usefixtures("run")
def test_the_option_that_publish_replaces_says_so_and_writes_nothing(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        main, ["leaderboard", str(tmp_path / "nothing"), "--out", str(tmp_path / "out")]
    )

    assert (result.exit_code, result.stdout) == (2, "")
    assert "run: advtransfer publish " in result.stderr
    assert not (tmp_path / "out").exists()


def test_every_failed_evaluation_is_reported_by_name(tmp_path: Path) -> None:
    run = Run(tmp_path / "runs" / "odd")
    evaluations = {"clean": (RESULT,), "pgd": ("d" * 64,), "leep": ("e" * 64,)}
    place = ("natural", "natural", None, None, "digits", 20, 0, "probe")
    run.write_plan(Plan("odd", "Odd", {}, {}, (Trial(FIT, *place, evaluations),)).to_json())
    for one in RECORDS:
        run.write_record(one)
    run.write_attempt(
        {"id": "d" * 64, "status": "lost", "reason": "killed", "deterministic": False}
    )
    run.write_attempt(
        {"id": "e" * 64, "status": "failed", "reason": "\x1b[31mno\x07", "deterministic": False}
    )

    assert status(str(run.path)).stdout.splitlines()[:3] == [
        "odd: 1 trial: 0 done, 1 failed, 0 skipped, 0 to do",
        "failed  natural -> digits n=20 seed=0 probe: leep: no\\u0007",
        "failed  natural -> digits n=20 seed=0 probe: pgd: lost: killed",
    ]
    assert json.loads(status(str(run.path), "--json").stdout)["failures"][0]["evaluation"] == "leep"


def test_damaged_record_counts_as_missing_and_is_named(run: Run) -> None:
    run.write_record(RECORDS[0] | {"format": 2})
    path = f"records/{FIT[:2]}/{FIT}.json"
    result = status(str(run.path))
    shown = json.loads(status(str(run.path), "--json").stdout)

    assert "small: 4 trials: 0 done, 1 failed, 1 skipped, 2 to do" == result.stdout.splitlines()[0]
    assert f"damaged {run.path / path}: found format 2; expected 1" in result.stdout
    assert [path] == list(shown["damaged"])


def test_records_that_the_plan_does_not_ask_for_are_counted_and_listed(run: Run) -> None:
    run.write_record(RECORDS[1])

    *_, last = status(str(run.path)).stdout.splitlines()
    head, row = status(str(run.path), "--unasked").stdout.splitlines()
    shown = json.loads(status(str(run.path), "--json").stdout)

    assert last.startswith("not asked for by the plan: 1 record; ")
    assert head.split() == ["RECORD", "KIND", "COMPONENT"]
    assert row.split()[:2] == [RESULT[:12], "result"]
    assert shown["unasked"] == [RESULT]
