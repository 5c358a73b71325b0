"""``advtransfer run``: run a suite, or continue it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import click

from advtransfer import runner
from advtransfer import suite as suites
from advtransfer.cli.arguments import (
    battery_option,
    device_option,
    duration,
    executor_option,
    jobs_option,
    memory_size,
    only_option,
    runs_option,
    size,
    threads_option,
)
from advtransfer.cli.commands import EXIT_INTERRUPTED, Subcommand
from advtransfer.cli.completions import complete_suite
from advtransfer.cli.output import print_json, product_stream
from advtransfer.cli.watch_view import watch_suite
from advtransfer.console import console_for
from advtransfer.host import Host
from advtransfer.runner import RunSettings, RunSummary
from advtransfer.runner.engine import split_engine_options
from advtransfer.runner.shard import Shard
from advtransfer.runner.user_configuration import load_listeners
from advtransfer.types import BatterySize, Precision


@click.command(cls=Subcommand, short_help="Run a suite, or continue it.")
@click.argument("suite", shell_complete=complete_suite)
@runs_option
@jobs_option
@threads_option
@click.option("--limit", type=click.IntRange(min=0), help="At most this many trials in this call.")
@click.option(
    "--budget",
    type=duration,
    metavar="TIME",
    help="Begin no job that is expected to end later, such as 2h; every cell once before a second seed.",
)
@only_option
@device_option
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Of training; evaluations always use float32.",
)
@click.option(
    "--kernel-batch",
    type=click.IntRange(min=1),
    metavar="ROWS",
    help="Rows that a kernel computes at once; by default a rule of device and shapes.",
)
@click.option(
    "--compile",
    is_flag=True,
    help="Train through torch's compiler; it pays where a training takes minutes.",
)
@executor_option
@click.option(
    "--engine",
    "engine",
    multiple=True,
    metavar="NAME=VALUE",
    help="Options of the executor: address=auto,retries=3; `advtransfer show PLUGIN/EXECUTOR` explains them.",
)
@click.option(
    "--shard",
    metavar="I/N",
    help="Be one of N drivers of this run, and begin with the I-th share (from 1 on) of its trials.",
)
@click.option(
    "--own-share",
    is_flag=True,
    help="End after the own share: for shards that share no run folder, which `merge` joins.",
)
@click.option(
    "--profile",
    is_flag=True,
    help="Write a trace of torch's profiler of the first fit and its evaluations; --only chooses which.",
)
@click.option(
    "--retry-failed",
    is_flag=True,
    help=(
        "Also try again what is known to fail, such as a diverged fit, and what a run (not the "
        "plan) skipped."
    ),
)
@click.option(
    "--mixed",
    is_flag=True,
    help="Continue in a folder with records of another device, thread count, precision, kernel batch, compilation or "
    "battery.",
)
@battery_option
@click.option(
    "--keep",
    type=click.Choice(["models"]),
    help="Keep fitted weights after their results are recorded.",
)
@click.option(
    "--trust-versions",
    is_flag=True,
    help="Accept records that were made with other code of a plugin under the same versions.",
)
@click.option(
    "--max-bytes",
    type=size,
    metavar="SIZE",
    help="Evict the least recently used artifacts of the cache above this, such as 20GB.",
)
@click.option(
    "--timeout",
    type=duration,
    metavar="TIME",
    help="Stop a source, fit or evaluation that takes longer, such as 30m; `timeout` of its entry wins.",
)
@click.option(
    "--memory",
    type=memory_size,
    metavar="SIZE",
    help="Stop a job whose worker uses more memory than this, such as 8GiB.",
)
@click.option(
    "--plugin",
    "listeners",
    multiple=True,
    metavar="NAME",
    help="A plugin that receives the events of the run, such as tensorboard, mlflow or wandb.",
)
@click.option(
    "--watch",
    is_flag=True,
    help="Show a run that another process drives, until it ends; Ctrl-C ends the view only.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="One JSON object at the end on stdout; progress is on stderr.",
)
@click.option("--quiet", is_flag=True, help="Only failures and the last lines.")
@click.pass_context
def command(
    ctx: click.Context,
    suite: str,
    runs: Path,
    jobs: int | None,
    threads: int,
    limit: int | None,
    budget: float | None,
    only: tuple[str, ...],
    device: str,
    precision: Precision,
    kernel_batch: int | None,
    compile: bool,
    executor: str,
    engine: tuple[str, ...],
    shard: str | None,
    own_share: bool,
    profile: bool,
    retry_failed: bool,
    mixed: bool,
    battery: BatterySize,
    keep: str | None,
    trust_versions: bool,
    max_bytes: int | None,
    timeout: float | None,
    memory: int | None,
    listeners: tuple[str, ...],
    watch: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run SUITE (a file, or the name of a shipped suite), or continue it.

    Recorded results are not computed again.

    The exit code is 0 if nothing failed, 1 if a trial failed or the run stopped, and 130 if it was
    interrupted.
    """
    if watch:
        watched = watch_suite(ctx, suite, runs, as_json=as_json, quiet=quiet)
        ctx.exit(1 if watched is None else _exit_code(watched))
    settings = RunSettings(
        runs=runs,
        jobs=jobs,
        threads=threads,
        limit=limit,
        budget=budget,
        only=only,
        device=device,
        precision=precision,
        kernel_batch=kernel_batch,
        compile=compile,
        executor=executor,
        engine=split_engine_options(engine),
        shard=Shard.from_text(shard, own_share=own_share),
        profile=profile,
        retry_failed=retry_failed,
        mixed=mixed,
        battery=battery,
        keep_models=keep == "models",
        trust_versions=trust_versions,
        max_bytes=max_bytes,
        timeout=timeout,
        memory=memory,
    )
    summary = _run_suite(suite, settings, listeners=listeners, as_json=as_json, quiet=quiet)
    ctx.exit(_exit_code(summary))


def _exit_code(summary: RunSummary) -> int:
    if summary.interrupted:
        return EXIT_INTERRUPTED
    return 1 if summary.failed or summary.stopped else 0


def _run_suite(
    suite: str, settings: RunSettings, *, listeners: Iterable[str], as_json: bool, quiet: bool
) -> RunSummary:
    """Run with a console on stderr; the product on stdout is the last lines or one JSON object."""
    host = Host.discover()
    # A wrong name ends the command here, before anything is run.
    load_listeners(listeners, host)
    loaded = suites.load(suite, host)
    # Schedulers end a job with SIGTERM, terminals with SIGHUP: each stops the run as Ctrl-C does, in order.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # `nohup` has it ignored.
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    last_lines = sys.stderr if as_json else product_stream()
    with console_for(sys.stderr, product=last_lines, quiet=quiet) as console:
        summary = runner.run_suite(loaded, settings=settings, host=host, listeners=[console])
    if as_json:
        print_json(asdict(summary), default=str)
    return summary
