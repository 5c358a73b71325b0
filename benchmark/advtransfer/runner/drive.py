"""One run: from a suite and settings to records, a page, and a summary."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from advtransfer.cache import Cache
from advtransfer.files import sweep
from advtransfer.host import Host
from advtransfer.leaderboard import write_page
from advtransfer.node import canonical, digest
from advtransfer.plan import Plan, Trial, make
from advtransfer.plan.nodes import Cells
from advtransfer.result import Run
from advtransfer.runner.environment import agree, battery_of, environment
from advtransfer.runner.events import Events, Listener, place, to_hooks
from advtransfer.runner.machine import gpu
from advtransfer.runner.pick import picked
from advtransfer.runner.reuse import reuse
from advtransfer.runner.schedule import Order, Schedule
from advtransfer.runner.settings import Settings
from advtransfer.runner.states import State, evaluations_skipped, hopeless, missing, states
from advtransfer.runner.tasks import tasks_for
from advtransfer.suite import Suite
from advtransfer.types import Executor, Json


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended: trials by state, over the whole plan, and where the page is."""

    suite: str
    run: Path
    done: int
    failed: int
    skipped: int
    todo: int
    seconds: float
    interrupted: bool
    page: Path | None


def run(suite: Suite, *, settings: Settings, host: Host, listeners: Iterable[Listener] = ()) -> Summary:
    """Do what is missing of a suite. The same call again goes on where this one ended.

    Raises:
        BadInput: The plan, the settings, or a run folder made with other settings.
    """
    began = time.time()
    accelerator = gpu(settings.device)
    plan, cells = make(suite, host), Cells(suite)
    folder = Run(settings.runs / suite.name)
    engine = _executor(settings, host)
    order = _prepared(suite, plan, folder, settings, accelerator)
    with Events(folder.path / "events.jsonl", [*listeners, to_hooks(host)]) as events:
        before = states(plan, folder)
        todo = _todo(plan, before, settings)
        _copy(folder, todo, order, settings)
        before = states(plan, folder)
        _announce(events, plan, before, todo, folder, engine, settings)
        known = set() if settings.retry_failed else hopeless(folder)
        tasks = tasks_for(todo, cells, folder.done(), plan.sources, hopeless=known)
        interrupted = Schedule(tasks, engine, order, events, folder, plan).run(grace=settings.grace)
        after = states(plan, folder)
        page = write_page(folder) if _measured(plan, folder) else None
        counts = Counter(state.value for state in after.values())
        summary = Summary(
            suite=suite.name,
            run=folder.path,
            done=counts["done"],
            failed=counts["failed"],
            skipped=counts["skipped"],
            todo=counts["todo"],
            seconds=time.time() - began,
            interrupted=interrupted,
            page=page,
        )
        _close(events, summary, after)
    return summary


def _measured(plan: Plan, folder: Run) -> bool:
    """Whether any result of a plan is there."""
    return not folder.done().isdisjoint(id for trial in plan.trials for ids in trial.evaluations.values() for id in ids)


def _executor(settings: Settings, host: Host) -> Executor:
    component = host.component(settings.executor, "executor")
    wanted = {"jobs": settings.workers(), "threads": settings.threads}
    given = {name: value for name, value in wanted.items() if name in component.options.fields}
    if settings.jobs is None and settings.executor == "local/inline":
        del given["jobs"]
    return cast(Executor, component.build(given, {}))


def _prepared(
    suite: Suite, plan: Plan, folder: Run, settings: Settings, accelerator: Mapping[str, Json] | None
) -> Order:
    """Put into the folder what its records refer to, before the first of them."""
    sweep(folder.path)
    wanted = environment(
        device=settings.device, threads=settings.threads, precision=settings.precision, gpu=accelerator
    )
    if not settings.mixed:
        agree(folder, wanted, battery=settings.battery)
    name = folder.write_environment(wanted)
    folder.write_suite(suite.text)
    folder.write_plan(plan.to_json() | {"battery": settings.battery})
    Cache(settings.cache, line="any").know_run(folder.path)
    asked_by = {"suite": plan.suite, "plan": digest(canonical(sorted(trial.id for trial in plan.trials)))}
    return Order(name, asked_by, settings)


def _todo(plan: Plan, before: dict[str, State], settings: Settings) -> list[Trial]:
    """The trials of this call: not done, not hopeless, picked, at most `limit`."""
    chosen = [trial for trial in picked(plan.trials, settings.only) if _wanted(trial, before[trial.id], settings)]
    return chosen[: settings.limit]


def _wanted(trial: Trial, state: State, settings: Settings) -> bool:
    """Whether something of a trial is to be tried: anew, or, where it ended without a record, again if asked."""
    lacks = trial.skipped is None and (state.value != "done" or bool(state.skipped))
    return not state.final or (settings.retry_failed and lacks)


def _copy(folder: Run, todo: list[Trial], order: Order, settings: Settings) -> None:
    done = folder.done()
    wanted = [id for trial in todo for id in missing(trial, done)]
    runs = Cache(settings.cache, line="any").known_runs()
    known = [path for path in runs if battery_of(Run(path)) == settings.battery]
    reuse(folder, wanted, known=known, environment=order.environment)


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
    )
