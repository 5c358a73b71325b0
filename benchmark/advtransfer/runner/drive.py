"""One run: from a suite and settings to records, a page, and a summary."""

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
from advtransfer.leaderboard import write_page
from advtransfer.node import canonical, digest
from advtransfer.plan import Plan, Trial, make
from advtransfer.plan.nodes import Cells
from advtransfer.plan.status import State, evaluations_skipped, hopeless, lacking_batteries, missing, states
from advtransfer.result import Run
from advtransfer.returned import built
from advtransfer.runner.disk import usable_cache, writing_run
from advtransfer.runner.drivers import driving
from advtransfer.runner.environment import LINE, agree, battery_of, environment
from advtransfer.runner.events import Events, Listener, place, to_hooks
from advtransfer.runner.machine import gpu
from advtransfer.runner.origin import keep_origin
from advtransfer.runner.pick import picked
from advtransfer.runner.reuse import reuse
from advtransfer.runner.schedule import Order, Schedule
from advtransfer.runner.settings import Settings
from advtransfer.runner.stale import Stale, set_aside, stale_records
from advtransfer.runner.tasks import tasks_for
from advtransfer.suite import Suite
from advtransfer.trial.scratch import sweep_scratch
from advtransfer.types import Executor, Json


@dataclass(frozen=True, slots=True)
class Summary:
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


def run(suite: Suite, *, settings: Settings, host: Host, listeners: Iterable[Listener] = ()) -> Summary:
    """Do what is missing of a suite. The same call again goes on where this one ended.

    Raises:
        BadInput: The plan, the settings, a run folder made with other settings or of another suite, or a disk that
            cannot be written.
    """
    began = time.time()
    accelerator = gpu(settings.device)
    plan = make(suite, host)
    folder = Run(settings.runs / suite.name)
    engine = _executor(settings, host)
    wanted = environment(
        device=settings.device, threads=settings.threads, precision=settings.precision, gpu=accelerator
    )
    line = {name: wanted[name] for name in LINE} | {"battery": settings.battery}

    refused: dict[str, str] = {}

    def prepare() -> None:
        keep_origin(folder, suite)
        refused.update(folder.set_aside())
        if not settings.mixed:
            agree(folder, wanted, battery=settings.battery)
        folder.write_environment(wanted)
        folder.write_suite(suite.text)
        folder.write_plan(plan.to_json() | {"battery": settings.battery})

    with (
        writing_run(folder.path),
        driving(folder, line, mixed=settings.mixed, prepare=prepare),
        Events(folder.path / "events.jsonl", [*listeners, *to_hooks(host)]) as events,
    ):
        for place, reason in refused.items():
            events.warn(f"{folder.path / place}: {reason}; kept as {place}.refused, and measured again")
        order = _order(plan, folder, wanted, settings, events)
        try:
            schedule = _walk(suite, plan, folder, engine, order, events, host)
        finally:
            sweep_scratch()
        after = states(plan, folder)
        page = write_page(folder, warn=events.warn) if _measured(plan, folder) else None
        counts = Counter(state.value for state in after.values())
        summary = Summary(
            suite=suite.name,
            run=folder.path,
            done=counts["done"],
            failed=counts["failed"],
            skipped=counts["skipped"],
            todo=counts["todo"],
            seconds=time.time() - began,
            interrupted=schedule.interrupted,
            page=page,
            stopped=schedule.ended,
        )
        _close(events, summary, after)
    return summary


def _walk(
    suite: Suite, plan: Plan, folder: Run, engine: Executor, order: Order, events: Events, host: Host
) -> Schedule:
    """Do what is to be done, as far as it can be."""
    settings, cells = order.settings, Cells(suite)
    _set_stale_aside(plan, folder, settings, cells, events, host)
    torn = lacking_batteries(plan, folder)
    before = states(plan, folder)
    todo = _todo(plan, before, settings, torn, built=folder.done() | hopeless(folder))
    _copy(folder, todo, order, events, host)
    before = states(plan, folder)
    _announce(events, plan, before, todo, folder, engine, settings)
    known = set() if settings.retry_failed else hopeless(folder)
    done = folder.done() - lacking_batteries(plan, folder)
    tasks = tasks_for(todo, cells, done, plan.sources, hopeless=known)
    schedule = Schedule(tasks, engine, order, events, folder, plan)
    schedule.run(grace=settings.grace)
    return schedule


