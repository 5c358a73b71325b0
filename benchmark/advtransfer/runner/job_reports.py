"""What a run is told of its jobs: events, and attempts for the steps at which workers died."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import cast

from advtransfer.jobs import Report
from advtransfer.planning import Plan, Trial
from advtransfer.planning.status import status_in_run
from advtransfer.result import Run, attempt_record
from advtransfer.result.record import battery_ids
from advtransfer.runner.events import EventLog, trial_fields
from advtransfer.runner.job_costs import JobCosts
from advtransfer.runner.job_queue import PendingJob
from advtransfer.runner.schedule import JobTemplate
from advtransfer.runner.trial_metrics import read_trial_metrics
from advtransfer.types import Json


class JobReports:
    """Emits the events of a run's jobs and trials, and records what a dead worker could not.

    In a run with a budget it adds what each job took to the costs, by which the next are begun.
    """

    def __init__(
        self,
        jobs: Sequence[PendingJob],
        template: JobTemplate,
        events: EventLog,
        folder: Run,
        plan: Plan,
        costs: JobCosts,
    ) -> None:
        self.template = template
        self.events = events
        self.folder = folder
        self.plan = plan
        self.costs = costs
        self.jobs = {job.id: job for job in jobs}
        self.start_events: dict[str, Mapping[str, Json]] = {}
        self.current_steps: dict[str, str] = {}
        self.open_jobs = Counter(trial.id for job in jobs for trial in job.trials)
        self.reported_warnings: set[str] = set()
        self.performed_trials: set[str] = set()
        self.known_records = folder.finished_ids() if events.is_heard("record_written") else set()

    def relay_news(self, news: Iterable[Mapping[str, Json]]) -> None:
        """Emit the events that workers have sent."""
        for message in news:
            facts = dict(message)
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

    def report_end(self, job: PendingJob, report: Report) -> PendingJob | None:
        """Emit the end of a job; return what is left of it to do, if its worker died in the middle."""
        rest = self._record_lost(job, report) if report.status == "lost" else None
        start_event = self.start_events.pop(job.id, {})
        started = float(cast(float, start_event.get("time", time.time())))
        self.events.emit(
            "job_finished",
            None,
            not report.elsewhere,
            id=job.id,
            kind=job.kind,
            name=job.name,
            status=report.status,
            worker=start_event.get("worker"),
            seconds=time.time() - started,
        )
        if rest is not None:
            self.jobs[rest.id] = rest
        return rest

    def report_trials(self, job: PendingJob, report: Report) -> None:
        """Emit the records that a job added, and the trials that have no open job left.

        `report` is the job's, or that of the source which it waited for.
        """
        self._report_records(job)
        if self.template.settings.budget is not None:
            self.costs.add_job(self.folder, job.request)
        for trial in job.trials:
            if not report.elsewhere:
                self.performed_trials.add(trial.id)
            self.open_jobs[trial.id] -= 1
            if not self.open_jobs[trial.id]:
                self._report_trial(trial)

    def report_source(self, source: PendingJob, report: Report, *, awaited: bool) -> None:
        """Emit the card and the measured accuracy of a built source, or a warning if it failed."""
        if report.status == "done":
            record = self.folder.read_record(source.id)
            self.events.emit(
                "source_finished",
                None,
                not report.elsewhere,
                id=source.id,
                name=source.name,
                card=record["card"],
                probe=record["probe"],
            )
        elif not awaited:
            # Otherwise the trials that wait for it report the reason.
            self.events.warn(f"source {source.name}: {report.reason}")

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

    def _report_trial(self, trial: Trial) -> None:
        """Emit the status of a trial, by the rule of `advtransfer.planning.status`."""
        status = status_in_run(self.folder, trial, self.plan)
        fields = trial_fields(trial)
        # What other drivers did alone, they have logged.
        logged = trial.id in self.performed_trials
        match status.value:
            case "done":
                metrics = read_trial_metrics(self.folder, trial, further=self.plan.also.keys())
                self.events.emit(
                    "trial_finished",
                    {"intervals": metrics.intervals},
                    logged,
                    trial=fields,
                    metrics=metrics.values,
                    upper_bounds=metrics.upper_bounds,
                )
            case "skipped":
                self.events.emit("trial_skipped", None, logged, trial=fields, reason=status.reason)
            case "failed":
                self.events.emit(
                    "trial_failed",
                    None,
                    logged,
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
                    status="failed" if report.broke_limit else "lost",
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
