"""Run of one suite: from settings to records, a leaderboard page and a summary."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from advtransfer.cache import Cache
from advtransfer.errors import CacheError
from advtransfer.host import Host
from advtransfer.host.component import check_product
from advtransfer.jobs import Executor
from advtransfer.leaderboard import write_page
from advtransfer.node import content_id
from advtransfer.planning import Plan, Trial, make_plan
from advtransfer.planning.nodes import SuiteIndex
from advtransfer.planning.status import (
    TrialStatus,
    count_skipped_evaluations,
    missing_records,
    permanently_failed,
    results_without_battery,
    trial_statuses,
)
from advtransfer.result import Run
from advtransfer.runner.environment import (
    COMPUTE_SETTINGS,
    battery_size_of,
    describe_environment,
    require_gpu,
    require_same_environment,
)
from advtransfer.runner.events import EventLog, Listener, plugin_listeners, trial_fields
from advtransfer.runner.record_reuse import (
    StaleRecords,
    copy_records,
    find_stale_records,
    supersede_records,
)
from advtransfer.runner.run_folder import (
    choose_cache,
    claim_run_folder,
    explain_run_write_errors,
    register_driver,
)
from advtransfer.runner.schedule import JobScheduler, JobTemplate, pending_jobs
from advtransfer.runner.settings import RunSettings
from advtransfer.runner.trial_selection import needs_attempt, trials_to_run
from advtransfer.suite import Suite
from advtransfer.types import Json
from advtransfer.worker.process import remove_stale_scratch


@dataclass(frozen=True, slots=True)
class RunSummary:
    """How a run ended: trials by state, over the whole plan, and where the page is.

    `stopped` says why it ended before everything was tried, where nobody interrupted it.
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


def run_suite(
    suite: Suite, *, settings: RunSettings, host: Host, listeners: Iterable[Listener] = ()
) -> RunSummary:
    """Do what is missing of a suite. The same call again goes on where this one ended.

    Raises:
        BadInput: The plan, the settings, a run folder made with other settings or of another suite, or a disk that
            cannot be written.
    """
    began = time.time()
    accelerator = require_gpu(settings.device)
    plan = make_plan(suite, host)
    folder = Run(settings.runs / suite.name)
    engine = _build_executor(settings, host)
    wanted = describe_environment(
        device=settings.device,
        threads=settings.threads,
        precision=settings.precision,
        gpu=accelerator,
    )
    line = {name: wanted[name] for name in COMPUTE_SETTINGS} | {"battery": settings.battery}

    refused: dict[str, str] = {}

    def prepare() -> None:
        claim_run_folder(folder, suite)
        refused.update(folder.set_aside_damaged())
        if not settings.mixed:
            require_same_environment(folder, wanted, battery=settings.battery)
        folder.write_environment(wanted)
        folder.write_suite(suite.text)
        folder.write_plan(plan.to_json() | {"battery": settings.battery})

    with (
        explain_run_write_errors(folder.path),
        register_driver(folder, line, mixed=settings.mixed, prepare=prepare),
        EventLog(folder.path / "events.jsonl", [*listeners, *plugin_listeners(host)]) as events,
    ):
        for place, reason in refused.items():
            events.warn(
                f"{folder.path / place}: {reason}; kept as {place}.refused, and measured again"
            )
        order = _make_job_template(plan, folder, wanted, settings, events)
        try:
            schedule = _run_trials(suite, plan, folder, engine, order, events, host)
        finally:
            remove_stale_scratch()
        after = trial_statuses(plan, folder)
        page = write_page(folder, warn=events.warn) if _has_results(plan, folder) else None
        counts = Counter(state.value for state in after.values())
        summary = RunSummary(
            suite=suite.name,
            run=folder.path,
            done=counts["done"],
            failed=counts["failed"],
            skipped=counts["skipped"],
            todo=counts["todo"],
            seconds=time.time() - began,
            interrupted=schedule.interrupted,
            page=page,
            stopped=schedule.stop_reason,
        )
        _announce_end(events, summary, after)
    return summary


def _run_trials(
    suite: Suite,
    plan: Plan,
    folder: Run,
    engine: Executor,
    order: JobTemplate,
    events: EventLog,
    host: Host,
) -> JobScheduler:
    """Do what is to be done, as far as it can be."""
    settings, cells = order.settings, SuiteIndex(suite)
    _supersede_stale_records(plan, folder, settings, cells, events, host)
    torn = results_without_battery(plan, folder)
    before = trial_statuses(plan, folder)
    todo = trials_to_run(
        plan, before, settings, torn, built=folder.finished_ids() | permanently_failed(folder)
    )
    _copy_from_other_runs(folder, todo, order, events, host)
    before = trial_statuses(plan, folder)
    _announce_start(events, plan, before, todo, folder, engine, settings)
    known = set() if settings.retry_failed else permanently_failed(folder)
    done = folder.finished_ids() - results_without_battery(plan, folder)
    tasks = pending_jobs(todo, cells, done, plan.sources, hopeless=known)
    schedule = JobScheduler(tasks, engine, order, events, folder, plan)
    schedule.run_jobs(grace=settings.grace)
    return schedule


