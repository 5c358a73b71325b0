"""``advtransfer status``: show how far a run is, and why trials failed."""

from __future__ import annotations

from pathlib import Path

import click

from advtransfer.api import plan_text
from advtransfer.cli.commands import Subcommand
from advtransfer.cli.output import print_json, print_product
from advtransfer.console.formatting import counts_text, skipped_line
from advtransfer.host import Host
from advtransfer.planning import Plan
from advtransfer.planning.status import count_skipped_evaluations, trial_statuses
from advtransfer.result import Run
from advtransfer.runner.record_reuse import StaleRecords, find_stale_records


@click.command(cls=Subcommand, short_help="Show how far a run is, and why trials failed.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="{suite, run, done, failed, skipped, todo, stale, failures, skips, evaluations_skipped, damaged}.",
)
def command(run: Path, as_json: bool) -> None:
    """Show how far RUN (a folder such as runs/quickstart) is.

    Its trials are counted by status, and each failure and skip is shown with its reason.
    """
    opened = Run.open(run)
    plan = Plan.from_json(opened.read_plan())
    stale = find_stale_records(plan, opened, Host.discover())
    statuses = trial_statuses(plan, opened, stale=stale.records)
    if as_json:
        damaged = opened.damaged_records()
        print_json({**_status_json(plan, statuses, run, stale), "damaged": damaged})
        return
    lines = [
        *_status_lines(plan, statuses, run),
        *plan_text.stale_lines(stale, run),
        *_damaged_lines(opened),
    ]
    print_product("\n".join(lines))


def _status_lines(plan: Plan, statuses: plan_text.TrialStatuses, run: Path) -> list[str]:
    lines = [f"{plan.suite}: {counts_text(plan_text.count_statuses(statuses))}"]
    failed = [trial for trial in plan.trials if statuses[trial.id].value == "failed"]
    for trial in failed:
        for reason in plan_text.failure_lines(statuses[trial.id]):
            lines.append(f"failed  {trial.name}: {reason}")
    lines += plan_text.reason_lines(plan, statuses, "skipped")
    lines += map(skipped_line, count_skipped_evaluations(statuses.values()))
    if failed:
        lines.append(f"tracebacks: {run / 'attempts'}; to try again: the same `advtransfer run`")
    return lines


def _damaged_lines(run: Run) -> list[str]:
    lines = [
        f"damaged {run.path / path}: {reason}" for path, reason in run.damaged_records().items()
    ]
    if lines:
        lines.append(
            "damaged records count as missing; the same `advtransfer run` measures them again"
        )
    return lines


def _status_json(
    plan: Plan, statuses: plan_text.TrialStatuses, run: Path, stale: StaleRecords
) -> dict[str, object]:
    return {
        "suite": plan.suite,
        "run": str(run),
        **plan_text.count_statuses(statuses)._asdict(),
        "stale": len(stale.records),
        "failures": plan_text.trials_json(plan, statuses, "failed"),
        "skips": plan_text.trials_json(plan, statuses, "skipped"),
        "evaluations_skipped": count_skipped_evaluations(statuses.values()),
    }
