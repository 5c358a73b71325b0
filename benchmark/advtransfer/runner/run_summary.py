"""Summary of a run, and the events of its start and end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from advtransfer.jobs import Executor
from advtransfer.planning import Plan, Trial
from advtransfer.planning.status import TrialStatus, count_skipped_evaluations
from advtransfer.result import Run
from advtransfer.runner.drivers import driver_fields
from advtransfer.runner.event_reader import EVENT_LOG_VERSION
from advtransfer.runner.events import EventLog, trial_fields
from advtransfer.runner.run_facts import run_facts, run_files
from advtransfer.runner.settings import RunSettings
from advtransfer.types import Json


@dataclass(frozen=True, slots=True)
class RunSummary:
    """Outcome of a run: number of trials by status, over the whole plan, and the page.

    `stopped` is the reason why the run ended before all jobs were attempted, if nobody interrupted
    it; `left` says what a budget left, and why. `profile` is the trace of the job that was profiled.
    """

    suite: str
    run: Path
    done: int
    failed: int
    skipped: int
    todo: int
    seconds: float
    interrupted: bool
    page: Path | None
    stopped: str | None = None
    left: str | None = None
    profile: Path | None = None


def announce_start(
    events: EventLog,
    plan: Plan,
    plan_json: Mapping[str, Json],
    statuses: dict[str, TrialStatus],
    todo: list[Trial],
    folder: Run,
    executor: Executor,
    settings: RunSettings,
) -> None:
    """Emit the event of a run's start, and one for each trial that the plan skips."""
    # A trial that is attempted again, or that lacks a battery or a source, counts as to do, whatever
    # its status was.
    attempted = {trial.id for trial in todo}
    others = Counter(status.value for id, status in statuses.items() if id not in attempted)
    events.emit(
        "run_started",
        {"plan": dict(plan_json), "run_facts": run_facts(plan, folder, settings)},
        version=EVENT_LOG_VERSION,
        suite=plan.suite,
        title=plan.title,
        run=str(folder.path),
        trials=len(plan.trials),
        done=others["done"],
        failed=others["failed"],
        skipped=others["skipped"],
        todo=others["todo"] + len(attempted),
        chosen=len(todo),
        jobs=executor.slots,
        threads=settings.threads,
        device=settings.device,
        columns=plan.leaderboard.get("columns"),
        driver=driver_fields(settings.shard),
    )
    for trial in plan.trials:
        status = statuses[trial.id]
        if status.value == "skipped" and trial.id not in attempted:
            events.emit("trial_skipped", trial=trial_fields(trial), reason=status.reason)


SUMMARY_FACTS = ("done", "failed", "skipped", "todo", "seconds", "interrupted", "stopped")
"""Facts of a summary that the hook `run_finished` is told."""


def announce_end(
    events: EventLog,
    summary: RunSummary,
    statuses: dict[str, TrialStatus],
    plan: Plan,
    settings: RunSettings,
) -> None:
    """Emit the event of a run's end."""
    unlogged: dict[str, Json] = {}
    if events.is_heard("run_finished"):
        folder = Run(summary.run)
        unlogged = {
            "run_facts": run_facts(plan, folder, settings),
            "summary": {name: getattr(summary, name) for name in SUMMARY_FACTS},
            "files": cast(Json, run_files(plan, folder)),
        }
    events.emit(
        "run_finished",
        unlogged,
        suite=summary.suite,
        run=str(summary.run),
        done=summary.done,
        failed=summary.failed,
        skipped=summary.skipped,
        todo=summary.todo,
        evaluations_skipped=count_skipped_evaluations(statuses.values()),
        seconds=summary.seconds,
        interrupted=summary.interrupted,
        page=str(summary.page) if summary.page else None,
        stopped=summary.stopped,
        driver=driver_fields(settings.shard),
        left=summary.left,
        profile=str(summary.profile) if summary.profile else None,
    )