def _set_stale_aside(plan: Plan, folder: Run, settings: Settings, cells: Cells, events: Events, host: Host) -> None:
    """Move the records that other code of a plugin made out of the way, unless the versions are trusted."""
    stale = Stale({}, ()) if settings.trust_versions else stale_records(plan, folder, host)
    set_aside(folder, stale, cells)
    if stale:
        events.tell("records_superseded", run=str(folder.path), plugins=stale.plugins, records=dict(stale.records))


def _measured(plan: Plan, folder: Run) -> bool:
    """Whether any result of a plan is there."""
    return not folder.done().isdisjoint(id for trial in plan.trials for ids in trial.evaluations.values() for id in ids)


def _executor(settings: Settings, host: Host) -> Executor:
    component = host.component(settings.executor, "executor")
    wanted = {"jobs": settings.workers(), "threads": settings.threads}
    given = {name: value for name, value in wanted.items() if name in component.options.fields}
    if settings.jobs is None and settings.executor == "local/inline":
        del given["jobs"]
    return cast(Executor, built(component, component.build(given, {})))


def _order(plan: Plan, folder: Run, wanted: Mapping[str, Json], settings: Settings, events: Events) -> Order:
    """What every job of this run is told; the cache is looked at on the way."""
    line = f"{wanted['device']}-{settings.threads}-{settings.precision}"
    cache, below, told = usable_cache(settings.cache, line=line, run=folder.path)
    if told is not None:
        events.warn(told)
    if damaged := folder.damaged_attempts():
        events.warn(f"{len(damaged)} attempts that cannot be read are not counted (first: {damaged[0]}); delete them")
    sweep_scratch()
    Cache(cache, line="any").know_run(folder.path)
    asked_by = {"suite": plan.suite, "plan": digest(canonical(sorted(trial.id for trial in plan.trials)))}
    return Order(folder.write_environment(wanted), asked_by, settings, cache, below)


def _todo(plan: Plan, before: dict[str, State], settings: Settings, torn: set[str], *, built: set[str]) -> list[Trial]:
    """The trials of this call: not done, not hopeless, picked, at most `limit`.

    Also those that are done but for a record behind them which was deleted: of a source, or of a battery (`torn`).
    """
    chosen = [
        trial
        for trial in picked(plan.trials, settings.only)
        if _wanted(trial, before[trial.id], settings)
        or not torn.isdisjoint(trial.records())
        or (before[trial.id].value == "done" and not built.issuperset(trial.builds))
    ]
    return chosen[: settings.limit]


def _wanted(trial: Trial, state: State, settings: Settings) -> bool:
    """Whether something of a trial is to be tried: anew, or, where it ended without a record, again if asked."""
    lacks = trial.skipped is None and (state.value != "done" or bool(state.skipped))
    return not state.final or (settings.retry_failed and lacks)


def _copy(folder: Run, todo: list[Trial], order: Order, events: Events, host: Host) -> None:
    """Copy what other runs have; one that cannot be read is told and left out."""
    done = folder.done()
    wanted = dict.fromkeys(id for trial in todo for id in (*trial.builds, *missing(trial, done)) if id not in done)
    known = []
    for path in Cache(order.cache, line="any", below=order.cache_below).known_runs():
        try:
            if battery_of(Run(path)) == order.settings.battery:
                known.append(path)
        except (CacheError, OSError) as error:
            events.warn(f"nothing is copied from the run {path}: {error}")
    believed = None if order.settings.trust_versions else host
    reuse(folder, wanted, known=known, environment=order.environment, host=believed, warn=events.warn)


def _announce(
    events: Events,
    plan: Plan,
    before: dict[str, State],
    todo: list[Trial],
    folder: Run,
    engine: Executor,
    settings: Settings,
) -> None:
    tried = {trial.id for trial in todo if _wanted(trial, before[trial.id], settings)}
    rest = Counter(state.value for id, state in before.items() if id not in tried)
    events.tell(
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
            events.tell("trial_skipped", trial=place(trial), reason=state.reason)


def _close(events: Events, summary: Summary, after: dict[str, State]) -> None:
    events.tell(
        "run_finished",
        suite=summary.suite,
        run=str(summary.run),
        done=summary.done,
        failed=summary.failed,
        skipped=summary.skipped,
        todo=summary.todo,
        evaluations_skipped=evaluations_skipped(after.values()),
        seconds=summary.seconds,
        interrupted=summary.interrupted,
        page=str(summary.page) if summary.page else None,
        stopped=summary.stopped,
    )
