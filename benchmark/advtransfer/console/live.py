"""The live console: progress, running jobs and failures on a terminal, then a table of what was measured."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console as Terminal
from rich.console import Group, RenderableType
from rich.live import Live as Display
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from advtransfer.console.events import Event, text
from advtransfer.console.means import Means
from advtransfer.console.tally import Tally, Work
from advtransfer.console.words import (
    disagreement,
    duration,
    ending,
    many,
    of_trial,
    opening,
    source_line,
    superseded,
    trial_name,
    warned,
)

BETWEEN_REDRAWS = 0.1


class Live:
    """Draws on `terminal` while the run goes on; the last lines go to `product`."""

    def __init__(self, terminal: Terminal, *, product: TextIO) -> None:
        self._terminal = terminal
        self._product = product
        self._tally = Tally()
        self._means = Means()
        self._last: Event = {}
        self._drawn = 0.0
        self._display = Display(console=terminal, transient=True, redirect_stdout=False)

    def __enter__(self) -> Self:
        self._display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give the terminal back, then say how the run ended."""
        self._display.stop()
        if self._last:
            found = self._means.table(columns=self._tally.columns)
            if found is not None:
                self._terminal.print(found)
            self._product.writelines(f"{line}\n" for line in ending(self._last))
            self._product.flush()

    def __call__(self, event: Event) -> None:
        """Take one event and draw; a burst of progress is drawn ten times a second."""
        self._tally.take(event)
        match event.get("event"):
            case "run_started":
                self._print(opening(event))
            case "records_superseded":
                self._print(superseded(event), style="yellow")
            case "source_finished":
                self._print(source_line(event))
                if warning := disagreement(event):
                    self._print(warning, style="yellow")
            case "trial_finished":
                self._means.take(event)
            case "trial_failed":
                self._print(f"failed: {trial_name(of_trial(event))}: {text(event, 'reason')}", style="red")
            case "warning":
                self._print(warned(event), style="yellow")
            case "worker_replaced":
                self._print(f"a worker was replaced: {text(event, 'reason')}", style="yellow")
            case "run_finished":
                self._last = event
        if event.get("event") != "progress" or time.monotonic() >= self._drawn + BETWEEN_REDRAWS:
            self._drawn = time.monotonic()
            self._display.update(view(self._tally))

    def _print(self, line: str, *, style: str = "") -> None:
        self._terminal.print(Text(line, style=style))


def view(tally: Tally) -> RenderableType:
    """The display of one moment: the bar over all trials, and a line for each running job."""
    bar = Table.grid(padding=(0, 1))
    bar.add_row(ProgressBar(total=max(1, tally.trials), completed=tally.place, width=30), Text(_overall(tally)))
    jobs = Table.grid(padding=(0, 1))
    for work in list(tally.running.values()):
        jobs.add_row(" ", Text(work.name, overflow="ellipsis", no_wrap=True), *_progress(work))
    return Group(bar, jobs)


def _overall(tally: Tally) -> str:
    parts = [f"{tally.place}/{many(tally.trials, 'trial')}"]
    parts += [f"{tally.failed} failed"] if tally.failed else []
    parts += [f"{tally.skipped} skipped"] if tally.skipped else []
    parts += [f"{duration(tally.left)} left"] if tally.left and tally.todo else []
    return ", ".join(parts)


def _progress(work: Work) -> tuple[RenderableType, RenderableType]:
    if work.share is None:
        return Text(), Text(work.news)
    return ProgressBar(total=1.0, completed=work.share, width=15), Text(work.news, no_wrap=True, overflow="ellipsis")
