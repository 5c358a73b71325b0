from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from advtransfer.errors import BadInput
from advtransfer.node import Node, content_id
from advtransfer.planning import Plan, Trial
from advtransfer.result import Run
from advtransfer.runner import RunSettings, trial_statuses
from advtransfer.runner.environment import (
    MAX_THREADS,
    refit_settings,
    require_same_environment,
)
from advtransfer.runner.events import EventLog
from advtransfer.runner.record_reuse import copy_records
from advtransfer.runner.trial_selection import matching_trials
from advtransfer.testing.records import complete_record
from advtransfer.types import BatterySize, Json
from advtransfer.worker.environment import describe_environment


def trial(id: str, *, source: str = "natural", n: int = 20, skipped: str | None = None) -> Trial:
    return Trial(
        id,
        source,
        source,
        None,
        None,
        "digits",
        n,
        0,
        "probe",
        {"clean": (f"{id}0",)},
        ("s0",),
        skipped,
    )


TRIALS = (
    trial("aa"),
    trial("bb", source="linf 0.1"),
    trial("cc", n=50),
    trial("dd", skipped="no adapter"),
)
PLAN = Plan("small", "Small", {}, {"s0": "natural"}, TRIALS)


def test_trial_statuses_are_read_from_files_alone(tmp_path: Path) -> None:
    run, text = Run(tmp_path), json.dumps([trial.to_json() for trial in TRIALS])
    records = {
        id: complete_record({"kind": "fit"}, options={"was": id}) for id in ("aa", "aa0", "bb")
    }
    for id, record in records.items():
        run.write_record(record)
        text = text.replace(f'"{id}"', json.dumps(record["id"]))
    run.write_attempt(
        {"id": "bb0", "status": "failed", "reason": "no luck", "deterministic": False}
    )
    trials = tuple(map(Trial.from_json, json.loads(text)))
    found = trial_statuses(Plan("small", "Small", {}, PLAN.sources, trials), run)

    assert ["done", "failed", "todo", "skipped"] == [found[trial.id].value for trial in trials]
    assert ("no luck", False) == (found[trials[1].id].reason, found[trials[1].id].final)


