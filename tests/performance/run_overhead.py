"""What the host adds to jobs and trials that do nothing, and what two jobs reach beside two runs of one job each.

    python tests/performance/run_overhead.py [--trials N] [--busy-trials N] [--busy SECONDS]

Three figures, all after a warm-up in which workers start and import torch:

- a job with nothing left to do, from the driver to a worker and back: its claim, a look at its records, its report. At
  most 3 ms.
- a trial whose components return at once: besides, its data are loaded, two records and the weights are written to
  disk, and all that plugins share is compared before and after each component. The driver's own part is CPU time.
- trials a second of two jobs beside two runs of one job in two folders, each trial computing for some milliseconds: at
  least .93 of them together.

They need a machine without other work.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from concurrent.futures import Future
from pathlib import Path

from side_by_side.claims import at_least, at_most, report

from advtransfer.executors.process_pool import ProcessPool
from advtransfer.host import Host
from advtransfer.jobs import Job, Report
from advtransfer.planning import make_plan
from advtransfer.planning.nodes import SuiteIndex
from advtransfer.result import Run
from advtransfer.runner.schedule import JobTemplate, pending_jobs
from advtransfer.runner.settings import RunSettings
from advtransfer.suite import load

TRIALS, BUSY_TRIALS, BUSY_SECONDS = 1_000, 400, 0.05
MOST_MILLISECONDS, LEAST_SHARE = 3.0, 0.93
WARM_UP = 50
"""Trials that end before the clock starts, while workers start."""

PLUGIN = '''
"""Components that do nothing, or compute for a while."""

import time

import torch

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Evaluation, Fitted, Measurement, Transfer, component


class Nothing:
    def model(self, **given):
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))

    def fit(self, model, **given):
        return Fitted()


class Busy:
    def __init__(self, seconds):
        self.seconds = seconds

    def measure(self, given, *, context):
        end = time.process_time() + self.seconds
        while time.process_time() < end:
            pass
        return Measurement(metrics={"nothing": 0.0})


@component(needs=[])
def nothing() -> Transfer:
    """Fit nothing."""
    return Nothing()


@component(needs=[])
def busy(*, seconds: float = 0.0) -> Evaluation:
    """Compute for some seconds of CPU, and measure nothing."""
    return Busy(seconds)


@hookimpl
def register_transfers():
    return [nothing]


@hookimpl
def register_evaluations():
    return [busy]
'''

SUITE = """
version: 1
title: Trials that do nothing
datasets:
  digits: {use: vision/digits, classes: [0, 1]}
targets:
  digits: {data: digits, n: [20, 30, 40, 50], seeds: SEEDS, test: 20}
transfers:
  nothing: {use: noop/nothing}
evaluations:
  busy: {use: noop/busy, seconds: BUSY}
