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
    """A job that a worker is at: its name, when it began, how far it is (0 to 1, None before the first progress)."""

    name: str
    began: float
    share: float | None = None
    news: str = ""


@dataclass(slots=True)
class RunProgress:
    """Counts, running jobs and rates of one run; `take` each event in turn, in whatever order they come."""

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
        """How many trials are behind us."""
        return self.trial_count - self.todo

    @property
    def seconds_left(self) -> float | None:
        """Seconds to the end at the rate measured since the first fit began; None before a trial has finished."""
        if self.first_fit_began is None or not self.finished_trials:
            return None
        chosen = (
            self.todo if self.chosen_trials is None else self.chosen_trials - self.finished_trials
        )
        return (self.latest_time - self.first_fit_began) / self.finished_trials * max(0, chosen)

    def add_event(self, event: Event) -> None:
        """Count one event."""
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
        """Seconds that a job took until the time `at`, or until it ended; None when it was not seen to begin."""
        work = self.running.get(id)
        return self.job_seconds.get(id, None if work is None else at - work.began)

    def _set_counts(self, event: Event) -> None:
        self.suite = text_field(event, "suite") or self.suite
        self.columns = text_list_field(event, "columns") or self.columns
        self.done, self.failed, self.skipped, self.todo = status_counts(event)
        self.announced_skips = self.skipped
        self.chosen_trials = (
            integer_field(event, "chosen") if "chosen" in event else self.chosen_trials
        )

    def _start_job(self, event: Event) -> None:
        began = number_field(event, "time")
        self.running[text_field(event, "id")] = RunningJob(text_field(event, "name"), began)
        if event.get("kind") == "fit" and self.first_fit_began is None:
            self.first_fit_began = began

    def _update_job(self, event: Event) -> None:
        key, total = text_field(event, "id"), integer_field(event, "total")
        # Nodes below a job tell of themselves too, and nothing would say that they have ended.
        if key in self.running:
            share = min(1.0, integer_field(event, "done") / total) if total else None
            self.running[key] = replace(
                self.running[key], share=share, news=job_progress_text(event)
            )

    def _finish_job(self, event: Event) -> None:
        id = text_field(event, "id")
        spent = self.seconds_spent(id, at=number_field(event, "time"))
        self.running.pop(id, None)
        if event.get("kind") == "fit" and spent is not None:
            self.job_seconds[id] = spent

    def _settle_trial(self, event: Event) -> None:
        self.job_seconds.pop(text_field(mapping_field(event, "trial"), "id"), None)
        if event.get("event") == "trial_skipped" and self.announced_skips:
            self.announced_skips -= (
                1  # the run tells at its start what it has already counted as skipped
            )
            return
        self.todo = max(0, self.todo - 1)
        match event.get("event"):
            case "trial_finished":
                self.done, self.finished_trials = self.done + 1, self.finished_trials + 1
            case "trial_failed":
                self.failed, self.finished_trials = self.failed + 1, self.finished_trials + 1
            case _:
                self.skipped += 1
