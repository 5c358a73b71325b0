"""``advtransfer plan``: what a suite asks for, and what of it is done."""

from __future__ import annotations

import json
from pathlib import Path

import click

from advtransfer import plan as planning
from advtransfer import suite as suites
from advtransfer.cli import grid, standing
from advtransfer.cli.arguments import runs_option
from advtransfer.cli.commands import Subcommand
from advtransfer.cli.output import echo
from advtransfer.console.words import counts, skip
from advtransfer.host import Host
from advtransfer.plan.status import evaluations_skipped, states
from advtransfer.result import Run
from advtransfer.runner.stale import Stale, stale_records

MOST_LINES = 200
"""Above so many trials a list is no longer read: the axes and counts say more."""


@click.command(cls=Subcommand, short_help="What a suite asks for, and what of it is done.")
@click.argument("suite")
@runs_option
@click.option("--json", "as_json", is_flag=True, help="{suite, trials: [{id, source, ..., state, reason}], stale}.")
def command(suite: str, runs: Path, as_json: bool) -> None:
    """Show the trials of SUITE (a file, or the name of a shipped suite): done, failed, skipped and to do.

    Nothing is run. A grid of more than 200 trials is shown as its axes, counts and reasons.
    """
    host = Host.discover()
    plan = planning.make(suites.load(suite, host), host)
    run = Run(runs / plan.suite)
    stale = stale_records(plan, run, host)
    standings = states(plan, run, stale=stale.records)
    if as_json:
        echo(json.dumps(_plain(plan, standings, stale), indent=2, ensure_ascii=False))
    else:
        echo("\n".join([*_text(plan, standings), *standing.stale_lines(stale, run.path)]))


def _text(plan: planning.Plan, standings: standing.States) -> list[str]:
    last = [*map(skip, evaluations_skipped(standings.values())), counts(standing.tallied(standings))]
    if len(plan.trials) <= MOST_LINES:
        return [grid.head(plan), *standing.lines(plan, standings), *last]
    why = [line for value in ("failed", "skipped") for line in standing.reasons(plan, standings, value)]
    return [grid.as_text(plan), "", *why, *last]


def _plain(plan: planning.Plan, standings: standing.States, stale: Stale) -> dict[str, object]:
    trials = [
        {
            **grid.place(one),
            "state": standings[one.id].value,
            "reason": standings[one.id].reason,
            "evaluations_skipped": dict(standings[one.id].skipped),
        }
        for one in plan.trials
    ]
    return {"suite": plan.suite, "trials": trials, "stale": len(stale.records)}
