"""Jobs of a run and their scheduling.

Sources before the fits that need them, a bounded number in flight, busy jobs requeued.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from advtransfer.jobs import Executor, Job, Report
from advtransfer.planning import JobRequest, Plan, Trial, job_requests
from advtransfer.planning.nodes import SuiteIndex, job_entries
from advtransfer.planning.status import missing_records, status_in_run
from advtransfer.result import Run, attempt_record
from advtransfer.result.record import battery_ids
from advtransfer.runner.events import EventLog, trial_fields
from advtransfer.runner.settings import RunSettings
from advtransfer.runner.trial_metrics import read_trial_metrics
from advtransfer.suite.resources import NO_RESOURCES, Resources
from advtransfer.types import Json


@dataclass(slots=True)
class PendingJob:
    """A job that is not finished.

    Args:
        request: Its node and results.
        name: Its name on the console.
        waits_for: Ids of the sources and references that must be built first.
        trials: The trials that use what it makes.
        resources: What its entries, or else the suite, say that it needs.
    """

    request: JobRequest
    name: str
    waits_for: set[str] = field(default_factory=set)
    trials: list[Trial] = field(default_factory=list)
    resources: Resources = NO_RESOURCES

    @property
    def id(self) -> str:
        return self.request.node.id

    @property
    def kind(self) -> str:
        return self.request.node.kind


def pending_jobs(
    trials: Iterable[Trial],
    cells: SuiteIndex,
    done: set[str],
    names: Mapping[str, str],
    *,
    hopeless: Collection[str] = (),
) -> list[PendingJob]:
    """Return the jobs behind trials: sources and references first, then fits on most images first.

    A result that several trials share, since it needs no fit, is a job of its own.

    Args:
        trials: The trials.
        cells: Nodes of the suite.
        done: Ids with a record.
        names: Names of sources and references, by id.
        hopeless: Ids that failed permanently; they are not requested again.
    """
    jobs: dict[str, PendingJob] = {}
    # The longest fits first: a long one at the end would keep one worker busy and the others idle.
    for trial in sorted(trials, key=_training_size, reverse=True):
        missing = missing_records(trial, done.union(hopeless))
        builds = [id for id in trial.builds if id not in done]
        for id in builds:
            source = cells.source_entries[id]
            new_job = PendingJob(JobRequest(source.node), names[id])
            new_job.resources = source.resources.or_else(cells.suite.resources)
            jobs.setdefault(id, new_job)
        for request in job_requests(cells, trial, missing):
            new_job = PendingJob(request, trial.name, set(builds))
            entries = job_entries(cells, trial, request)
            written = Resources.largest(entry.resources for entry in entries)
            new_job.resources = written.or_else(cells.suite.resources)
            jobs.setdefault(request.node.id, new_job).trials.append(trial)
    return sorted(jobs.values(), key=lambda job: job.kind != "source")


def _training_size(trial: Trial) -> float:
    return float("inf") if trial.n == "all" else trial.n


JOBS_PER_WORKER = 2
"""Jobs in flight per worker: one that runs, and one that it starts without waiting for the driver."""

BUSY_RETRY_SECONDS = 1.0
"""Seconds until a busy job is submitted again."""


@dataclass(frozen=True, slots=True)
class JobTemplate:
    """Properties that all jobs of a run share."""

    environment: str
    asked_by: Mapping[str, Json]
    settings: RunSettings
    cache: Path
    cache_below: Path | None = None

    def job_for(self, pending: PendingJob, folder: Run) -> Job:
        """Return a pending job as plain data for a worker."""
        settings = self.settings
        request = pending.request
        needed = pending.resources
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
            device=settings.device,
            threads=settings.threads,
            precision=settings.precision,
            battery=settings.battery,
            keep_weights=settings.keep_models,
            trust_versions=settings.trust_versions,
            max_bytes=settings.max_bytes,
            mixed=settings.mixed,
            cpus=needed.cpus or float(settings.threads),
            gpus=(needed.gpus or 1.0) if settings.device.startswith("cuda") else 0.0,
        )


class JobScheduler:
    """Scheduler of a run's jobs.

    It submits jobs, retries busy ones, and emits an event for each trial that ends. `interrupted`
    tells whether the user stopped it, `stop_reason` why it ended before all jobs were done.
    """

    def __init__(
        self,
        jobs: Sequence[PendingJob],
        executor: Executor,
        template: JobTemplate,
        events: EventLog,
        folder: Run,
        plan: Plan,
    ) -> None:
        self.executor = executor
        self.template = template
        self.events = events
        self.folder = folder
        self.plan = plan
        self.jobs = {job.id: job for job in jobs}
        self.ready = deque(job for job in jobs if not job.waits_for)
        self.blocked = [job for job in jobs if job.waits_for]
        self.requeued: list[tuple[float, PendingJob]] = []
        self.in_flight: dict[Future[Report], PendingJob] = {}
        self.start_events: dict[str, Mapping[str, Json]] = {}
        self.current_steps: dict[str, str] = {}
        self.open_jobs = Counter(trial.id for job in jobs for trial in job.trials)
        self.interrupted = False
        self.stop_reason: str | None = None
        self.reported_warnings: set[str] = set()
        self.known_records = folder.finished_ids() if events.is_heard("record_written") else set()

    def run_jobs(self, *, grace: float) -> None:
        """Run the jobs until all have ended, the user interrupts, or a worker cannot continue."""
        if not self.jobs:
            return
        with self.executor.start() as executor:
            try:
                while self._has_work():
                    self._submit_ready(executor)
                    self._collect_finished(timeout=0.2)
            except KeyboardInterrupt:
                self.interrupted = True
                executor.stop(grace=grace)
                self._collect_finished(timeout=0)
            self._relay_news()

    def _has_work(self) -> bool:
        if self.in_flight:
            return True
        # Blocked jobs do not count: with no source in flight, nothing would ever release them.
        return self.stop_reason is None and bool(self.ready or self.requeued)

    def _submit_ready(self, executor: Executor) -> None:
        now = time.monotonic()
        self.ready.extend(job for due, job in self.requeued if due <= now)
        self.requeued = [(due, job) for due, job in self.requeued if due > now]
        if self.stop_reason is not None:
            return
        # A bounded number, so that an interrupt or a failed source leaves little to take back.
        while self.ready and len(self.in_flight) < JOBS_PER_WORKER * executor.slots:
            job = self.ready.popleft()
            self.in_flight[executor.submit(self.template.job_for(job, self.folder))] = job

    def _collect_finished(self, *, timeout: float) -> None:
        if self.in_flight:
            wait(self.in_flight, timeout=timeout, return_when=FIRST_COMPLETED)
        else:
            time.sleep(timeout)
        finished = [future for future in self.in_flight if future.done()]
        # After `finished` is fixed: all events of these jobs were sent before they ended.
        self._relay_news()
        for future in finished:
            self._finish_job(self.in_flight.pop(future), future.result())

    def _relay_news(self) -> None:
        """Emit the events that workers have sent since the last call."""
        for news in self.executor.news():
            facts = dict(news)
            event = str(facts.pop("event"))
            id = str(facts["id"])
            if event == "step_started":
                self.current_steps[id] = str(facts["step"])
            if event == "warning" and self._warned_before(str(facts.get("text"))):
                continue
            job = self.jobs.get(id)
            if event == "job_started" and job is not None:
                self.start_events[id] = facts
                self.current_steps.pop(id, None)
                facts |= {"kind": job.kind, "name": job.name}
                for trial in job.trials:
                    self.events.emit("trial_started", time=facts["time"], trial=trial_fields(trial))
            self.events.emit(event, **facts)

    def _warned_before(self, text: str) -> bool:
        """Return whether a worker has sent this warning before, and remember it.

        Every worker and every job meets the same data, and would repeat the same warnings.
        """
        known = text in self.reported_warnings
        self.reported_warnings.add(text)
        return known

    def _finish_job(self, job: PendingJob, report: Report) -> None:
        """Emit the end of a job, and update its trials and the jobs that waited for it."""
        if report.retire_worker is not None:
            self.stop_reason = report.retire_worker
        if report.status == "lost" and self.interrupted:
            return  # the run itself stopped it, so nothing has failed
        if report.status == "busy":
            self.requeued.append((time.monotonic() + BUSY_RETRY_SECONDS, job))
            return
        rest = self._record_lost(job, report) if report.status == "lost" else None
        start_event = self.start_events.pop(job.id, {})
        started = float(cast(float, start_event.get("time", time.time())))
        self.events.emit(
            "job_finished",
            id=job.id,
            kind=job.kind,
            name=job.name,
            status=report.status,
            worker=start_event.get("worker"),
            seconds=time.time() - started,
        )
        if rest is not None:
            self.jobs[rest.id] = rest
            self.ready.append(rest)
            return
        self._report_records(job)
        self._count_down(job)
        if job.kind == "source":
            self._report_source(job, report)
            self._release_waiting(job, report)

    def _report_records(self, job: PendingJob) -> None:
        """Emit the records that a job added, where a plugin listens."""
        if not self.events.is_heard("record_written"):
            return
        ids = [job.id, *(result.id for result in job.request.results)]
        for id in ids:
            if id in self.known_records or not self.folder.has_record(id):
                continue
            record = self.folder.read_record(id)
            ids += [battery for battery in battery_ids(record) if battery not in ids]
            self.known_records.add(id)
            self.events.emit("record_written", record=record)

    def _report_source(self, source: PendingJob, report: Report) -> None:
        """Emit the card and the measured accuracy of a built source, or a warning if it failed."""
        if report.status == "done":
            record = self.folder.read_record(source.id)
            self.events.emit(
                "source_finished",
                id=source.id,
                name=source.name,
                card=record["card"],
                probe=record["probe"],
            )
        elif not any(source.id in job.waits_for for job in self.blocked):
            # Otherwise the trials that wait for it report the reason.
            self.events.warn(f"source {source.name}: {report.reason}")

    def _release_waiting(self, source: PendingJob, report: Report) -> None:
        """Make the jobs that waited for a source ready, or drop them if it was not built."""
        # Another driver of the folder may have built it meanwhile.
        built = report.status == "done" or self.folder.has_record(source.id)
        waiting = [job for job in self.blocked if source.id in job.waits_for]
        for job in waiting:
            job.waits_for.discard(source.id)
            if not built:
                self.blocked.remove(job)
                self._count_down(job)
            elif not job.waits_for:
                self.blocked.remove(job)
                self.ready.append(job)

    def _count_down(self, job: PendingJob) -> None:
        """Count a job as ended, and report the trials that have no open job left."""
        for trial in job.trials:
            self.open_jobs[trial.id] -= 1
            if not self.open_jobs[trial.id]:
                self._report_trial(trial)

    def _report_trial(self, trial: Trial) -> None:
        """Emit the status of a trial, by the rule of `advtransfer.planning.status`."""
        status = status_in_run(self.folder, trial, self.plan)
        fields = trial_fields(trial)
        match status.value:
            case "done":
                metrics = read_trial_metrics(self.folder, trial)
                self.events.emit(
                    "trial_finished",
                    {"intervals": metrics.intervals},
                    trial=fields,
                    metrics=metrics.values,
                    upper_bounds=metrics.upper_bounds,
                )
            case "skipped":
                self.events.emit("trial_skipped", trial=fields, reason=status.reason)
            case "failed":
                self.events.emit(
                    "trial_failed",
                    trial=fields,
                    reason=status.reason_text,
                    evaluations=dict(status.failures),
                )

    def _record_lost(self, job: PendingJob, report: Report) -> PendingJob | None:
        """Write an attempt for the step at which a worker died.

        Returns:
            The job without that step, if it died at a result and has other results to measure.
        """
        request = job.request
        lost_id = self.current_steps.pop(job.id, None)
        lost_results = [result for result in request.results if result.id == lost_id]
        for node in lost_results or request.nodes_without_record(self.folder.has_record):
            self.folder.write_attempt(
                attempt_record(
                    node,
                    status="lost",
                    reason=str(report.reason),
                    exception=None,
                    traceback=None,
                    deterministic=False,
                    environment=self.template.environment,
                    observed={"asked_by": dict(self.template.asked_by)},
                )
            )
        remaining = tuple(
            result
            for result in request.results
            if result.id != lost_id and not self.folder.has_record(result.id)
        )
        if not lost_results or not remaining:
            return None
        return replace(job, request=replace(request, results=remaining))
