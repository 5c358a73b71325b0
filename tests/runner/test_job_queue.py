"""The order in which jobs begin, on a clock that jumps to the next end of a job."""

from __future__ import annotations

import random
from concurrent.futures import Future
from pathlib import Path

import pytest

from advtransfer.jobs import Job, Report
from advtransfer.node import Node
from advtransfer.planning import JobRequest
from advtransfer.result import Run
from advtransfer.runner.job_queue import Budget, JobQueue, PendingJob
from advtransfer.runner.schedule import JobScheduler, JobTemplate
from advtransfer.runner.settings import RunSettings
from advtransfer.runner.simulation import SilentReports, SimulatedWorkers, simulated_seconds

DATA = Node("data", "x/digits")
SOURCE_SECONDS = 600.0


def source(number: int) -> PendingJob:
    return PendingJob(JobRequest(Node("source", "x/source", options={"seed": number})), "source")


def fit(of: PendingJob, number: int, *, built: bool = False, seed: int = 0) -> PendingJob:
    subset = Node(
        "subset", "host/subset", options={"n": number, "seed": seed}, inputs={"data": DATA}
    )
    node = Node("fit", "x/fit", inputs={"source": of.request.node, "subset": subset})
    return PendingJob(JobRequest(node), "fit", set() if built else {of.id}, round=seed)


def scheduler(
    jobs: list[PendingJob], workers: SimulatedWorkers, *, budget: Budget | None = None
) -> JobScheduler:
    template = JobTemplate("", {}, RunSettings(cache=Path()), Path())
    reports = SilentReports()
    return JobScheduler(jobs, workers, template, Run(Path()), reports, clock=workers, budget=budget)


@pytest.mark.parametrize("workers", [100, 1000])
def test_many_workers_take_little_longer_than_any_order_must(workers: int) -> None:
    """14,400 fits of 36 sources, with the spread of fits that were measured."""
    draw = random.Random(0)
    sources = [source(number) for number in range(36)]
    fits = [fit(one, number) for one in sources for number in range(400)]
    seconds = {job.id: SOURCE_SECONDS * draw.uniform(0.8, 1.2) for job in sources}
    seconds |= {job.id: draw.lognormvariate(5.0, 0.4) for job in fits}
    fits.sort(key=lambda job: -seconds[job.id])

    took = simulated_seconds([*sources, *fits], workers=workers, seconds=seconds)

    fits_total = sum(seconds[job.id] for job in fits)
    total = sum(seconds.values()) / workers
    first_source = min(seconds[job.id] for job in sources)
    chain = max(seconds[job.id] + sum(seconds[one] for one in job.waits_for) for job in fits)
    assert took <= 1.05 * max(total, chain, first_source + fits_total / workers)


def test_values_that_jobs_share_are_made_by_one_of_them() -> None:
    sources = [source(number) for number in range(2)]
    fits = [fit(one, number, built=True) for one in sources for number in range(3)]
    workers = SimulatedWorkers(2, lambda id: 1.0)

    scheduler(fits, workers).run_jobs(grace=0)

    first_two = [job.shared_values for job in fits if workers.begun[job.id] == 0]
    assert first_two == [fits[0].shared_values, fits[3].shared_values]


def test_no_worker_waits_for_values_that_another_makes() -> None:
    one_source = source(0)
    workers = SimulatedWorkers(3, lambda id: 1.0)

    scheduler([fit(one_source, number, built=True) for number in range(3)], workers).run_jobs(
        grace=0
    )

    assert set(workers.begun.values()) == {0.0}


def test_busy_job_does_not_keep_a_worker_from_another() -> None:
    jobs = [fit(source(number), 1, built=True) for number in range(2)]
    queue = JobQueue(jobs)
    first = queue.take(now=0, idle=True)
    assert first is jobs[0]
    queue.requeue(first, now=0)

    assert queue.take(now=0, idle=True) is jobs[1]
    assert queue.take(now=0.5, idle=True) is None
    queue.end(jobs[1], now=0.5)
    assert queue.take(now=0.5, idle=True) is jobs[0]


def test_busy_job_is_tried_again_after_a_second_if_no_other_ends() -> None:
    (job,) = jobs = [fit(source(0), 1, built=True)]
    queue = JobQueue(jobs)
    queue.requeue(queue.take(now=0, idle=True) or job, now=0)

    assert queue.take(now=0.9, idle=True) is None
    assert queue.take(now=1.0, idle=True) is job


def test_budget_leaves_what_would_end_later_with_what_waits_for_it() -> None:
    long, short = source(0), source(1)
    fits = [fit(one, number) for one in (long, short) for number in range(2)]
    seconds = {long.id: 50.0, short.id: 5.0, **{job.id: 4.0 for job in fits}}
    workers = SimulatedWorkers(1, seconds.__getitem__)
    budget = Budget(12.0, lambda job: seconds[job.id])

    run = scheduler([long, short, *fits], workers, budget=budget)
    run.run_jobs(grace=0)

    assert list(workers.begun) == [short.id, fits[2].id]
    assert {job.id for job in run.queue.left_over} == {long.id, *(fits[k].id for k in (0, 1, 3))}


def test_budget_runs_every_cell_before_a_second_seed() -> None:
    first, second = source(0), source(1)
    first_round = [fit(first, number) for number in range(3)]
    second_round = [fit(second, number, seed=1) for number in range(3)]
    second.round = 1
    seconds = {first.id: 30.0, second.id: 1.0}
    workers = SimulatedWorkers(2, lambda id: seconds.get(id, 2.0))
    budget = Budget(1000.0, lambda job: None)

    scheduler([first, *first_round, second, *second_round], workers, budget=budget).run_jobs(
        grace=0
    )

    began = [workers.begun[job.id] for job in (*first_round, *second_round)]
    assert began == sorted(began)
    assert workers.begun[second.id] == 0  # An idle worker builds the source of the next round.


def test_worker_that_must_be_retired_ends_the_run() -> None:
    class Retiring(SimulatedWorkers):
        def submit(self, job: Job) -> Future[Report]:
            future: Future[Report] = Future()
            future.set_result(Report(job.id, "busy", (), "unfit", "unfit"))
            return future

    run = scheduler([fit(source(0), 1, built=True)], Retiring(1, lambda id: 1.0))
    run.run_jobs(grace=0)

    assert run.stop_reason == "unfit"
