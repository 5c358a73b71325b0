"""``advtransfer.plan``: the trials of a suite, and which are done."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from advtransfer import planning
from advtransfer.api import plan_text
from advtransfer.api.arguments import ArgumentChecker
from advtransfer.api.arrays import DatasetInMemory
from advtransfer.api.in_memory import SourceInMemory
from advtransfer.api.suite_input import SuiteInput, load_suite
from advtransfer.api.suite_objects import NO_DATASETS, NO_SOURCES, suite_with_objects
from advtransfer.api.tables import Table
from advtransfer.console.formatting import counts_text, skipped_line
from advtransfer.host import Host
from advtransfer.leaderboard.plan_warnings import PlanWarning, plan_warnings
from advtransfer.planning.status import count_skipped_evaluations, trial_statuses
from advtransfer.result import Run
from advtransfer.runner import RunSettings
from advtransfer.runner.record_reuse import find_stale_records
from advtransfer.types import Json

MAX_LISTED_TRIALS = 200
"""A plan with more trials is shown as its axes and counts, since nobody reads so long a list."""
PLAN_COLUMNS = ("state", "source", "adapter", "target", "n", "seed", "transfer", "reason")


def plan_suite(
    suite: SuiteInput,
    *,
    name: str | None = None,
    sources: Mapping[str, SourceInMemory] = NO_SOURCES,
    datasets: Mapping[str, DatasetInMemory] = NO_DATASETS,
    runs: str | os.PathLike[str] = "runs",
) -> Table:
    """Return the trials of a suite by status; nothing is run. This is ``advtransfer plan``.

    The table has a line for each trial; `Table.data` is what ``--json`` prints: ``suite``,
    ``trials``, ``stale`` and ``warnings``.

    Args:
        suite: The name of a shipped suite, the path of a file, a text, or a mapping.
        name: Name of a suite that is a text or a mapping.
        sources: Modules in memory by the name of their entry, as `run` takes them. Their weights are
            written below `runs`, as those of a run are.
        datasets: Arrays in memory, likewise.
        runs: The folder of all runs.

    Raises:
        BadInput: The suite or the arguments are wrong; holds every problem.
    """
    check = ArgumentChecker()
    folder = check.folder("runs", runs)
    check.raise_if_any()
    host = Host.discover()
    with suite_with_objects(
        lambda over: load_suite(suite, name, host, over=over),
        sources=sources,
        datasets=datasets,
        settings=RunSettings(runs=folder),
        host=host,
    ) as placed:
        loaded = placed.suite
    plan = planning.make_plan(loaded, host)
    warnings = plan_warnings(plan, loaded)
    run = Run(folder / plan.suite)
    stale = find_stale_records(plan, run, host)
    statuses = trial_statuses(plan, run, stale=stale.records)
    lines = [*_plan_lines(plan, statuses, warnings), *plan_text.stale_lines(stale, run.path)]
    trials = _trials_json(plan, statuses)
    data: dict[str, Json] = {
        "suite": plan.suite,
        "trials": trials,
        "stale": len(stale.records),
        "warnings": [warning._asdict() for warning in warnings],
    }
    return Table(trials, columns=PLAN_COLUMNS, text="\n".join(lines), data=data)


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
