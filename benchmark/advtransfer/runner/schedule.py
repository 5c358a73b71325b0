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
from advtransfer.planning.nodes import SuiteIndex
from advtransfer.planning.status import missing_records, status_in_run
from advtransfer.result import Run, attempt_record
from advtransfer.runner.events import EventLog, trial_fields
from advtransfer.runner.settings import RunSettings
from advtransfer.types import Json


@dataclass(slots=True)
class PendingJob:
    """One job to be: its node and results, the builds it waits for, the trials that show what it makes."""

    request: JobRequest
    name: str
    waits_for: set[str] = field(default_factory=set)
    trials: list[Trial] = field(default_factory=list)

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
    """The tasks behind trials: sources and references first, then the fits on most images, which take longest.

    A result that several trials share, since it needs no fit, is one task of its own. Results that are `hopeless` are
    not asked for again beside those that are only missing.
    """
    found: dict[str, PendingJob] = {}
    for trial in sorted(trials, key=_training_size, reverse=True):
        lacking = missing_records(trial, done.union(hopeless))
        builds = [id for id in trial.builds if id not in done]
        for id in builds:
            found.setdefault(id, PendingJob(JobRequest(cells.source_nodes[id]), names[id]))
        for one in job_requests(cells, trial, lacking):
            task = found.setdefault(one.node.id, PendingJob(one, trial.name, set(builds)))
            task.trials.append(trial)
    return sorted(found.values(), key=lambda task: task.kind != "source")


def _training_size(trial: Trial) -> float:
    return float("inf") if trial.n == "all" else trial.n


JOBS_PER_WORKER = 2
"""Jobs in flight for each worker: one that runs, and one so that it need not wait for the driver."""

BUSY_RETRY_SECONDS = 1.0
"""Seconds before a job that found its node busy is tried again."""


@dataclass(frozen=True, slots=True)
class JobTemplate:
    """What every job of a run is told."""

    environment: str
    asked_by: Mapping[str, Json]
    settings: RunSettings
    cache: Path
    cache_below: Path | None = None

    def job_for(self, task: PendingJob, folder: Run) -> Job:
        """A task as plain data for a worker."""
        settings = self.settings
        return Job(
            id=task.id,
            asked={
                "node": task.request.node.to_json(),
                "results": [node.to_json() for node in task.request.results],
            },
            run=folder.path.resolve(),
            cache=self.cache.resolve(),
            cache_below=self.cache_below.resolve() if self.cache_below else None,
            environment=self.environment,
            asked_by={**self.asked_by, "name": task.name},
            device=settings.device,
            threads=settings.threads,
            precision=settings.precision,
            battery=settings.battery,
            keep_weights=settings.keep_models,
            trust_versions=settings.trust_versions,
            max_bytes=settings.max_bytes,
            cpus=float(settings.threads),
            gpus=1.0 if settings.device.startswith("cuda") else 0.0,
        )


