"""``advtransfer.plan``: the trials of a suite, and which are done."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Literal, cast

from advtransfer import planning
from advtransfer.api import plan_text
from advtransfer.api.arguments import BATTERY_SIZES, ArgumentChecker
from advtransfer.api.arrays import DatasetInMemory
from advtransfer.api.estimate_text import estimate_lines
from advtransfer.api.in_memory import SourceInMemory
from advtransfer.api.suite_input import SuiteInput, load_suite
from advtransfer.api.suite_objects import NO_DATASETS, NO_SOURCES, suite_with_objects
from advtransfer.api.tables import Table
from advtransfer.console import console_for
from advtransfer.console.formatting import counts_text, skipped_line
from advtransfer.errors import BadInput, Problem
from advtransfer.host import Host
from advtransfer.leaderboard.plan_warnings import PlanWarning, plan_warnings
from advtransfer.planning.provisional import provisional_trials
from advtransfer.planning.status import count_skipped_evaluations, trial_statuses
from advtransfer.result import Run
from advtransfer.runner import RunSettings
from advtransfer.runner.estimate import Estimate, estimate_run
from advtransfer.runner.record_reuse import find_stale_records
from advtransfer.runner.trial_selection import matching_trials
from advtransfer.suite import Suite
from advtransfer.types import BatterySize, Json

MAX_LISTED_TRIALS = 200
"""A plan with more trials is shown as its axes and counts, since nobody reads so long a list."""
ESTIMATE_WITHOUT_DATA = Problem(
    "an estimate of a plan without data",
    "one of the two, since an estimate runs trials",
    "leave out --estimate, or put the data where ADVTRANSFER_DATA points",
)
PLAN_COLUMNS = ("state", "source", "adapter", "target", "n", "seed", "transfer", "reason")


def plan_suite(
    suite: SuiteInput,
    *,
    name: str | None = None,
    sources: Mapping[str, SourceInMemory] = NO_SOURCES,
    datasets: Mapping[str, DatasetInMemory] = NO_DATASETS,
    runs: str | os.PathLike[str] = "runs",
    only: str | Iterable[str] = (),
    estimate: bool = False,
    jobs: int | Literal["auto"] = "auto",
    threads: int = 1,
    device: str = "cpu",
    executor: str = "local/pool",
    battery: BatterySize = "small",
    quiet: bool = True,
    without_data: bool = False,
) -> Table:
    """Return the trials of a suite by status. This is ``advtransfer plan``.

    The table has a line for each trial; `Table.data` is what ``--json`` prints: ``suite``,
    ``trials``, ``stale`` and ``warnings``, with `estimate` the fields of
    `advtransfer.runner.estimate.Estimate`, and with `without_data` ``missing``, the files and folders
    that are not on this machine, and ``provisional`` of each trial. Nothing is run, except that an
    estimate tries each kind of work that no record tells of: one trial of it, in the run folder, where
    `run` finds it as done.

    Args:
        suite: The name of a shipped suite, the path of a file, a text, or a mapping.
        name: Name of a suite that is a text or a mapping.
        sources: Modules in memory by the name of their entry, as `run` takes them. Their weights are
            written below `runs`, as those of a run are.
        datasets: Arrays in memory, likewise.
        runs: The folder of all runs.
        only: The trials to plan, as `run` takes them.
        estimate: Also tell what the trials that are to do will cost.
        jobs: Workers that an estimate is for.
        threads: CPU threads of a worker, for an estimate.
        device: The device that an estimate is for.
        executor: The executor that an estimate is for.
        battery: The battery that an estimate is for.
        quiet: Do not show the trials that an estimate runs.
        without_data: Count trials although files or folders are missing. The id of a trial that
            depends on one of them is provisional: it changes when the content is there.

    Raises:
        BadInput: The suite or the arguments are wrong, such as `without_data` with `estimate`, which runs
            trials; holds every problem.
    """
    check = ArgumentChecker()
    settings = RunSettings(
        runs=check.folder("runs", runs),
        jobs=check.worker_count("jobs", jobs),
        threads=check.required_number("threads", threads, least=1),
        only=check.texts("only", only),
        device=check.text("device", device, example="cuda"),
        executor=check.text("executor", executor, example="local/pool"),
        battery=cast(BatterySize, check.word("battery", battery, BATTERY_SIZES)),
    )
    check.flag("estimate", estimate)
    check.flag("without_data", without_data)
    check.raise_if_any()
    if estimate and without_data:
        raise BadInput([ESTIMATE_WITHOUT_DATA])
    host = Host.discover()
    with suite_with_objects(
        lambda over: load_suite(suite, name, host, over=over, without_data=without_data),
        sources=sources,
        datasets=datasets,
        settings=settings,
        host=host,
    ) as placed:
        loaded = placed.suite
        costs = _estimate(loaded, placed.settings, host, quiet=quiet) if estimate else None
    plan = planning.make_plan(loaded, host)
    warnings = plan_warnings(plan, loaded, host)
    run = Run(settings.runs / plan.suite)
    plan = replace(plan, trials=tuple(matching_trials(plan.trials, settings.only)))
    stale = find_stale_records(plan, run, host)
    statuses = trial_statuses(plan, run, stale=stale.records)
    lines = [*_plan_lines(plan, statuses, warnings), *plan_text.stale_lines(stale, run.path)]
    trials = _trials_json(plan, statuses)
    if without_data:
        provisional = provisional_trials(plan, loaded)
        trials = [{**trial, "provisional": trial["id"] in provisional} for trial in trials]
        lines += plan_text.placeholder_lines(loaded.placeholders, len(provisional))
    data: dict[str, Json] = {
        "suite": plan.suite,
        "trials": trials,
        "stale": len(stale.records),
        "warnings": [warning._asdict() for warning in warnings],
    }
    if without_data:
        data["missing"] = [{"kind": item.kind, "name": item.name} for item in loaded.placeholders]
    if costs is not None:
        lines += ["", *estimate_lines(costs)]
        data["estimate"] = cast(Json, asdict(costs))
    return Table(trials, columns=PLAN_COLUMNS, text="\n".join(lines), data=data)


def _estimate(suite: Suite, settings: RunSettings, host: Host, *, quiet: bool) -> Estimate:
    """Return what a suite will cost; the trials that this runs are shown on standard error."""
    host.component(settings.executor, "executor")
    with console_for(sys.stderr or io.StringIO(), product=io.StringIO(), quiet=quiet) as console:
        return estimate_run(suite, settings=settings, host=host, listeners=[console])


def _plan_lines(
    plan: planning.Plan, statuses: plan_text.TrialStatuses, warnings: Sequence[PlanWarning]
) -> list[str]:
    last_lines = [
        *(f"warning: {warning.text}" for warning in warnings),
        *map(skipped_line, count_skipped_evaluations(statuses.values())),
        counts_text(plan_text.count_statuses(statuses)),
    ]
    if len(plan.trials) <= MAX_LISTED_TRIALS:
        trial_lines = plan_text.trial_lines(plan, statuses)
        return [plan_text.plan_header(plan), *trial_lines, *last_lines]
    return [
        plan_text.grid_text(plan),
        "",
        *plan_text.reason_lines(plan, statuses, "failed"),
        *plan_text.reason_lines(plan, statuses, "skipped"),
        *last_lines,
    ]


def _trials_json(plan: planning.Plan, statuses: plan_text.TrialStatuses) -> list[dict[str, Json]]:
    return [
        {
            **plan_text.trial_json(trial),
            "state": statuses[trial.id].value,
            "reason": statuses[trial.id].reason,
            "evaluations_skipped": dict(statuses[trial.id].skipped),
        }
        for trial in plan.trials
    ]
