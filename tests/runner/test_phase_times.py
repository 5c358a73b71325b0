"""Seconds of workers by phase, from records and the event log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from advtransfer.cli import main
from advtransfer.planning import Plan, Trial
from advtransfer.result import Run
from advtransfer.runner.phase_times import phase_times
from advtransfer.testing.records import complete_record


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of two calls: a fit and a result of its own, and a result that was copied."""
    run = Run(tmp_path / "small")
    records = [
        complete_record(
            {"kind": kind, "observed": {"seconds": seconds, "copied_from": origin}},
            options={"number": number},
        )
        for number, (kind, seconds, origin) in enumerate(
            [
                ("source", {"build": 10.0, "probe": 1.0}, None),
                ("fit", {"load": 1.0, "fit": 4.0}, None),
                ("result", {"load": 1.0, "measure": 2.0, "checks": 0.5, "battery": 3.0}, None),
                ("result", {"measure": 7.0}, "elsewhere"),
            ]
        )
    ]
    for record in records:
        run.write_record(record)
    _, fit, own, copied = (str(record["id"]) for record in records)
    results = {"pgd": (own,), "fgsm": (copied,)}
    trial = Trial(fit, "a", "a", None, None, "digits", 20, 0, "probe", results)
    run.write_plan(Plan("small", "Small", {}, {}, (trial,)).to_json())
    events = [
        {"event": "run_started", "time": 100.0, "jobs": 2},
        {"event": "job_finished", "time": 111.0, "seconds": 12.0},
        {"event": "run_started", "time": 200.0, "jobs": 1},
        {"event": "job_finished", "time": 212.0, "seconds": 11.5},
        {"event": "run_finished", "time": 300.0},
    ]
    (run.path / "events.jsonl").write_text("\n".join(map(json.dumps, events)))
    return run


def test_seconds_are_summed_by_phase(run: Run) -> None:
    times = phase_times(run, Plan.from_json(run.read_plan()))

    assert times.seconds == {"sources": 11.0, "fits": 5.0, "pgd": 3.5, "batteries": 3.0}
    assert times.copied == 7.0
    # One of two workers had no job for 10 s; the second run waited for half a second.
    assert times.waiting == pytest.approx(10.5)
    assert times.unrecorded == pytest.approx(1.0)


def test_run_without_a_log_does_not_say_how_long_workers_waited(run: Run) -> None:
    (run.path / "events.jsonl").unlink()

    assert phase_times(run, Plan.from_json(run.read_plan())).waiting is None


def test_status_shows_the_time_of_workers(run: Run) -> None:
    text = CliRunner().invoke(main, ["status", str(run.path), "--time"]).stdout
    shown = CliRunner().invoke(main, ["status", str(run.path), "--time", "--json"]).stdout

    rows = [line.split() for line in text.splitlines()]
    assert ["PHASE", "TIME", "OF", "WORKERS"] in rows
    assert ["sources", "11", "s"] in rows
    assert json.loads(shown)["time"]["seconds"]["pgd"] == 3.5
