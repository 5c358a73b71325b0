"""Where a run stands, counted from its events alone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from advtransfer.console.events import Event, count, number, table, text, texts
from advtransfer.console.words import news, standing


@dataclass(frozen=True, slots=True)
class Work:
    """A job that a worker is at: its name, when it began, how far it is (0 to 1, None before the first progress)."""

    name: str
    began: float
    share: float | None = None
    news: str = ""


@dataclass(slots=True)
class Tally:
    """Counts, running jobs and rates of one run; `take` each event in turn, in whatever order they come."""

    suite: str = ""
    columns: tuple[str, ...] = ()
    done: int = 0
    failed: int = 0
    skipped: int = 0
    todo: int = 0
    announced: int = 0
    chosen: int | None = None
    now: float = 0.0
    finished: int = 0
    fits_since: float | None = None
    running: dict[str, Work] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def trials(self) -> int:
        """All trials of the run."""
        return self.done + self.failed + self.skipped + self.todo

    @property
    def place(self) -> int:
        """How many trials are behind us."""
        return self.trials - self.todo

    @property
    def left(self) -> float | None:
        """Seconds to the end at the rate measured since the first fit began; None before a trial has finished."""
        if self.fits_since is None or not self.finished:
            return None
        chosen = self.todo if self.chosen is None else self.chosen - self.finished
        return (self.now - self.fits_since) / self.finished * max(0, chosen)

    def take(self, event: Event) -> None:
        """Count one event."""
        self.now = max(self.now, number(event, "time"))
        match event.get("event"):
            case "run_started" | "run_finished":
                self._recount(event)
            case "job_started":
                self._begin(event)
            case "progress":
                self._advance(event)
            case "job_finished":
                self._end(event)
            case "trial_finished" | "trial_failed" | "trial_skipped":
                self._settle(event)

    def spent(self, id: str, *, at: float) -> float | None:
        """Seconds that a job took until the time `at`, or until it ended; None when it was not seen to begin."""
        work = self.running.get(id)
        return self.seconds.get(id, None if work is None else at - work.began)

    def _recount(self, event: Event) -> None:
        self.suite = text(event, "suite") or self.suite
        self.columns = texts(event, "columns") or self.columns
        self.done, self.failed, self.skipped, self.todo = standing(event)
        self.announced = self.skipped
        self.chosen = count(event, "chosen") if "chosen" in event else self.chosen

    def _begin(self, event: Event) -> None:
        began = number(event, "time")
        self.running[text(event, "id")] = Work(text(event, "name"), began)
        if event.get("kind") == "fit" and self.fits_since is None:
            self.fits_since = began

    def _advance(self, event: Event) -> None:
        key, total = text(event, "id"), count(event, "total")
        # Nodes below a job tell of themselves too, and nothing would say that they have ended.
        if key in self.running:
            share = min(1.0, count(event, "done") / total) if total else None
            self.running[key] = replace(self.running[key], share=share, news=news(event))

    def _end(self, event: Event) -> None:
        id = text(event, "id")
        spent = self.spent(id, at=number(event, "time"))
        self.running.pop(id, None)
        if event.get("kind") == "fit" and spent is not None:
            self.seconds[id] = spent

    def _settle(self, event: Event) -> None:
        self.seconds.pop(text(table(event, "trial"), "id"), None)
        if event.get("event") == "trial_skipped" and self.announced:
            self.announced -= 1  # the run tells at its start what it has already counted as skipped
            return
        self.todo = max(0, self.todo - 1)
        match event.get("event"):
            case "trial_finished":
                self.done, self.finished = self.done + 1, self.finished + 1
            case "trial_failed":
                self.failed, self.finished = self.failed + 1, self.finished + 1
            case _:
                self.skipped += 1
