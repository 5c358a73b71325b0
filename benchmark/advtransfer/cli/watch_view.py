"""The view of ``advtransfer run SUITE --watch``: the console of a run that another process drives."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click
from click.core import ParameterSource

from advtransfer.cli.output import print_json, print_note, product_stream
from advtransfer.console import console_for
from advtransfer.errors import BadInput, Problem
from advtransfer.result import Run
from advtransfer.runner import RunSummary
from advtransfer.runner.watch import watch_run

OPTIONS_OF_VIEW = frozenset({"suite", "runs", "watch", "as_json", "quiet"})


def watch_suite(
    ctx: click.Context, suite: str, runs: Path, *, as_json: bool, quiet: bool
) -> RunSummary | None:
    """Show a run at work until it ends, and return its summary; None if it was killed.

    Raises:
        BadInput: Other options are given, or nothing is at work.
    """
    _refuse_other_options(ctx)
    path = Path(suite)
    folder = runs / (path.stem if path.suffix in (".yaml", ".yml") else suite)
    last_lines = sys.stderr if as_json else product_stream()
    try:
        with console_for(sys.stderr, product=last_lines, quiet=quiet) as console:
            summary = watch_run(Run.open(folder), console)
    except KeyboardInterrupt:
        print_note("the view has ended; the run goes on")
        raise
    if summary is None:
        print_note(f"the run has ended without its last lines; see `advtransfer status {folder}`")
    elif as_json:
        print_json(asdict(summary), default=str)
    return summary


def _refuse_other_options(ctx: click.Context) -> None:
    given = [
        parameter.opts[0]
        for parameter in ctx.command.params
        if parameter.name not in OPTIONS_OF_VIEW
        and ctx.get_parameter_source(str(parameter.name)) is not ParameterSource.DEFAULT
    ]
    if given:
        found = f"--watch with {', '.join(given)}"
        next_step = "leave them out: the run that is watched has its own settings"
        raise BadInput([Problem(found, "--runs, --json and --quiet beside it alone", next_step)])