def test_failed_source_fails_its_trials(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.write_attempt({"id": "s0", "status": "failed", "reason": "diverged", "deterministic": True})

    assert "source natural: diverged" == trial_statuses(PLAN, run)["aa"].reason
    assert trial_statuses(PLAN, run)["aa"].final


@pytest.mark.parametrize(
    ("patterns", "ids"),
    [
        ([], ["aa", "bb", "cc", "dd"]),
        (["source=linf*"], ["bb"]),
        (["source=natural,n=50"], ["cc"]),
        (["linf*"], ["bb"]),
        (["n=50", "source=linf*"], ["bb", "cc"]),
        (["aa"], ["aa"]),
    ],
)
def test_patterns_select_trials(patterns: list[str], ids: list[str]) -> None:
    assert ids == [trial.id for trial in matching_trials(TRIALS, patterns)]


def test_all_unmatched_patterns_are_reported() -> None:
    with pytest.raises(BadInput) as error:
        matching_trials(TRIALS, ["source=lif*", "colour=red", "n=20"])

    assert 2 == len(error.value.problems)


def test_torn_line_of_a_killed_run_spoils_no_event(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    log.write_text('{"event": "run_started"}\n{"event": "tri')
    heard: list[Mapping[str, Json]] = []
    with EventLog(log, [heard.append]) as events:
        events.emit("progress", id="aa", done=1, total=2)
        events.emit("run_finished", done=1)
    lines = log.read_text().splitlines()

    assert ["progress", "run_finished"] == [event["event"] for event in heard]
    assert '{"event": "tri' == lines[1]
    assert "run_finished" == json.loads(lines[2])["event"]
    assert 3 == len(lines)


def recorded(path: Path, *, battery: BatterySize, compiler: str | None = None) -> Run:
    """A run on one CPU thread that has one record."""
    run = Run(path)
    run.write_plan(
        {
            "suite": "s",
            "title": "S",
            "leaderboard": {},
            "sources": {},
            "trials": [],
            "battery": battery,
        }
    )
    digest = run.write_environment(describe_environment(device="cpu", threads=1, compiler=compiler))
    run.write_record(record(Node("fit", "x/y"), environment=digest))
    return run


def test_other_threads_or_device_are_refused(tmp_path: Path) -> None:
    run = recorded(tmp_path, battery="full")
    require_same_environment(run, describe_environment(device="cpu", threads=1), battery="full")

    with pytest.raises(BadInput, match="found threads 2; expected threads 1"):
        require_same_environment(run, describe_environment(device="cpu", threads=2), battery="full")
    with pytest.raises(BadInput, match="found device cuda; expected device cpu"):
        require_same_environment(
            run, describe_environment(device="cuda:1", threads=1), battery="full"
        )


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", "cut off"])
def test_damaged_environment_of_a_compiled_run_is_refused(
    tmp_path: Path, content: str | None
) -> None:
    run = recorded(tmp_path, battery="full", compiler="g++ 12")
    compiled = describe_environment(device="cpu", threads=1, compiler="g++ 12")
    path = tmp_path / "environments" / f"{content_id(compiled)}.json"
    text = path.read_text()
    path.unlink()
    if content is not None:
        path.write_text(text[:-20] if content == "cut off" else content)
    plain = describe_environment(device="cpu", threads=1)

    with pytest.raises(BadInput) as refused:
        require_same_environment(run, plain, battery="full")
    assert f"found a missing or damaged environment of records in {tmp_path} ({path}: " in str(
        refused.value
    )
    # the same environment, which is known by its digest
    require_same_environment(run, compiled, battery="full")
    path.write_text(text)
    with pytest.raises(BadInput, match="found no --compile; expected --compile"):
        require_same_environment(run, plain, battery="full")


def test_battery_of_another_size_is_accepted_and_none_beside_one_refused(tmp_path: Path) -> None:
    run = recorded(tmp_path, battery="small")

    require_same_environment(run, describe_environment(device="cpu", threads=1), battery="full")
    with pytest.raises(
        BadInput, match="found threads 2, battery none; expected threads 1, battery small"
    ):
        require_same_environment(run, describe_environment(device="cpu", threads=2), battery="none")


def test_run_without_records_accepts_other_settings(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.write_plan({"battery": "small"})
    run.write_environment(describe_environment(device="cuda", threads=1))

    require_same_environment(run, describe_environment(device="cpu", threads=1), battery="full")


def record(node: Node, *, environment: str = "e" * 64) -> dict[str, Json]:
    parts = {
        "kind": node.kind,
        "provenance": {"environment": environment},
        "observed": {"attempt": 1},
    }
    return complete_record(parts, **node.id_fields())


def test_only_records_of_this_environment_are_copied(tmp_path: Path) -> None:
    here, there = Run(tmp_path / "here"), Run(tmp_path / "there")
    good, other, forged = (Node("fit", "a/b", 1, {"k": k}) for k in range(3))
    there.write_record(record(good))
    there.write_record(record(other, environment="a" * 64))
    there.write_record(record(forged) | {"asked": {"use": "something else"}})
    ids = [good.id, other.id, forged.id]

    assert 1 == copy_records(
        here, ids, known=[here.path, there.path, tmp_path / "gone"], environment="e" * 64
    )
    assert {good.id} == here.finished_ids()
    assert {"attempt": 1, "copied_from": str(there.path), "seconds": {}} == here.read_record(
        good.id
    )["observed"]


def test_worker_count_fills_the_processors() -> None:
    assert 1 == RunSettings(jobs=1, threads=8).worker_count()
    assert RunSettings(threads=1).worker_count() >= RunSettings(threads=2).worker_count() >= 1


def test_a_fit_is_made_again_with_what_its_record_names_as_far_as_this_machine_can() -> None:
    provenance: dict[str, Json] = {
        "environment": "e",
        "device": "cuda:0",
        "threads": 10**9,
        "precision": "bfloat16",
        "kernel_batch": 64,
        "halved_kernel_batch": 32,
    }

    again = refit_settings(provenance, {"e": {"compiler": "inductor"}})

    is_on_gpu = torch.cuda.is_available()
    assert again == {
        "device": "cuda" if is_on_gpu else "cpu",
        "threads": MAX_THREADS,
        "precision": "bfloat16",
        "kernel_batch": 64,
        "halved_kernel_batch": 32,
        "compiled": True,
    }