def _supersede_stale_records(
    plan: Plan, folder: Run, settings: RunSettings, cells: SuiteIndex, events: EventLog, host: Host
) -> None:
    """Move the records that other code of a plugin made out of the way, unless the versions are trusted."""
    stale = (
        StaleRecords({}, ()) if settings.trust_versions else find_stale_records(plan, folder, host)
    )
    supersede_records(folder, stale, cells)
    if stale:
        events.emit(
            "records_superseded",
            run=str(folder.path),
            plugins=stale.plugins,
            records=dict(stale.records),
        )


def _has_results(plan: Plan, folder: Run) -> bool:
    """Whether any result of a plan is there."""
    return not folder.finished_ids().isdisjoint(
        id for trial in plan.trials for ids in trial.evaluations.values() for id in ids
    )


def _build_executor(settings: RunSettings, host: Host) -> Executor:
    component = host.component(settings.executor, "executor")
    wanted = {"jobs": settings.worker_count(), "threads": settings.threads}
    given = {name: value for name, value in wanted.items() if name in component.options.fields}
    if settings.jobs is None and settings.executor == "local/inline":
        del given["jobs"]
    return cast(Executor, check_product(component, component.build(given, {})))


def _make_job_template(
    plan: Plan, folder: Run, wanted: Mapping[str, Json], settings: RunSettings, events: EventLog
) -> JobTemplate:
    """What every job of this run is told; the cache is looked at on the way."""
    line = f"{wanted['device']}-{settings.threads}-{settings.precision}"
    cache, below, told = choose_cache(settings.cache, line=line, run=folder.path)
    if told is not None:
        events.warn(told)
    if damaged := folder.damaged_attempts():
        events.warn(
            f"{len(damaged)} attempts that cannot be read are not counted (first: {damaged[0]}); delete them"
        )
    remove_stale_scratch()
    Cache(cache, line="any").register_run(folder.path)
    asked_by = {
        "suite": plan.suite,
        "plan": content_id(sorted(trial.id for trial in plan.trials)),
    }
    return JobTemplate(folder.write_environment(wanted), asked_by, settings, cache, below)


def _copy_from_other_runs(
    folder: Run, todo: list[Trial], order: JobTemplate, events: EventLog, host: Host
) -> None:
    """Copy what other runs have; one that cannot be read is told and left out."""
    done = folder.finished_ids()
    wanted = dict.fromkeys(
        id
        for trial in todo
        for id in (*trial.builds, *missing_records(trial, done))
        if id not in done
    )
    known = []
    for path in Cache(order.cache, line="any", below=order.cache_below).registered_runs():
        try:
            if battery_size_of(Run(path)) == order.settings.battery:
                known.append(path)
        except (CacheError, OSError) as error:
            events.warn(f"nothing is copied from the run {path}: {error}")
    believed = None if order.settings.trust_versions else host
    copy_records(
        folder, wanted, known=known, environment=order.environment, host=believed, warn=events.warn
    )


def _announce_start(
    events: EventLog,
    plan: Plan,
    before: dict[str, TrialStatus],
    todo: list[Trial],
    folder: Run,
    engine: Executor,
    settings: RunSettings,
) -> None:
    tried = {trial.id for trial in todo if needs_attempt(trial, before[trial.id], settings)}
    rest = Counter(state.value for id, state in before.items() if id not in tried)
    events.emit(
        "run_started",
        suite=plan.suite,
        title=plan.title,
        run=str(folder.path),
        trials=len(plan.trials),
        done=rest["done"],
        failed=rest["failed"],
        skipped=rest["skipped"],
        todo=rest["todo"] + len(tried),
        chosen=len(todo),
        jobs=engine.slots,
        threads=settings.threads,
        device=settings.device,
        columns=plan.leaderboard.get("columns"),
    )
    for trial in plan.trials:
        state = before[trial.id]
        if state.value == "skipped" and trial.id not in tried:
            events.emit("trial_skipped", trial=trial_fields(trial), reason=state.reason)


def _announce_end(events: EventLog, summary: RunSummary, after: dict[str, TrialStatus]) -> None:
    events.emit(
        "run_finished",
        suite=summary.suite,
        run=str(summary.run),
        done=summary.done,
        failed=summary.failed,
        skipped=summary.skipped,
        todo=summary.todo,
        evaluations_skipped=count_skipped_evaluations(after.values()),
        seconds=summary.seconds,
        interrupted=summary.interrupted,
        page=str(summary.page) if summary.page else None,
        stopped=summary.stopped,
    )
