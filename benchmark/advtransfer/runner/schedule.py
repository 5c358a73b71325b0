"""Jobs of a run and their scheduling: sources before the fits that need them, a bounded number in flight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol

from advtransfer.jobs import Executor, Job, Report
from advtransfer.planning import JobRequest, Trial, job_requests
from advtransfer.planning.nodes import SuiteIndex, job_entries
from advtransfer.planning.status import missing_records
from advtransfer.result import Run
from advtransfer.runner.clock import Clock, Finished, SystemClock
from advtransfer.runner.job_queue import Budget, ExpectedSeconds, JobQueue, PendingJob
from advtransfer.runner.settings import RunSettings
from advtransfer.runner.shard import is_at_work_elsewhere, report_without_worker
from advtransfer.suite.resources import Resources
from advtransfer.types import Json


def pending_jobs(
    trials: Iterable[Trial],
    cells: SuiteIndex,
    done: set[str],
    names: Mapping[str, str],
    *,
    hopeless: Collection[str] = (),
    expected_seconds: ExpectedSeconds | None = None,
    in_rounds: bool = False,
) -> list[PendingJob]:
    """Return the jobs behind trials: sources and references first, then the others, longest first.

    Where it is not known how long a job takes, those on most images come first. A result that several
    trials share, since it needs no fit, is a job of its own.

    Args:
        trials: The trials.
        cells: Nodes of the suite.
        done: Ids with a record.
        names: Names of sources and references, by id.
        hopeless: Ids that failed permanently; they are not requested again.
        expected_seconds: Returns how long a job is expected to take; None where nothing is known.
        in_rounds: Put every cell's first seed before any second seed.
    """
    jobs: dict[str, PendingJob] = {}
    settled = done.union(hopeless)
    trials = list(trials)
    rounds = _seed_rounds(trials) if in_rounds else Counter()
    # The longest first: a long one at the end would keep one worker busy and the others idle.
    for trial in sorted(trials, key=_training_size, reverse=True):
        missing = missing_records(trial, settled)
        builds = [id for id in trial.builds if id not in done]
        trial_jobs = []
        for id in builds:
            source = cells.source_entries[id]
            new_job = PendingJob(JobRequest(source.node), names[id])
            new_job.resources = source.resources.or_else(cells.suite.resources)
            trial_jobs.append(new_job)
        for request in job_requests(cells, trial, missing):
            new_job = PendingJob(request, trial.name, set(builds), [trial])
            entries = job_entries(cells, trial, request)
            written = Resources.largest(entry.resources for entry in entries)
            new_job.resources = written.or_else(cells.suite.resources)
            trial_jobs.append(new_job)
        for new_job in trial_jobs:
            new_job.round = rounds[trial.id]
            job = jobs.setdefault(new_job.id, new_job)
            job.round = min(job.round, new_job.round)
            if job is not new_job:
                job.trials += new_job.trials
    return sorted(jobs.values(), key=_job_order(jobs.values(), expected_seconds))


def _training_size(trial: Trial) -> float:
    return float("inf") if trial.n == "all" else trial.n


def _seed_rounds(trials: Iterable[Trial]) -> Counter[str]:
    """Return the number of trials of the same cell with earlier seeds, by id of the trial."""
    rounds: Counter[str] = Counter()
    seeds: Counter[tuple[Json, ...]] = Counter()
    for trial in sorted(trials, key=lambda trial: (trial.seed, trial.replicate or 0)):
        cell = (trial.row, trial.adapter, trial.target, trial.n, trial.transfer, trial.submission)
        rounds[trial.id] = seeds[cell]
        seeds[cell] += 1
    return rounds


def _job_order(
    jobs: Iterable[PendingJob], expected_seconds: ExpectedSeconds | None
) -> Callable[[PendingJob], tuple[float, ...]]:
    """Return the sort key of jobs: by round, sources first, then the longest first where all are known."""
    seconds = {job.id: expected_seconds(job) for job in jobs} if expected_seconds else {}
    known = None not in seconds.values()

    def order(job: PendingJob) -> tuple[float, ...]:
        longest_first = -(seconds.get(job.id) or 0.0) if known else 0.0
        return job.round, job.kind != "source", longest_first

    return order


JOBS_PER_WORKER = 2
"""Jobs in flight per worker: one that runs, and one that it starts without waiting for the driver."""


@dataclass(frozen=True, slots=True)
class JobTemplate:
    """Properties that all jobs of a run share, and the id of the one that is profiled, if any is."""

    environment: str
    asked_by: Mapping[str, Json]
    settings: RunSettings
    cache: Path
    cache_below: Path | None = None
    earlier_attempts: Mapping[str, int] | None = None
    profiled: str | None = None

    def job_for(self, pending: PendingJob, folder: Run) -> Job:
        """Return a pending job as plain data for a worker."""
        settings = self.settings
        request = pending.request
        earlier = self.earlier_attempts
        if earlier is not None:
            ids = (pending.id, *(node.id for node in request.results))
            earlier = {id: earlier[id] for id in ids if id in earlier}
        cpus, gpus = pending.resources.reserved(threads=settings.threads, device=settings.device)
        return Job(
            id=pending.id,
            asked={
                "node": request.node.to_json(),
                "results": [node.to_json() for node in request.results],
            },
            run=folder.path.resolve(),
            cache=self.cache.resolve(),
            cache_below=self.cache_below.resolve() if self.cache_below else None,
            environment=self.environment,
            asked_by={**self.asked_by, "name": pending.name},
            # Of several, the worker that takes the job has its own.
            device=settings.device.partition(",")[0],
            threads=settings.threads,
            precision=settings.precision,
            kernel_batch=settings.kernel_batch,
            compiled=settings.compile,
            battery=settings.battery,
            keep_weights=settings.keep_models,
            trust_versions=settings.trust_versions,
            max_bytes=settings.max_bytes,
            mixed=settings.mixed,
            cpus=cpus,
            gpus=gpus,
            seconds=settings.timeout,
            step_seconds={
                node.id: node.timeout
                for node in (request.node, *request.results)
                if node.timeout is not None
            },
            profile=profile_path(folder, pending.id) if pending.id == self.profiled else None,
            earlier_attempts=earlier,
        )


def profile_path(folder: Run, job: str) -> Path:
    """Return the file of a job's profile in a run folder."""
    return folder.path.resolve() / "profiles" / f"{job[:12]}.json"


