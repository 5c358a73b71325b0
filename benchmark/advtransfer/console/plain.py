"""The plain console: one line for each event, for logs and pipes."""

from __future__ import annotations

import math
from types import TracebackType
from typing import Self, TextIO

from advtransfer.console.event_fields import Event, number_field, text_field
from advtransfer.console.formatting import (
    card_warning,
    ending_lines,
    event_trial,
    format_duration,
    lock_line,
    metrics_text,
    opening_line,
    source_line,
    superseded_line,
    trial_name,
    warning_line,
)
from advtransfer.console.progress import RunProgress


class PlainConsole:
    """A console that writes lines to `stream`, and the last lines to `product`.

    A line is written when the run or the training of a source starts, and when a trial ends.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        product: TextIO,
        quiet: bool = False,
        seconds_between: float = 0.0,
    ) -> None:
        self._seconds_between = seconds_between
        self._last_trial_line = -math.inf
        self._stream = stream
        self._product = product
        self._quiet = quiet
        self._progress = RunProgress()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stream.flush()

    def __call__(self, event: Event) -> None:
        """Write the lines of one event."""
        trial = event_trial(event)
        id = text_field(trial, "id") or text_field(event, "id")
        # Read before the event is counted, since the end of a job or trial drops its times.
        seconds = self._progress.seconds_spent(id, at=number_field(event, "time"))
        self._progress.add_event(event)
        reason = text_field(event, "reason")
        match event.get("event"):
            case "run_started":
                self._write_progress(opening_line(event))
            case "records_superseded":
                self._write_line(superseded_line(event))
            case "job_started" if event.get("kind") == "source":
                self._write_progress(f"building source {text_field(event, 'name')}")
            case "job_finished" if event.get("kind") == "source":
                status = f"source {text_field(event, 'name')} {text_field(event, 'status')}"
                self._write_progress(_join_parts(status, _duration_text(seconds)))
            case "source_finished":
                self._write_progress(source_line(event))
                if warning := card_warning(event):
                    self._write_line(warning)
            case "trial_finished":
                name = f"{self._position_text()} {trial_name(trial)}"
                metrics = metrics_text(event, columns=self._progress.columns)
                line = _join_parts(name, metrics, _duration_text(seconds))
                self._write_trial(line, at=number_field(event, "time"))
            case "trial_failed":
                name = f"{self._position_text()} {trial_name(trial)}"
                self._write_line(f"{name}  failed: {reason}")
            case "warning":
                self._write_line(warning_line(event))
            case "waiting_for_locks" | "claim_lost" | "jobs_left":
                self._write_line(lock_line(event))
            case "plugin_message":
                self._write_progress(f"{text_field(event, 'plugin')}: {text_field(event, 'text')}")
            case "worker_replaced":
                self._write_line(f"a worker was replaced: {reason}")
            case "trial_skipped":
                self._write_progress(f"skipped: {trial_name(trial)}: {reason}")
            case "run_finished":
                self._write_ending(event)

    def _position_text(self) -> str:
        total = str(self._progress.trial_count)
        return f"[{self._progress.settled_count:>{len(total)}}/{total}]"

    def _write_trial(self, line: str, *, at: float) -> None:
        is_last = self._progress.settled_count == self._progress.trial_count
        if is_last or at >= self._last_trial_line + self._seconds_between:
            self._last_trial_line = at
            self._write_progress(line)

    def _write_progress(self, line: str) -> None:
        if not self._quiet:
            self._write_line(line)

    def _write_line(self, line: str) -> None:
        self._stream.write(f"{line}\n")
        # A log file is read while the run goes on.
        self._stream.flush()

    def _write_ending(self, event: Event) -> None:
        # Both streams may end in one file, where the last lines belong at the end.
        self._stream.flush()
        self._product.writelines(f"{line}\n" for line in ending_lines(event))
        self._product.flush()


def _join_parts(*parts: str) -> str:
    return "  ".join(filter(None, parts))


def _duration_text(seconds: float | None) -> str:
    return "" if seconds is None else format_duration(seconds)
