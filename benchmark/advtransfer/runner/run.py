"""Run of one suite: from settings to records, a leaderboard page and a summary."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from advtransfer.cache import Cache
from advtransfer.cache.lock import HeldLock, folder_guard
from advtransfer.errors import CacheError
from advtransfer.host import Host
from advtransfer.jobs import Executor, RemoteExecutor
from advtransfer.leaderboard import keep_or_write_page, write_page
from advtransfer.leaderboard.plan_warnings import plan_warnings
from advtransfer.node import content_id
from advtransfer.planning import Plan, Trial, make_plan
from advtransfer.planning.nodes import SuiteIndex
from advtransfer.planning.status import (
    TrialStatus,
    missing_records,
    permanently_failed,
    results_without_battery,
    trial_statuses,
)
from advtransfer.result import Run
from advtransfer.runner.budget import left_text, read_costs_for_order, start_budget
from advtransfer.runner.devices import choose_devices, require_free_memory
from advtransfer.runner.drivers import drivers_at_work, register_driver, require_driver_lock
from advtransfer.runner.engine import build_executor
from advtransfer.runner.environment import (
    battery_size_of,
    compute_settings,
    require_same_environment,
    settings_key,
    workers_environment,
)
from advtransfer.runner.events import EventLog, Listener, plugin_listeners
from advtransfer.runner.job_costs import JobCosts
from advtransfer.runner.job_queue import PendingJob
from advtransfer.runner.job_reports import JobReports
from advtransfer.runner.lock_waits import foreign_work_text
from advtransfer.runner.record_reuse import (
    copy_records,
    find_stale_records,
    supersede_records,
)
from advtransfer.runner.refit_hint import refit_text
from advtransfer.runner.run_folder import (
    choose_cache,
    claim_run_folder,
    explain_run_write_errors,
    folder_identity,
    require_same_folder,
)
from advtransfer.runner.run_summary import RunSummary, announce_end, announce_start
from advtransfer.runner.schedule import (
    JobScheduler,
    JobTemplate,
    job_to_profile,
    pending_jobs,
    profile_path,
)
from advtransfer.runner.second_derivatives import refuse_second_derivatives
from advtransfer.runner.settings import RunSettings
from advtransfer.runner.trial_selection import matching_trials, trials_to_run
from advtransfer.suite import Suite
from advtransfer.text import pluralize
from advtransfer.types import Json
from advtransfer.worker.process import remove_stale_scratch
from advtransfer.worker.time_limit import forget_overdue_steps


def run_suite(
    suite: Suite, *, settings: RunSettings, host: Host, listeners: Iterable[Listener] = ()
) -> RunSummary:
    """Run what is missing of a suite; the same call again continues where this one ended.

    Raises:
        BadInput: The plan or the settings are wrong, a trial cannot be compiled, the run folder was made
            with other settings or for another suite, or the disk cannot be written.
    """
    began = time.time()
    devices = choose_devices(settings, host)
    plan = make_plan(suite, host)
    if settings.compile:
        refuse_second_derivatives(matching_trials(plan.trials, settings.only), suite)
    folder = Run(settings.runs / suite.name)
    executor = build_executor(settings, host, devices=devices)
    plugin_distributions = host.distributions_of(suite.plugin_names())
    environment = workers_environment(executor, settings, devices, plugin_distributions)
    # The devices of other machines are their own executor's affair.
    memory_warnings: list[str] = []
    if not isinstance(executor, RemoteExecutor):
        memory_warnings = require_free_memory(devices, workers=executor.slots)
    damaged_records: dict[str, str] = {}
    plan_json = plan.to_json()

    def prepare() -> None:
        # The claim comes first: a folder of another suite is left exactly as it is.
        claim_run_folder(folder, suite)
        _forget_overdue_steps(folder, own_locks=0)
        damaged_records.update(folder.set_aside_damaged())
        written_plan = {**plan_json, "battery": settings.battery}
        is_written = folder.has_plan(written_plan)
        if not settings.mixed:
            require_same_environment(
                folder,
                environment,
                battery=settings.battery,
                recorded_battery=settings.battery if is_written else None,
            )
        folder.write_environment(environment)
        folder.write_suite(suite.text)
        if not is_written:
            folder.write_plan(written_plan)

    driver_settings = {
        **compute_settings(environment),
        "battery": settings.battery,
        "plan": _plan_id(plan)[:12],
    }
    with (
        explain_run_write_errors(folder.path),
        EventLog(folder.path / "events.jsonl", [*listeners, *plugin_listeners(host)]) as events,
        register_driver(
            folder,
            driver_settings,
            shard=settings.shard,
            mixed=settings.mixed,
            prepare=prepare,
            wait=lambda text: events.emit("waiting_for_locks", text=text),
        ) as lock,
    ):
        for warning in plan_warnings(plan, suite, host):
            events.warn(warning.text)
        for text in memory_warnings:
            events.warn(text)
        for path, reason in damaged_records.items():
            events.warn(
                f"{folder.path / path}: {reason}; kept as {path}.refused, and measured again"
            )
        template = _make_job_template(plan, folder, environment, settings, events)
        try:
            scheduler = _run_trials(
                suite, plan, plan_json, folder, executor, template, events, host, lock
            )
        finally:
            remove_stale_scratch()
            _forget_overdue_steps(folder, own_locks=1)
        statuses = trial_statuses(plan, folder)
        page = None
        if _has_results(plan, folder):
            page = _write_page(folder, events)
        summary = _summarize(plan, folder, statuses, scheduler, page, began=began)
        announce_end(events, summary, statuses, plan, settings)
    return summary


def _forget_overdue_steps(folder: Run, *, own_locks: int) -> None:
    """Let steps that broke their limit be tried again, unless another driver may be at work on them."""
    if len(drivers_at_work(folder)) <= own_locks:
        forget_overdue_steps(folder.path)


def _summarize(
    plan: Plan,
    folder: Run,
    statuses: dict[str, TrialStatus],
    scheduler: JobScheduler,
    page: Path | None,
    *,
    began: float,
) -> RunSummary:
    counts = Counter(status.value for status in statuses.values())
    profiled = scheduler.template.profiled
    profile = None if profiled is None else profile_path(folder, profiled)
    return RunSummary(
        suite=plan.suite,
        run=folder.path,
        done=counts["done"],
        failed=counts["failed"],
        skipped=counts["skipped"],
        todo=counts["todo"],
        seconds=time.time() - began,
        interrupted=scheduler.interrupted,
        page=page,
        stopped=scheduler.stop_reason,
        left=left_text(scheduler.queue.left_over, scheduler.template.settings),
        profile=profile if profile is not None and profile.exists() else None,
    )


def _run_trials(
    suite: Suite,
    plan: Plan,
    plan_json: Mapping[str, Json],
    folder: Run,
    executor: Executor,
    template: JobTemplate,
    events: EventLog,
    host: Host,
    lock: HeldLock,
) -> JobScheduler:
    """Run the unfinished trials, and return the scheduler with the reason why it ended."""
    settings = template.settings
    cells = SuiteIndex(suite)
    # One driver at a time, so that no shard supersedes what another has just made again.
    with folder_guard(folder.path):
        _supersede_stale_records(plan, folder, settings, cells, events, host)
    statuses = trial_statuses(plan, folder)
    incomplete = results_without_battery(plan, folder, settings.battery)
    todo = trials_to_run(
        plan,
        statuses,
        settings,
        incomplete,
        built=folder.finished_ids() | permanently_failed(folder),
    )
    own_ids = folder.finished_ids()
    if _copy_from_other_runs(folder, todo, template, events, host):
        # Copied records can have finished trials.
        statuses = trial_statuses(plan, folder)
        incomplete = results_without_battery(plan, folder, settings.battery)
    announce_start(events, plan, plan_json, statuses, todo, folder, executor, settings)
    if events.is_heard("record_written"):
        for id in sorted(folder.finished_ids() - own_ids):
            events.emit("record_written", record=folder.read_record(id))
    done = folder.finished_ids() - incomplete
    jobs, costs = _order_jobs(todo, cells, done, plan, folder, settings)
    if settings.shard is not None:
        template = replace(template, earlier_attempts=folder.attempt_counts())
    if text := refit_text(jobs, done, template):
        events.warn(text)
    if settings.profile:
        template = replace(template, profiled=job_to_profile(jobs))
        if template.profiled is None:
            events.warn("there is no job to profile: what --only chooses is recorded")
    reports = JobReports(jobs, template, events, folder, plan, costs)
    budget = start_budget(settings, costs)
    identity = folder_identity(folder)

    def require_folder() -> None:
        require_same_folder(folder, identity)
        require_driver_lock(lock, folder)

    scheduler = JobScheduler(
        jobs,
        executor,
        template,
        folder,
        reports,
        budget=budget,
        require_folder=require_folder,
    )
    scheduler.run_jobs(grace=settings.grace)
    if scheduler.left_to_others:
        count = pluralize(len(scheduler.left_to_others), "job")
        events.emit("jobs_left", text=f"{count} left to the drivers that are at them")
    return scheduler


def _order_jobs(
    todo: list[Trial],
    cells: SuiteIndex,
    done: set[str],
    plan: Plan,
    folder: Run,
    settings: RunSettings,
) -> tuple[list[PendingJob], JobCosts]:
    """Return the jobs behind trials in the order in which they begin, and the costs that it rests on."""
    costs = read_costs_for_order(folder, settings) if todo else JobCosts()
    jobs = pending_jobs(
        todo,
        cells,
        done,
        plan.sources,
        hopeless=set() if settings.retry_failed else permanently_failed(folder),
        expected_seconds=lambda job: costs.job_seconds(job.request),
        in_rounds=settings.budget is not None,
    )
    if settings.shard is not None:
        jobs = settings.shard.order_jobs(jobs, plan)
    return jobs, costs


def _supersede_stale_records(
    plan: Plan, folder: Run, settings: RunSettings, cells: SuiteIndex, events: EventLog, host: Host
) -> None:
    """Set aside the records that other code of a plugin made, unless versions are trusted."""
    if settings.trust_versions:
        return
    stale = find_stale_records(plan, folder, host)
    supersede_records(folder, stale, cells)
    if stale:
        events.emit(
            "records_superseded",
            run=str(folder.path),
            plugins=stale.plugins,
            records=dict(stale.records),
        )


def _has_results(plan: Plan, folder: Run) -> bool:
    """Return whether any result of a plan has a record."""
    result_ids = (id for trial in plan.trials for ids in trial.evaluations.values() for id in ids)
    return not folder.finished_ids().isdisjoint(result_ids)


def _write_page(folder: Run, events: EventLog) -> Path:
    """Write the page, or keep the one that is there if nothing has changed; return its path."""
    # Of several shards that end together, the last one writes the page of all.
    with folder_guard(folder.path):
        if events.is_heard("run_finished"):  # A tracker takes the figures as PNG too.
            return write_page(folder, warn=events.warn, rasters=folder.path / "figures")
        return keep_or_write_page(folder, warn=events.warn)


def _make_job_template(
    plan: Plan,
    folder: Run,
    environment: Mapping[str, Json],
    settings: RunSettings,
    events: EventLog,
) -> JobTemplate:
    """Return the template of all jobs, after choosing and registering the cache."""
    line = settings_key(settings)
    cache, cache_below, warning = choose_cache(settings.cache, line=line, run=folder.path)
    if warning is not None:
        events.warn(warning)
    damaged = folder.damaged_attempts()
    if damaged:
        events.warn(
            f"{len(damaged)} attempts that cannot be read are not counted (first: {damaged[0]}); "
            "delete them"
        )
    remove_stale_scratch()
    Cache(cache, line="any").register_run(folder.path)
    if text := foreign_work_text(folder, Cache(cache, line=line), drivers_at_work(folder)):
        events.emit("waiting_for_locks", text=text)
    asked_by = {
        "suite": plan.suite,
        "plan": _plan_id(plan),
    }
    below = cache_below or settings.cache_below
    return JobTemplate(folder.write_environment(environment), asked_by, settings, cache, below)


def _plan_id(plan: Plan) -> str:
    return content_id(sorted(trial.id for trial in plan.trials))


def _copy_from_other_runs(
    folder: Run, todo: list[Trial], template: JobTemplate, events: EventLog, host: Host
) -> int:
    """Copy records that other runs have, and return their number.

    A run that cannot be read is reported and left out.
    """
    done = folder.finished_ids()
    wanted: dict[str, None] = {}
    for trial in todo:
        ids = (*trial.builds, *missing_records(trial, done))
        wanted |= dict.fromkeys(id for id in ids if id not in done)
    if not wanted:
        return 0
    settings = template.settings
    sources = []
    cache = Cache(template.cache, line="any", below=template.cache_below)
    for path in cache.registered_runs():
        try:
            # Results of a run with another battery size lack the batteries of this one.
            if battery_size_of(Run(path)) == settings.battery:
                sources.append(path)
        except (CacheError, OSError) as error:
            events.warn(f"nothing is copied from the run {path}: {error}")
    return copy_records(
        folder,
        wanted,
        known=sources,
        environment=template.environment,
        host=None if settings.trust_versions else host,
        warn=events.warn,
    )