leaderboard: {columns: [busy.nothing]}
"""


def write_plugin(folder: Path) -> dict[str, str]:
    """Write the plugin as an installed one; return the environment that finds it."""
    site = folder / "site"
    information = site / "noop-1.0.dist-info"
    information.mkdir(parents=True)
    (site / "noop_plugin.py").write_text(PLUGIN)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: noop\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[advtransfer]\nnoop = noop_plugin\n")
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


DRIVER = """
import atexit, pathlib, sys, time
note = pathlib.Path(sys.argv[4], "driver_seconds")
atexit.register(lambda: note.write_text(str(time.process_time())))
from advtransfer.cli import main
main()
"""
"""The command, which also notes the CPU seconds of its own process beside the run."""


class Runs:
    """Runs of one suite, each in a folder of its own."""

    def __init__(self, folder: Path, *, trials: int, busy: float) -> None:
        self.folder = folder
        self.environment = write_plugin(folder)
        self.suite = folder / "noop.yaml"
        text = SUITE.replace("SEEDS", str(trials // 4)).replace("BUSY", str(busy))
        self.suite.write_text(text)

    def start(self, name: str, *, jobs: int) -> subprocess.Popen[bytes]:
        """Start a run in the folder `name`, with a cache of its own."""
        options = ["--runs", str(self.folder / name), "--jobs", str(jobs), "--quiet"]
        command = [sys.executable, "-c", DRIVER, "run", str(self.suite), *options]
        cache = {"ADVTRANSFER_CACHE": str(self.folder / f"{name} cache")}
        return subprocess.Popen(
            command, env=self.environment | cache, stdout=subprocess.DEVNULL, cwd=self.folder
        )

    def finish(self, *processes: subprocess.Popen[bytes]) -> None:
        """Wait for runs; raise where one failed."""
        codes = [process.wait() for process in processes]
        if any(codes):
            raise SystemExit(f"runs ended with {codes}")

    def ends(self, name: str) -> list[float]:
        """Return the times at which the trials of a run ended, in order."""
        log = self.folder / name / "noop" / "events.jsonl"
        events = map(json.loads, log.read_text().splitlines())
        return sorted(each["time"] for each in events if each["event"] == "trial_finished")

    def driver_seconds(self, name: str) -> float:
        """Return the CPU seconds of the last driver of a run, without its workers."""
        return float((self.folder / name / "driver_seconds").read_text())

    def jobs(self, name: str) -> list[Job]:
        """Return the jobs of all trials of a run, as if none was done."""
        sys.path.insert(0, str(self.folder / "site"))
        host = Host.discover()
        suite = load(str(self.suite), host)
        plan = make_plan(suite, host)
        run = Run(self.folder / name / "noop")
        settings = RunSettings(runs=run.path.parent, cache=self.folder / f"{name} cache")
        environment = next(iter(run.read_environments()))
        template = JobTemplate(environment, {}, settings, settings.cache)
        pending = pending_jobs(plan.trials, SuiteIndex(suite), set(), plan.sources)
        return [template.job_for(each, run) for each in pending]


def seconds_per_job(jobs: list[Job]) -> float:
    """Return the seconds of each job in a pool of one worker, two in flight as in a run."""
    waiting: deque[Future[Report]] = deque()
    began = 0.0
    with ProcessPool(jobs=1, threads=1).start() as pool:
        for number, job in enumerate(jobs):
            if number == WARM_UP:
                began = time.perf_counter()
            waiting.append(pool.submit(job))
            if len(waiting) == 2:
                require_done(waiting.popleft())
        while waiting:
            require_done(waiting.popleft())
        return (time.perf_counter() - began) / (len(jobs) - WARM_UP)


def require_done(future: Future[Report]) -> None:
    """Wait for a job; raise where it did not end as done."""
    report = future.result()
    if report.status != "done":
        raise SystemExit(f"a job ended as {report.status}: {report.reason}")


def pace(ends: list[float]) -> float:
    """Return the trials a second after the first `WARM_UP`."""
    return (len(ends) - WARM_UP) / (ends[-1] - ends[WARM_UP - 1])


def main() -> int:
    """Measure what the host adds, and two jobs beside two runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--busy-trials", type=int, default=BUSY_TRIALS)
    parser.add_argument("--busy", type=float, default=BUSY_SECONDS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        runs = Runs(Path(name), trials=options.trials, busy=0.0)
        runs.finish(runs.start("one", jobs=1))
        milliseconds = 1000 / pace(runs.ends("one"))
        driver = runs.driver_seconds("one")
        runs.finish(runs.start("one", jobs=1))
        driver = 1000 * (driver - runs.driver_seconds("one")) / options.trials
        job = 1000 * seconds_per_job(runs.jobs("one"))
    sys.stdout.write(
        f"a trial whose components do nothing: {milliseconds:.1f} ms in the worker, beside it "
        f"{driver:.2f} ms of CPU in the driver\n"
    )
    with tempfile.TemporaryDirectory() as name:
        runs = Runs(Path(name), trials=options.busy_trials, busy=options.busy)
        runs.finish(runs.start("a", jobs=1), runs.start("b", jobs=1))
        runs.finish(runs.start("both", jobs=2))
        apart = pace(runs.ends("a")) + pace(runs.ends("b"))
        together = pace(runs.ends("both"))
    return report(
        [
            at_most(
                "a job with nothing left to do: what the host adds",
                job,
                MOST_MILLISECONDS,
                unit="ms",
                times=f"mean of {options.trials:,} jobs",
            ),
            at_least(
                "run --jobs 2: trials a second beside two runs of one job each",
                together / apart,
                LEAST_SHARE,
                times=f"{together:.1f} a second, two runs {apart:.1f}",
            ),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
