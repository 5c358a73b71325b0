"""``advtransfer plan``: show the trials of a suite, and which are done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from advtransfer import planning
from advtransfer import suite as suites
from advtransfer.cli import plan_text
from advtransfer.cli.arguments import runs_option
from advtransfer.cli.commands import Subcommand
from advtransfer.cli.completions import complete_suite
from advtransfer.cli.output import print_json, print_product
from advtransfer.console.formatting import counts_text, skipped_line
from advtransfer.host import Host
from advtransfer.leaderboard.plan_warnings import PlanWarning, plan_warnings
from advtransfer.planning.status import count_skipped_evaluations, trial_statuses
from advtransfer.result import Run
from advtransfer.runner.record_reuse import StaleRecords, find_stale_records

MAX_LISTED_TRIALS = 200
"""A plan with more trials is shown as its axes and counts, since nobody reads so long a list."""


@click.command(cls=Subcommand, short_help="Show the trials of a suite, and which are done.")
@click.argument("suite", shell_complete=complete_suite)
@runs_option
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="{suite, trials: [{id, source, ..., state, reason}], stale, warnings: [{kind, text}]}.",
)
def command(suite: str, runs: Path, as_json: bool) -> None:
    """Show the trials of SUITE (a file, or the name of a shipped suite) by status.

    A trial is done, failed, skipped or to do. What the page will not be able to show is warned of.
    Nothing is run. A grid of more than 200 trials is
    shown as its axes, counts and reasons.
    """
    host = Host.discover()
    loaded = suites.load(suite, host)
    plan = planning.make_plan(loaded, host)
    warnings = plan_warnings(plan, loaded)
    run = Run(runs / plan.suite)
    stale = find_stale_records(plan, run, host)
    statuses = trial_statuses(plan, run, stale=stale.records)
    if as_json:
        print_json(_plan_json(plan, statuses, stale, warnings))
        return
    lines = [
        *_plan_lines(plan, statuses, warnings),
        *plan_text.stale_lines(stale, run.path),
    ]
    print_product("\n".join(lines))


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


def _plan_json(
    plan: planning.Plan,
    statuses: plan_text.TrialStatuses,
    stale: StaleRecords,
    warnings: Sequence[PlanWarning],
) -> dict[str, object]:
    trials = [
        {
            **plan_text.trial_json(trial),
            "state": statuses[trial.id].value,
            "reason": statuses[trial.id].reason,
            "evaluations_skipped": dict(statuses[trial.id].skipped),
        }
        for trial in plan.trials
    ]
    return {
        "suite": plan.suite,
        "trials": trials,
        "stale": len(stale.records),
        "warnings": [warning._asdict() for warning in warnings],
    }
