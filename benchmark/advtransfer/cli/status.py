"""``advtransfer status``: show how far a run is, and why trials failed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from advtransfer.api import plan_text
from advtransfer.cli.commands import Subcommand
from advtransfer.cli.completions import complete_run
from advtransfer.cli.output import print_json, print_product
from advtransfer.console.formatting import counts_text, format_duration, skipped_line
from advtransfer.host import Host
from advtransfer.planning import Plan
from advtransfer.planning.status import count_skipped_evaluations, trial_statuses
from advtransfer.result import Run
from advtransfer.runner.phase_times import PhaseTimes, phase_times
from advtransfer.runner.record_reuse import (
    StaleRecords,
    find_stale_records,
    find_unasked_records,
)
from advtransfer.text import align_columns, pluralize


@click.command(cls=Subcommand, short_help="Show how far a run is, and why trials failed.")
@click.argument("run", type=click.Path(path_type=Path), shell_complete=complete_run)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help=(
        "{suite, run, done, failed, skipped, todo, stale, unasked, failures, skips, "
        "evaluations_skipped, damaged}, and with --time also time: {seconds, unrecorded, waiting, copied}."
    ),
)
@click.option(
    "--time",
    "with_time",
    is_flag=True,
    help="Also sum the seconds of workers by phase: sources, fits, evaluations, batteries, waiting.",
)
@click.option(
    "--unasked",
    "list_unasked",
    is_flag=True,
    help="List the records that the plan does not ask for.",
)
def command(run: Path, as_json: bool, with_time: bool, list_unasked: bool) -> None:
    """Show how far RUN (a folder such as runs/quickstart) is.

    Its trials are counted by status, and each failure and skip is shown with its reason. Records that
    the plan does not ask for, because the suite was changed, are counted: they are on no page, and are
    never deleted.
    """
    opened = Run.open(run)
    plan = Plan.from_json(opened.read_plan())
    stale = find_stale_records(plan, opened, Host.discover())
    statuses = trial_statuses(plan, opened, stale=stale.records)
    unasked = find_unasked_records(plan, opened)
    times = phase_times(opened, plan) if with_time else None
    if as_json:
        damaged = opened.damaged_records()
        shown = _status_json(plan, statuses, run, stale)
        time = {} if times is None else {"time": asdict(times)}
        print_json({**shown, "unasked": unasked, "damaged": damaged, **time})
        return
    if list_unasked:
        rows = [_record_row(opened, id) for id in unasked]
        print_product(align_columns(("record", "kind", "component"), rows))
        return
    lines = [
        *_status_lines(plan, statuses, run),
        *plan_text.stale_lines(stale, run),
        *_unasked_lines(unasked, run),
        *_damaged_lines(opened),
        *([] if times is None else _time_lines(times)),
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


def _time_lines(times: PhaseTimes) -> list[str]:
    rows = [(phase, format_duration(taken)) for phase, taken in times.seconds.items()]
    if times.unrecorded is not None:
        rows.append(("in no record", format_duration(times.unrecorded)))
    if times.waiting is not None:
        rows.append(("waiting", format_duration(times.waiting)))
    lines = align_columns(("phase", "time of workers"), rows).splitlines()
    if times.copied:
        lines.append(f"copied from other runs, where it took {format_duration(times.copied)}")
    return lines


def _unasked_lines(unasked: list[str], run: Path) -> list[str]:
    if not unasked:
        return []
    count = pluralize(len(unasked), "record")
    return [f"not asked for by the plan: {count}; `advtransfer status {run} --unasked` lists them"]


def _record_row(run: Run, id: str) -> tuple[str, str, str]:
    record = run.read_record(id)
    asked = record["asked"]
    component = str(asked.get("use", "")) if isinstance(asked, dict) else ""
    return id[:12], str(record["kind"]), component


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