class JobScheduler:
    """The state of one walk over the tasks.

    `interrupted` says that the user stopped it, `ended` why it ended before everything was tried.
    """

    def __init__(
        self,
        tasks: Sequence[PendingJob],
        engine: Executor,
        order: JobTemplate,
        events: EventLog,
        folder: Run,
        plan: Plan,
    ) -> None:
        self.executor, self.template, self.events, self.folder, self.plan = (
            engine,
            order,
            events,
            folder,
            plan,
        )
        self.jobs = {task.id: task for task in tasks}
        self.ready = deque(task for task in tasks if not task.waits_for)
        self.blocked = [task for task in tasks if task.waits_for]
        self.requeued: list[tuple[float, PendingJob]] = []
        self.in_flight: dict[Future[Report], PendingJob] = {}
        self.start_events: dict[str, Mapping[str, Json]] = {}
        self.current_steps: dict[str, str] = {}
        self.open_jobs = Counter(trial.id for task in tasks for trial in task.trials)
        self.interrupted = False
        self.stop_reason: str | None = None
        self.reported_warnings: set[str] = set()

    def run_jobs(self, *, grace: float) -> None:
        """Carry out the tasks."""
        if not self.jobs:
            return
        with self.executor.start() as engine:
            try:
                while self.in_flight or (
                    (self.ready or self.requeued) and self.stop_reason is None
                ):
                    self._submit_ready(engine)
                    self._collect_finished(timeout=0.2)
            except KeyboardInterrupt:
                self.interrupted = True
                engine.stop(grace=grace)
                self._collect_finished(timeout=0)
            self._relay_news()

    def _submit_ready(self, engine: Executor) -> None:
        now = time.monotonic()
        self.ready.extend(task for due, task in self.requeued if due <= now)
        self.requeued = [(due, task) for due, task in self.requeued if due > now]
        while (
            self.ready
            and len(self.in_flight) < JOBS_PER_WORKER * engine.slots
            and self.stop_reason is None
        ):
            task = self.ready.popleft()
            self.in_flight[engine.submit(self.template.job_for(task, self.folder))] = task

    def _collect_finished(self, *, timeout: float) -> None:
        if self.in_flight:
            wait(self.in_flight, timeout=timeout, return_when=FIRST_COMPLETED)
        else:
            time.sleep(timeout)
        ended = [one for one in self.in_flight if one.done()]
        self._relay_news()  # all that these jobs told before they ended
        for future in ended:
            self._finish_job(self.in_flight.pop(future), future.result())

    def _relay_news(self) -> None:
        """Pass on what workers told."""
        for news in self.executor.news():
            facts = dict(news)
            event, task = str(facts.pop("event")), self.jobs.get(str(facts["id"]))
            if event == "step_started":
                self.current_steps[str(facts["id"])] = str(facts["step"])
            if event == "warning" and self._warned_before(str(facts.get("text"))):
                continue
            if event == "job_started" and task is not None:
                self.start_events[task.id] = facts
                self.current_steps.pop(task.id, None)
                facts |= {"kind": task.kind, "name": task.name}
                for trial in task.trials:
                    self.events.emit("trial_started", time=facts["time"], trial=trial_fields(trial))
            self.events.emit(event, **facts)

    def _warned_before(self, text: str) -> bool:
        """Whether a worker has told this warning: each of them, and each of its jobs, meets the same data."""
        before = text in self.reported_warnings
        self.reported_warnings.add(text)
        return before

    def _finish_job(self, task: PendingJob, report: Report) -> None:
        """What the end of one job means for its trials and for the tasks that waited for it."""
        if report.retire_worker is not None:
            self.stop_reason = report.retire_worker
        if report.status == "lost" and self.interrupted:
            return  # we stopped it ourselves: nothing has failed, it is still to do
        if report.status == "busy":
            self.requeued.append((time.monotonic() + BUSY_RETRY_SECONDS, task))
            return
        rest = self._record_lost(task, report) if report.status == "lost" else None
        began = self.start_events.pop(task.id, {})
        self.events.emit(
            "job_finished",
            id=task.id,
            kind=task.kind,
            name=task.name,
            status=report.status,
            worker=began.get("worker"),
            seconds=time.time() - float(cast(float, began.get("time", time.time()))),
        )
        if rest is not None:
            self.jobs[rest.id] = rest
            self.ready.append(rest)
            return
        self._count_down(task)
        if task.kind == "source":
            self._report_source(task, report)
            self._release_waiting(task, report)

    def _report_source(self, source: PendingJob, report: Report) -> None:
        """Tell what a built source claims to be, and what its probe measured."""
        if report.status != "done" and not any(
            source.id in task.waits_for for task in self.blocked
        ):
            self.events.warn(f"source {source.name}: {report.reason}")  # no trial would tell
        if report.status == "done":
            record = self.folder.read_record(source.id)
            self.events.emit(
                "source_finished",
                id=source.id,
                name=source.name,
                card=record["card"],
                probe=record["probe"],
            )

    def _release_waiting(self, source: PendingJob, report: Report) -> None:
        """Let go what waited for a source, or give it up where there will be none."""
        built = report.status == "done" or self.folder.has_record(source.id)
        for task in [task for task in self.blocked if source.id in task.waits_for]:
            task.waits_for.discard(source.id)
            if not built:
                self.blocked.remove(task)
                self._count_down(task)
            elif not task.waits_for:
                self.blocked.remove(task)
                self.ready.append(task)

    def _count_down(self, task: PendingJob) -> None:
        """One task less that may still change how its trials stand; those that have none left are told."""
        for trial in task.trials:
            self.open_jobs[trial.id] -= 1
            if not self.open_jobs[trial.id]:
                self._report_trial(trial)

    def _report_trial(self, trial: Trial) -> None:
        """Tell how a trial stands now, by the rule of `advtransfer.planning.status`."""
        state = status_in_run(self.folder, trial, self.plan)
        match state.value:
            case "done":
                self.events.emit(
                    "trial_finished", trial=trial_fields(trial), metrics=self._trial_metrics(trial)
                )
            case "skipped":
                self.events.emit("trial_skipped", trial=trial_fields(trial), reason=state.reason)
            case "failed":
                failures = dict(state.failures)
                self.events.emit(
                    "trial_failed",
                    trial=trial_fields(trial),
                    reason=state.reason_text,
                    evaluations=failures,
                )

    def _record_lost(self, task: PendingJob, report: Report) -> PendingJob | None:
        """Put it on disk that a worker died, under the step that it was at; what is left to do without that step."""
        asked, at = task.request, self.current_steps.pop(task.id, None)
        results = [one for one in asked.results if one.id == at]
        for node in results or asked.nodes_without_record(self.folder.has_record):
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
        rest = tuple(
            one for one in asked.results if one.id != at and not self.folder.has_record(one.id)
        )
        return replace(task, request=replace(asked, results=rest)) if results and rest else None

    def _trial_metrics(self, trial: Trial) -> dict[str, Json]:
        """The numbers of a finished trial, as ``evaluation.metric``."""
        found: dict[str, Json] = {}
        for label, ids in trial.evaluations.items():
            for id in ids if all(map(self.folder.has_record, ids)) else ():
                metrics = cast(
                    "Mapping[str, Mapping[str, Json]]", self.folder.read_record(id)["metrics"]
                )
                found |= {f"{label}.{name}": metric["value"] for name, metric in metrics.items()}
        return found
