"""``advtransfer status``: how far a run is, and why trials failed."""

from __future__ import annotations

import json
from pathlib import Path

import click

from advtransfer.cli import standing
from advtransfer.cli.commands import Subcommand
from advtransfer.cli.output import echo
from advtransfer.console.words import counts, skip
from advtransfer.host import Host
from advtransfer.plan import Plan
from advtransfer.plan.status import evaluations_skipped, states
from advtransfer.result import Run
from advtransfer.runner.stale import Stale, stale_records


@click.command(cls=Subcommand, short_help="How far a run is, and why trials failed.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="{suite, run, done, failed, skipped, todo, stale, failures, skips, evaluations_skipped, damaged}.",
)
def command(run: Path, as_json: bool) -> None:
    """Show how far RUN (a folder such as runs/quickstart) is: counts, and each failure and skip with its reason."""
    opened = Run.open(run)
    plan = Plan.from_json(opened.plan())
    stale = stale_records(plan, opened, Host.discover())
    standings = states(plan, opened, stale=stale.records)
    if as_json:
        found = _plain(plan, standings, run, stale) | {"damaged": opened.damaged()}
        echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        echo("\n".join([*_text(plan, standings, run), *standing.stale_lines(stale, run), *_damaged(opened)]))


def _text(plan: Plan, standings: standing.States, run: Path) -> list[str]:
    failed = [(one, standings[one.id]) for one in plan.trials if standings[one.id].value == "failed"]
    lines = [f"{plan.suite}: {counts(standing.tallied(standings))}"]
    lines += [f"failed  {one.name}: {reason}" for one, state in failed for reason in standing.failures(state)]
    lines += standing.reasons(plan, standings, "skipped")
    lines += map(skip, evaluations_skipped(standings.values()))
    if failed:
        lines.append(f"tracebacks: {run / 'attempts'}; to try again: the same `advtransfer run`")
    return lines


def _damaged(run: Run) -> list[str]:
    lines = [f"damaged {run.path / place}: {reason}" for place, reason in run.damaged().items()]
    return [*lines, "damaged records count as missing; the same `advtransfer run` measures them again"] if lines else []


def _plain(plan: Plan, standings: standing.States, run: Path, stale: Stale) -> dict[str, object]:
    return {
        "suite": plan.suite,
        "run": str(run),
        **standing.tallied(standings)._asdict(),
        "stale": len(stale.records),
        "failures": standing.listed(plan, standings, "failed"),
        "skips": standing.listed(plan, standings, "skipped"),
        "evaluations_skipped": evaluations_skipped(standings.values()),
    }