def job_to_profile(jobs: Sequence[PendingJob]) -> str | None:
    """Return the id of the first fit, else of the first job; None where there is none."""
    fits = [job.id for job in jobs if job.kind == "fit"]
    return next(iter([*fits, *(job.id for job in jobs)]), None)


class SchedulerReports(Protocol):
    """What is told of the jobs of a run; a simulation tells nothing."""

    def relay_news(self, news: Iterable[Mapping[str, Json]]) -> None:
        """Tell what workers have sent."""

    def report_end(self, job: PendingJob, report: Report) -> PendingJob | None:
        """Tell the end of a job; return what is left of it to do, if its worker died in the middle."""

    def report_trials(self, job: PendingJob, report: Report) -> None:
        """Tell the records of a job that ends for good, and the trials that have no open job left.

        `report` is the job's, or that of the source which it waited for.
        """

    def report_source(self, source: PendingJob, report: Report, *, awaited: bool) -> None:
        """Tell a built source, or a failed one that no job waits for."""


class JobScheduler:
    """Scheduler of a run's jobs.

    It submits jobs in the order of its queue, a bounded number at a time, and has their ends reported.
    `interrupted` tells whether the user stopped it, `stop_reason` why it ended before all jobs were
    done, `queue.left_over` which jobs the budget left, and `left_to_others` which ones other shards
    were at when nothing else was left.
    """

    def __init__(
        self,
        jobs: Sequence[PendingJob],
        executor: Executor,
        template: JobTemplate,
        folder: Run,
        reports: SchedulerReports,
        *,
        clock: Clock | None = None,
        budget: Budget | None = None,
        require_folder: Callable[[], None] = lambda: None,
    ) -> None:
        self.executor = executor
        self.template = template
        self.folder = folder
        self.reports = reports
        self.clock = clock or SystemClock()
        self.queue = JobQueue(jobs, budget=budget)
        self.in_flight: dict[Future[Report], PendingJob] = {}
        self.interrupted = False
        self.stop_reason: str | None = None
        self.left_to_others: list[PendingJob] = []
        self._finished: Finished = SimpleQueue()
        self._require_folder = require_folder

    def run_jobs(self, *, grace: float) -> None:
        """Run the jobs until all have ended, the user interrupts, or a worker cannot continue.

        Raises:
            BadInput: `require_folder` finds the run folder gone, or driven by others.
        """
        if not self.queue:
            return
        with self.executor.start() as executor:
            try:
                while self._has_work():
                    # Workers would go on in a folder of the same name that they make anew.
                    self._require_folder()
                    self._submit_ready(executor)
                    self._collect_finished(timeout=0.2)
                self._require_folder()
            except KeyboardInterrupt:
                self.interrupted = True
                executor.stop(grace=grace)
                self._collect_finished(timeout=0)
            except Exception:
                # A record that is not there any more is a consequence.
                self._require_folder()
                raise
            self.reports.relay_news(self.executor.news())

    def _has_work(self) -> bool:
        if self.in_flight:
            return True
        return self.stop_reason is None and bool(self.queue) and not self._rest_is_elsewhere()

    def _rest_is_elsewhere(self) -> bool:
        """Return whether other shards are at all that is left, and nothing here waits for it."""
        if self.template.settings.shard is None:
            return False
        busy = self.queue.only_busy_jobs()
        if not busy or any(self.queue.waits_for(job.id) for job in busy):
            return False
        self.left_to_others = [job for job in busy if is_at_work_elsewhere(self.folder, job.id)]
        return len(self.left_to_others) == len(busy)

    def _submit_ready(self, executor: Executor) -> None:
        # A bounded number, so that an interrupt or a failed source leaves little to take back. With a
        # budget a job must begin when it is submitted.
        ahead = JOBS_PER_WORKER if self.queue.budget is None else 1
        while self.stop_reason is None and len(self.in_flight) < ahead * executor.slots:
            idle = len(self.in_flight) < executor.slots
            job = self.queue.take(now=self.clock.now(), idle=idle)
            if job is None:
                return
            request = self.template.job_for(job, self.folder)
            if self.template.settings.shard is not None:
                report = report_without_worker(request, self.folder)
                if report is not None:
                    self._finish_job(job, report)
                    continue
            future = executor.submit(request)
            self.in_flight[future] = job
            future.add_done_callback(self._finished.put)

    def _collect_finished(self, *, timeout: float) -> None:
        finished: list[Future[Report]] = []
        while future := self.clock.wait(self._finished, seconds=0 if finished else timeout):
            finished.append(future)
        # After `finished` is fixed: all events of these jobs were sent before they ended.
        self.reports.relay_news(self.executor.news())
        for future in finished:
            self._finish_job(self.in_flight.pop(future), future.result())

    def _finish_job(self, job: PendingJob, report: Report) -> None:
        """Report the end of a job, and update the jobs that waited for it."""
        if report.retire_worker is not None:
            self.stop_reason = report.retire_worker
        if report.status == "lost" and self.interrupted:
            return  # the run itself stopped it, so nothing has failed
        now = self.clock.now()
        if report.status == "busy":
            self.queue.requeue(job, now=now)
            return
        self.queue.end(job, now=now)
        rest = self.reports.report_end(job, report)
        if rest is not None:
            self.queue.add(rest)
            return
        self.reports.report_trials(job, report)
        if job.kind != "source":
            return
        self.reports.report_source(job, report, awaited=self.queue.waits_for(job.id))
        # Another driver of the folder may have built it meanwhile.
        built = report.status == "done" or self.folder.has_record(job.id)
        for dropped in self.queue.release(job.id, built=built):
            self.reports.report_trials(dropped, report)
