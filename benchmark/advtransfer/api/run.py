"""``advtransfer.run``: the command ``advtransfer run`` as a function."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Literal, cast

from advtransfer import runner
from advtransfer.api.arguments import BATTERY_SIZES, PRECISIONS, ArgumentChecker
from advtransfer.api.arrays import DatasetInMemory
from advtransfer.api.in_memory import SourceInMemory
from advtransfer.api.report import Report
from advtransfer.api.suite_input import SuiteInput, load_suite
from advtransfer.api.suite_objects import NO_DATASETS, NO_SOURCES, suite_with_objects
from advtransfer.console import console_for
from advtransfer.errors import Interrupted
from advtransfer.host import Host
from advtransfer.runner import RunSettings
from advtransfer.runner.user_configuration import load_listeners
from advtransfer.types import BatterySize, Json, Precision

NO_OPTIONS: Mapping[str, Json] = {}


def run(
    suite: SuiteInput,
    *,
    name: str | None = None,
    sources: Mapping[str, SourceInMemory] = NO_SOURCES,
    datasets: Mapping[str, DatasetInMemory] = NO_DATASETS,
    runs: str | os.PathLike[str] = "runs",
    jobs: int | Literal["auto"] = "auto",
    threads: int = 1,
    limit: int | None = None,
    budget: float | str | None = None,
    only: str | Iterable[str] = (),
    device: str = "cpu",
    precision: Precision = "float32",
    kernel_batch: int | None = None,
    compile: bool = False,
    executor: str = "local/pool",
    engine: Mapping[str, Json] = NO_OPTIONS,
    shard: tuple[int, int] | None = None,
    own_share: bool = False,
    profile: bool = False,
    retry_failed: bool = False,
    mixed: bool = False,
    battery: BatterySize = "small",
    keep: Literal["models"] | None = None,
    trust_versions: bool = False,
    max_bytes: int | str | None = None,
    timeout: float | str | None = None,
    memory: int | str | None = None,
    plugin: str | Iterable[str] = (),
    quiet: bool = False,
) -> Report:
    """Run a suite, or continue it, and return its report.

    This is the command ``advtransfer run``: the same ids, the same run folder, so a run that begins
    here continues in a shell, and back. Progress goes to standard error. Trials that fail do not
    raise: see `Report.ok` and `Report.problems`.

    Args:
        suite: The name of a shipped suite, the path of a file, a text with at least one line break,
            or a mapping. Paths inside a text or a mapping are relative to the current folder.
        name: Name of a suite that is a text or a mapping, and so of its run folder.
        sources: Modules in memory, as `advtransfer.source` returns them, by the name of their entry
            under ``sources``; an entry of that name in the suite is replaced.
        datasets: Arrays in memory, as `advtransfer.dataset` returns them, likewise.
        runs: The folder of all runs, with one folder for each suite.
        jobs: Workers at once; ``"auto"`` fills the processors.
        threads: CPU threads for each worker.
        limit: At most this many trials in this call.
        budget: Begin no job that is expected to end later than this, a number of seconds or a text such
            as ``"2h"``; every cell is run once before any gets a second seed.
        only: Trials to run: names with ``*``, or ``"source=linf*,n=20"``; one text or several.
        device: ``"cpu"``, ``"cuda"`` for every GPU, or GPUs by number, as ``"cuda:0,cuda:1"``.
        precision: Of training; evaluations always use float32.
        kernel_batch: Rows that a kernel computes at once; None for the rule of device and shapes.
            Records of another number are made in another environment.
        compile: Train through torch's compiler: it pays where training takes minutes, since each shape
            is compiled for many seconds first. Its records are made in another environment.
        executor: The engine, as plugin/factory.
        engine: Options of the executor's factory, such as ``{"address": "auto"}``.
        shard: ``(i, n)`` to be one of n drivers of this run, and to begin with the i-th share (from 1
            on) of its trials; all take what is left.
        own_share: End after the own share: for shards that share no run folder.
        profile: Write a trace of torch's profiler of the first fit and its evaluations into the folder
            ``profiles`` of the run.
        retry_failed: Also try again what is known to fail, such as a diverged fit, and what a run
            (not the plan) skipped.
        mixed: Continue in a folder with records of another device, thread count, precision, kernel batch compilation
            or battery.
        battery: How thoroughly each robust accuracy is verified: ``"small"``, ``"full"`` or
            ``"none"``.
        keep: ``"models"`` keeps fitted weights after their results are recorded.
        trust_versions: Accept records that were made with other code of a plugin under the same
            versions.
        max_bytes: Evict the least recently used artifacts of the cache above this size, a number or
            a text such as ``"20GB"``.
        timeout: Longest time of a source, a fit or an evaluation, in seconds or as a text such as
            ``"30m"``; ``timeout`` of its entry wins.
        memory: Memory that a worker may use, a number of bytes or a text such as ``"8GiB"``; a job
            above it is stopped and has failed.
        plugin: Plugins that receive the events of trials; one name or several.
        quiet: Show only failures.

    Raises:
        BadInput: The suite or the arguments are wrong, or the run folder was made with other
            settings; holds every problem, in the words of the command.
        UnknownName: No component or plugin has a name.
        Interrupted: Ctrl-C, or the interrupt of a notebook. It is a KeyboardInterrupt, raised after
            the run has ended in order; the same call continues.
    """
    check = ArgumentChecker()
    settings = RunSettings(
        runs=check.folder("runs", runs),
        jobs=check.worker_count("jobs", jobs),
        threads=check.required_number("threads", threads, least=1),
        limit=check.whole_number("limit", limit, least=0),
        budget=check.duration("budget", budget),
        only=check.texts("only", only),
        device=check.text("device", device, example="cuda"),
        precision=cast(Precision, check.word("precision", precision, PRECISIONS)),
        kernel_batch=check.whole_number("kernel_batch", kernel_batch, least=1),
        compile=check.flag("compile", compile),
        executor=check.text("executor", executor, example="local/pool"),
        engine=check.options("engine", engine),
        shard=check.shard("shard", shard, own_share=check.flag("own_share", own_share)),
        profile=check.flag("profile", profile),
        retry_failed=check.flag("retry_failed", retry_failed),
        mixed=check.flag("mixed", mixed),
        battery=cast(BatterySize, check.word("battery", battery, BATTERY_SIZES)),
        keep_models=keep is not None and check.word("keep", keep, ["models"]) == "models",
        trust_versions=check.flag("trust_versions", trust_versions),
        max_bytes=check.byte_count("max_bytes", max_bytes),
        timeout=check.duration("timeout", timeout),
        memory=check.byte_count("memory", memory, least=1),
    )
    listeners = check.texts("plugin", plugin)
    check.flag("quiet", quiet)
    check.raise_if_any()
    host = Host.discover()
    load_listeners(listeners, host)
    # The report has the last lines; here they would be shown twice in a shell.
    stream = sys.stderr or io.StringIO()
    with (
        suite_with_objects(
            lambda over: load_suite(suite, name, host, over=over),
            sources=sources,
            datasets=datasets,
            settings=settings,
            host=host,
        ) as placed,
        console_for(stream, product=io.StringIO(), quiet=quiet, seconds_between=2) as console,
    ):
        summary = runner.run_suite(
            placed.suite, settings=placed.settings, host=host, listeners=[console]
        )
    report = Report(summary.run, summary, placed=placed)
    if summary.interrupted:
        raise Interrupted(str(report))
    return report
