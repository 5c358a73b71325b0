"""``advtransfer plan``: what a suite asks for, and what of it is done."""

from __future__ import annotations

import json
from pathlib import Path

import click

from advtransfer import planning
from advtransfer import suite as suites
from advtransfer.cli import plan_text
from advtransfer.cli.arguments import runs_option
from advtransfer.cli.commands import Subcommand
from advtransfer.cli.output import print_product
from advtransfer.console.formatting import counts_text, skipped_line
from advtransfer.host import Host
from advtransfer.planning.status import count_skipped_evaluations, trial_statuses
from advtransfer.result import Run
from advtransfer.runner.record_reuse import StaleRecords, find_stale_records

MAX_LISTED_TRIALS = 200
"""Above so many trials a list is no longer read: the axes and counts say more."""


@click.command(cls=Subcommand, short_help="What a suite asks for, and what of it is done.")
@click.argument("suite")
@runs_option
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="{suite, trials: [{id, source, ..., state, reason}], stale}.",
)
def command(suite: str, runs: Path, as_json: bool) -> None:
    """Show the trials of SUITE (a file, or the name of a shipped suite): done, failed, skipped and to do.

    Nothing is run. A grid of more than 200 trials is shown as its axes, counts and reasons.
    """
    host = Host.discover()
    plan = planning.make_plan(suites.load(suite, host), host)
    run = Run(runs / plan.suite)
    stale = find_stale_records(plan, run, host)
    standings = trial_statuses(plan, run, stale=stale.records)
    if as_json:
        print_product(json.dumps(_plan_json(plan, standings, stale), indent=2, ensure_ascii=False))
    else:
        print_product(
            "\n".join([*_plan_lines(plan, standings), *plan_text.stale_lines(stale, run.path)])
        )


def _plan_lines(plan: planning.Plan, standings: plan_text.TrialStatuses) -> list[str]:
    last = [
        *map(skipped_line, count_skipped_evaluations(standings.values())),
        counts_text(plan_text.count_statuses(standings)),
    ]
    if len(plan.trials) <= MAX_LISTED_TRIALS:
        return [plan_text.plan_header(plan), *plan_text.trial_lines(plan, standings), *last]
    why = [
        line
        for value in ("failed", "skipped")
        for line in plan_text.reason_lines(plan, standings, value)
    ]
    return [plan_text.grid_text(plan), "", *why, *last]


def _plan_json(
    plan: planning.Plan, standings: plan_text.TrialStatuses, stale: StaleRecords
) -> dict[str, object]:
    trials = [
        {
            **plan_text.trial_json(one),
            "state": standings[one.id].value,
            "reason": standings[one.id].reason,
            "evaluations_skipped": dict(standings[one.id].skipped),
        }
        for one in plan.trials
    ]
    return {"suite": plan.suite, "trials": trials, "stale": len(stale.records)}
