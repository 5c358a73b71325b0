"""``advtransfer plan``: show the trials of a suite, and which are done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import click

from advtransfer.api.plan import plan_suite
from advtransfer.cli.arguments import (
    battery_option,
    device_option,
    executor_option,
    jobs_option,
    only_option,
    runs_option,
    threads_option,
)
from advtransfer.cli.commands import Subcommand
from advtransfer.cli.completions import complete_suite
from advtransfer.cli.output import print_json, print_product
from advtransfer.runner.sbatch import sbatch_options, sbatch_script
from advtransfer.types import BatterySize


@click.command(cls=Subcommand, short_help="Show the trials of a suite, and which are done.")
@click.argument("suite", shell_complete=complete_suite)
@runs_option
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help=(
        "{suite, trials: [{id, source, ..., state, reason}], stale, warnings: [{kind, text}]}, and "
        "with --estimate also estimate: {seconds, wall_seconds, core_hours, ...}; with --without-data "
        "also missing: [{kind, name}], and for each trial provisional."
    ),
)
@only_option
@click.option(
    "--estimate",
    is_flag=True,
    help="Also tell the hours, memory and disk that the trials to do will take.",
)
@click.option(
    "--without-data",
    is_flag=True,
    help="Count the trials although files or folders of the suite are missing here.",
)
@jobs_option
@threads_option
@device_option
@executor_option
@battery_option
@click.option(
    "--sbatch",
    is_flag=False,
    flag_value="",
    metavar="[NAME=VALUE]",
    help="Print a file for Slurm's sbatch instead: after SUITE, as --sbatch n=8,partition=cpu,time=8:00:00.",
)
def command(
    suite: str,
    runs: Path,
    as_json: bool,
    only: tuple[str, ...],
    estimate: bool,
    without_data: bool,
    jobs: int | None,
    threads: int,
    device: str,
    executor: str,
    battery: BatterySize,
    sbatch: str | None,
) -> None:
    """Show the trials of SUITE (a file, or the name of a shipped suite) by status.

    A trial is done, failed, skipped or to do. What the page will not be able to show is warned of.
    Nothing is run without --estimate, which takes the seconds that records of this machine tell, and
    runs one trial of each kind of work that none tells of, in the run folder. With --without-data a missing
    file or folder is named, and counts as if it were there: ids that depend on it are provisional. A
    grid of more than 200 trials is shown as its axes, counts and reasons. --jobs, --threads, --device,
    --executor and --battery are those of the run that --estimate and --sbatch are for.
    """
    options = None if sbatch is None else sbatch_options(sbatch, estimate=estimate)
    table = plan_suite(
        suite,
        runs=runs,
        only=only,
        estimate=estimate,
        jobs="auto" if jobs is None else jobs,
        threads=threads,
        device=device,
        executor=executor,
        battery=battery,
        quiet=as_json,
        without_data=without_data,
    )
    if options is not None:
        name = cast("Mapping[str, str]", table.data)["suite"]
        settings = ["--threads", str(threads), "--device", device, "--battery", battery]
        settings += [
            "--runs",
            str(runs),
            *(word for pattern in only for word in ("--only", pattern)),
        ]
        line = ["advtransfer", "run", suite, "--jobs", "1", *settings]
        script = sbatch_script(line, name=name, trials=len(table), options=options)
        print_product(script, newline=False)
    elif as_json:
        print_json(table.data)
    else:
        print_product(str(table))
