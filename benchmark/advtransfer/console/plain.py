"""The plain console: one line for each thing that happened, for logs and pipes."""

from __future__ import annotations

from types import TracebackType
from typing import Self, TextIO

from advtransfer.console.events import Event, number, text
from advtransfer.console.tally import Tally
from advtransfer.console.words import (
    disagreement,
    duration,
    ending,
    metrics,
    of_trial,
    opening,
    source_line,
    superseded,
    trial_name,
    warned,
)


class Plain:
    """Writes a line to `stream` when a run or a training starts and a trial ends, and the last lines to `product`."""

    def __init__(self, stream: TextIO, *, product: TextIO, quiet: bool = False) -> None:
        self._stream = stream
        self._product = product
        self._quiet = quiet
        self._tally = Tally()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stream.flush()

    def __call__(self, event: Event) -> None:
        """Write what this event has to say."""
        trial = of_trial(event)
        spent = self._tally.spent(text(trial, "id") or text(event, "id"), at=number(event, "time"))
        self._tally.take(event)
        match event.get("event"):
            case "run_started":
                self._say(opening(event))
            case "records_superseded":
                self._warn(superseded(event))
            case "job_started" if event.get("kind") == "source":
                self._say(f"building source {text(event, 'name')}")
            case "job_finished" if event.get("kind") == "source":
                self._say(_joined(f"source {text(event, 'name')} {text(event, 'status')}", _took(spent)))
            case "source_finished":
                self._say(source_line(event))
                if warning := disagreement(event):
                    self._warn(warning)
            case "trial_finished":
                told = metrics(event, columns=self._tally.columns)
                self._say(_joined(f"{self._place()} {trial_name(trial)}", told, _took(spent)))
            case "trial_failed":
                self._warn(f"{self._place()} {trial_name(trial)}  failed: {text(event, 'reason')}")
            case "warning":
                self._warn(warned(event))
            case "worker_replaced":
                self._warn(f"a worker was replaced: {text(event, 'reason')}")
            case "trial_skipped":
                self._say(f"skipped: {trial_name(trial)}: {text(event, 'reason')}")
            case "run_finished":
                self._close(event)

    def _place(self) -> str:
        total = str(self._tally.trials)
        return f"[{self._tally.place:>{len(total)}}/{total}]"

    def _say(self, line: str) -> None:
        if not self._quiet:
            self._warn(line)

    def _warn(self, line: str) -> None:
        self._stream.write(f"{line}\n")
        self._stream.flush()

    def _close(self, event: Event) -> None:
        self._stream.flush()
        self._product.writelines(f"{line}\n" for line in ending(event))
        self._product.flush()


def _joined(*parts: str) -> str:
    return "  ".join(filter(None, parts))


def _took(seconds: float | None) -> str:
    return "" if seconds is None else duration(seconds)
