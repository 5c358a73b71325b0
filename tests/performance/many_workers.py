"""How long 100 and 1,000 workers take for 14,400 trials, beside the least that any order of the jobs takes.

    python tests/performance/many_workers.py

The scheduler is that of a run; its clock jumps to the next end of a job. A job takes as long as one that was
measured: the records of the published quickstart have the seconds of its sources, fits and evaluations, from which
each job draws. The least is the largest of three: all work over the number of workers; the longest chain of a source
and a fit; the end of the first source, and all fits over the number of workers. The claim is at most 1.05 times as
long where the times of jobs are known; the script fails above. Where only the median of each kind is known, or nothing,
the ratio is printed and not held to.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from side_by_side.claims import at_most, report

from advtransfer.host import Host
from advtransfer.planning import make_plan
from advtransfer.planning.nodes import SuiteIndex
from advtransfer.result import Run
from advtransfer.runner.job_queue import ExpectedSeconds, PendingJob
from advtransfer.runner.schedule import pending_jobs
from advtransfer.runner.simulation import simulated_seconds
from advtransfer.suite import load

MOST_RATIO = 1.05
PUBLISHED = Path(__file__).parents[2] / "leaderboard" / "results" / "quickstart" / "advtransfer"
SUITE = """
version: 1
title: As many trials as the largest paper's grid
datasets:
  low: {use: vision/digits, classes: [0, 1, 2, 3, 4]}
sources:
  s: {use: vision/trained, data: low, sweep: {epochs: [1, 2, 3, 4]}, seeds: 3}
targets:
TARGETS
transfers:
  probe: {use: finetune/linear_probe}
  block: {use: finetune/blocks, blocks: 1, epochs: 10}
evaluations:
  clean: {use: foolbox/clean_accuracy}
"""
TARGET = "  t{0}: {{data: {{use: vision/digits, classes: [{0}, 9]}}, n: [SIZES], seeds: 10}}"


def measured_seconds() -> dict[str, list[float]]:
    """The seconds of the published jobs, by the component of their source or fit."""
    # Any: JSON
    records: dict[str, Any] = {
        str(record["id"]): record for record in Run(PUBLISHED).read_records()
    }
    jobs: dict[str, float] = defaultdict(float)
    for id, record in records.items():
        if record["kind"] != "battery":
            job = record["asked"]["inputs"].get("model", id)
            jobs[job] += sum(record["observed"]["seconds"].values())
    kinds: dict[str, list[float]] = defaultdict(list)
    for id, seconds in jobs.items():
        kinds[records[id]["asked"]["use"]].append(seconds)
    return kinds


def main() -> int:
    """Simulate the run with both numbers of workers."""
    sizes = ", ".join(str(20 + 10 * k) for k in range(10))
    targets = "\n".join(TARGET.format(k) for k in range(6)).replace("SIZES", sizes)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "grid.yaml"
        path.write_text(SUITE.replace("TARGETS", targets))
        host = Host.discover()
        suite = load(str(path), host)
        plan = make_plan(suite, host)
    if len(plan.trials) != 14_400:
        raise SystemExit(f"planned {len(plan.trials)} trials; expected 14,400")
    kinds = measured_seconds()
    medians = {use: statistics.median(seconds) for use, seconds in kinds.items()}
    draw = random.Random(0)
    drawn: dict[str, float] = {}

    def seconds_of(job: PendingJob) -> float:
        if job.id not in drawn:
            drawn[job.id] = draw.choice(kinds[job.request.node.use])
        return drawn[job.id]

    known: dict[str, ExpectedSeconds | None] = {
        "times known": seconds_of,
        "medians known": lambda job: medians[job.request.node.use],
        "nothing known": None,
    }
    claims = []
    for what, expected in known.items():
        jobs = pending_jobs(
            plan.trials, SuiteIndex(suite), set(), plan.sources, expected_seconds=expected
        )
        seconds = {job.id: seconds_of(job) for job in jobs}
        sources = [seconds[job.id] for job in jobs if job.kind == "source"]
        fits = [job for job in jobs if job.kind != "source"]
        chain = max(seconds[job.id] + max(seconds[one] for one in job.waits_for) for job in fits)
        for workers in (100, 1000):
            took = simulated_seconds(jobs, workers=workers, seconds=seconds)
            after_first = min(sources) + sum(seconds[job.id] for job in fits) / workers
            least = max(sum(seconds.values()) / workers, chain, after_first)
            times = f"{took:.0f} s, least {least:.0f} s, simulated"
            name = f"{len(plan.trials):,} trials on {workers:,} workers, {what}"
            if what == "times known":
                claim = f"{name}: time beside the least of any order"
                claims.append(at_most(claim, took / least, MOST_RATIO, times=times))
            else:
                sys.stdout.write(f"{name}: ratio {took / least:.3f} ({times}), no limit\n")
    return report(claims)


if __name__ == "__main__":
    sys.exit(main())
