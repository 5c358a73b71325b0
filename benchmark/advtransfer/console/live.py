"""Live console.

Progress, running jobs and failures on a terminal, then a table of the means that were measured.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console as Terminal
from rich.console import Group, RenderableType
from rich.live import Live as Display
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from advtransfer.console.event_fields import Event, mapping_field, number_mapping_field, text_field
from advtransfer.console.formatting import (
    ABSENT,
    card_warning,
    ending_lines,
    event_trial,
    format_duration,
    format_number,
    opening_line,
    pluralize,
    select_metrics,
    source_line,
    superseded_line,
    trial_name,
    warning_line,
)
from advtransfer.console.progress import RunningJob, RunProgress

MEAN_AXES = ("target", "n", "transfer", "source", "adapter")
MAX_TABLE_ROWS = 40


@dataclass(slots=True)
class MetricMeans:
    """The values of each metric, for each target, n, transfer, source and adapter."""

    rows: dict[tuple[str, ...], dict[str, list[float]]] = field(default_factory=dict)
    trial_count: int = 0

    def add_trial(self, event: Event) -> None:
        """Add the event ``trial_finished``."""
        trial = mapping_field(event, "trial")
        row = self.rows.setdefault(tuple(text_field(trial, axis) for axis in MEAN_AXES), {})
        for name, value in number_mapping_field(event, "metrics").items():
            row.setdefault(name, []).append(value)
        self.trial_count += 1

    def render_table(self, *, columns: Sequence[str] = ()) -> Table | None:
        """The table of the suite's columns, else of the first few metrics; None when it is empty or too long."""
        if not 0 < len(self.rows) <= MAX_TABLE_ROWS:
            return None
        every = list(dict.fromkeys(name for row in self.rows.values() for name in row))
        names, more = select_metrics(every, columns=columns)
        axes = [
            index
            for index, axis in enumerate(MEAN_AXES)
            if axis != "adapter" or any(cell[index] for cell in self.rows)
        ]
        title = f"Means over the {pluralize(self.trial_count, 'trial')} that finished in this run"
        shown = Table(title=title, caption=f"and {more} more, on the page" if more else None)
        for heading in [*(MEAN_AXES[index] for index in axes), "trials", *names]:
            shown.add_column(
                heading, justify="left" if heading in MEAN_AXES and heading != "n" else "right"
            )
        for cell, row in sorted(self.rows.items(), key=_row_order):
            means = [str(_trial_count(row)), *(_mean_text(row.get(name)) for name in names)]
            shown.add_row(*(cell[index] or ABSENT for index in axes), *means)
        return shown


def _row_order(item: tuple[tuple[str, ...], object]) -> tuple[str, bool, int, tuple[str, ...]]:
    """By target, then n as a number with ``all`` last, then the other axes."""
    target, n, *others = item[0]
    return target, not n.isdigit(), int(n) if n.isdigit() else 0, tuple(others)


def _trial_count(row: Mapping[str, list[float]]) -> int:
    return max(map(len, row.values()), default=0)


def _mean_text(values: list[float] | None) -> str:
    return format_number(sum(values) / len(values)) if values else ABSENT


REDRAW_INTERVAL_SECONDS = 0.1


class LiveConsole:
    """Draws on `terminal` while the run goes on; the last lines go to `product`."""

    def __init__(self, terminal: Terminal, *, product: TextIO) -> None:
        self._terminal = terminal
        self._product = product
        self._progress = RunProgress()
        self._means = MetricMeans()
        self._final_event: Event = {}
        self._last_redraw = 0.0
        self._display = Display(console=terminal, transient=True, redirect_stdout=False)

    def __enter__(self) -> Self:
        self._display.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the terminal back, then say how the run ended."""
        self._display.stop()
        if self._final_event:
            found = self._means.render_table(columns=self._progress.columns)
            if found is not None:
                self._terminal.print(found)
            self._product.writelines(f"{line}\n" for line in ending_lines(self._final_event))
            self._product.flush()

    def __call__(self, event: Event) -> None:
        """Take one event and draw; a burst of progress is drawn ten times a second."""
        self._progress.add_event(event)
        match event.get("event"):
            case "run_started":
                self._print_line(opening_line(event))
            case "records_superseded":
                self._print_line(superseded_line(event), style="yellow")
            case "source_finished":
                self._print_line(source_line(event))
                if warning := card_warning(event):
                    self._print_line(warning, style="yellow")
            case "trial_finished":
                self._means.add_trial(event)
            case "trial_failed":
                self._print_line(
                    f"failed: {trial_name(event_trial(event))}: {text_field(event, 'reason')}",
                    style="red",
                )
            case "warning":
                self._print_line(warning_line(event), style="yellow")
            case "worker_replaced":
                self._print_line(
                    f"a worker was replaced: {text_field(event, 'reason')}", style="yellow"
                )
            case "run_finished":
                self._final_event = event
        if (
            event.get("event") != "progress"
            or time.monotonic() >= self._last_redraw + REDRAW_INTERVAL_SECONDS
        ):
            self._last_redraw = time.monotonic()
            self._display.update(render_progress(self._progress))

    def _print_line(self, line: str, *, style: str = "") -> None:
        self._terminal.print(Text(line, style=style))


def render_progress(tally: RunProgress) -> RenderableType:
    """The display of one moment: the bar over all trials, and a line for each running job."""
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        ProgressBar(total=max(1, tally.trial_count), completed=tally.settled_count, width=30),
        Text(_overall_text(tally)),
    )
    jobs = Table.grid(padding=(0, 1))
    for work in list(tally.running.values()):
        jobs.add_row(" ", Text(work.name, overflow="ellipsis", no_wrap=True), *_job_cells(work))
    return Group(bar, jobs)


def _overall_text(tally: RunProgress) -> str:
    parts = [f"{tally.settled_count}/{pluralize(tally.trial_count, 'trial')}"]
    parts += [f"{tally.failed} failed"] if tally.failed else []
    parts += [f"{tally.skipped} skipped"] if tally.skipped else []
    parts += (
        [f"{format_duration(tally.seconds_left)} left"] if tally.seconds_left and tally.todo else []
    )
    return ", ".join(parts)


def _job_cells(work: RunningJob) -> tuple[RenderableType, RenderableType]:
    if work.share is None:
        return Text(), Text(work.news)
    return ProgressBar(total=1.0, completed=work.share, width=15), Text(
        work.news, no_wrap=True, overflow="ellipsis"
    )
