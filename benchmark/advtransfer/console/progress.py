"""Progress of a run, counted from its events alone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from advtransfer.console.event_fields import (
    Event,
    integer_field,
    mapping_field,
    number_field,
    text_field,
    text_list_field,
)
from advtransfer.console.formatting import job_progress_text, status_counts


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A job that a worker performs: its name, its start, and its progress.

    `share` is from 0 to 1, or None before the first progress; `news` is the text of the last
    progress.
    """

    name: str
    began: float
    share: float | None = None
    news: str = ""


@dataclass(slots=True)
class RunProgress:
    """Counts, running jobs and rates of one run, from its events in whatever order they come."""

    suite: str = ""
    columns: tuple[str, ...] = ()
    done: int = 0
    failed: int = 0
    skipped: int = 0
    todo: int = 0
    announced_skips: int = 0
    chosen_trials: int | None = None
    latest_time: float = 0.0
    finished_trials: int = 0
    first_fit_began: float | None = None
    running: dict[str, RunningJob] = field(default_factory=dict)
    job_seconds: dict[str, float] = field(default_factory=dict)

    @property
    def trial_count(self) -> int:
        """All trials of the run."""
        return self.done + self.failed + self.skipped + self.todo

    @property
    def settled_count(self) -> int:
        """Number of trials that are done, failed or skipped."""
        return self.trial_count - self.todo

    @property
    def seconds_left(self) -> float | None:
        """Seconds to the end at the rate so far; None before a trial has finished."""
        if self.first_fit_began is None or not self.finished_trials:
            return None
        # The rate counts from the first fit: building sources comes before, and is done only once.
        seconds_per_trial = (self.latest_time - self.first_fit_began) / self.finished_trials
        trials_left = self.todo
        if self.chosen_trials is not None:
            trials_left = self.chosen_trials - self.finished_trials
        return seconds_per_trial * max(0, trials_left)

    def add_event(self, event: Event) -> None:
        """Count one event."""
        # Events of several workers may arrive out of order.
        self.latest_time = max(self.latest_time, number_field(event, "time"))
        match event.get("event"):
            case "run_started" | "run_finished":
                self._set_counts(event)
            case "job_started":
                self._start_job(event)
            case "progress":
                self._update_job(event)
            case "job_finished":
                self._finish_job(event)
            case "trial_finished" | "trial_failed" | "trial_skipped":
                self._settle_trial(event)

    def seconds_spent(self, id: str, *, at: float) -> float | None:
        """Return the seconds that a job took until the time `at`, or until its end.

        None where its start was not seen.
        """
        if id in self.job_seconds:
            return self.job_seconds[id]
        job = self.running.get(id)
        return None if job is None else at - job.began

    def _set_counts(self, event: Event) -> None:
        self.suite = text_field(event, "suite") or self.suite
        self.columns = text_list_field(event, "columns") or self.columns
        self.done, self.failed, self.skipped, self.todo = status_counts(event)
        self.announced_skips = self.skipped
        if "chosen" in event:
            self.chosen_trials = integer_field(event, "chosen")

    def _start_job(self, event: Event) -> None:
        began = number_field(event, "time")
        self.running[text_field(event, "id")] = RunningJob(text_field(event, "name"), began)
        if event.get("kind") == "fit" and self.first_fit_began is None:
            self.first_fit_began = began

    def _update_job(self, event: Event) -> None:
        id = text_field(event, "id")
        total = integer_field(event, "total")
        # Nodes below a job report progress too, and no event would say that they have ended.
        if id in self.running:
            share = min(1.0, integer_field(event, "done") / total) if total else None
            self.running[id] = replace(self.running[id], share=share, news=job_progress_text(event))

    def _finish_job(self, event: Event) -> None:
        id = text_field(event, "id")
        seconds = self.seconds_spent(id, at=number_field(event, "time"))
        self.running.pop(id, None)
        # A trial ends after the job of its fit, and is shown with the time of this job.
        if event.get("kind") == "fit" and seconds is not None:
            self.job_seconds[id] = seconds

    def _settle_trial(self, event: Event) -> None:
        self.job_seconds.pop(text_field(mapping_field(event, "trial"), "id"), None)
        if event.get("event") == "trial_skipped" and self.announced_skips:
            # The counts of `run_started` include the trials that the plan skips, and the events of
            # these follow.
            self.announced_skips -= 1
            return
        self.todo = max(0, self.todo - 1)
        match event.get("event"):
            case "trial_finished":
                self.done += 1
                self.finished_trials += 1
            case "trial_failed":
                self.failed += 1
                self.finished_trials += 1
            case _:
                self.skipped += 1
