"""The live console: progress, running jobs and failures on a terminal, then a table of means."""

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

from advtransfer.console.event_fields import (
    Event,
    mapping_field,
    number_mapping_field,
    text_field,
    text_list_field,
)
from advtransfer.console.formatting import (
    bounded_number,
    card_warning,
    ending_lines,
    event_trial,
    format_duration,
    lock_line,
    opening_line,
    select_metrics,
    source_line,
    superseded_line,
    trial_name,
    warning_line,
)
from advtransfer.console.progress import RunningJob, RunProgress
from advtransfer.text import ABSENT, pluralize

MEAN_AXES = ("target", "n", "transfer", "source", "adapter")
MAX_TABLE_ROWS = 40
"""A longer table of means is left to the page."""


@dataclass(slots=True)
class MetricMeans:
    """The values of each metric for each target, n, transfer, source and adapter.

    `upper_bounds` are the positions and metrics of which some value is an upper bound only.
    """

    rows: dict[tuple[str, ...], dict[str, list[float]]] = field(default_factory=dict)
    upper_bounds: set[tuple[tuple[str, ...], str]] = field(default_factory=set)
    trial_count: int = 0

    def add_trial(self, event: Event) -> None:
        """Add the event ``trial_finished``."""
        trial = mapping_field(event, "trial")
        position = tuple(text_field(trial, axis) for axis in MEAN_AXES)
        row = self.rows.setdefault(position, {})
        self.upper_bounds |= {(position, name) for name in text_list_field(event, "upper_bounds")}
        for name, value in number_mapping_field(event, "metrics").items():
            row.setdefault(name, []).append(value)
        self.trial_count += 1

    def render_table(self, *, columns: Sequence[str] = ()) -> Table | None:
        """Return the table of the suite's columns, else of the first few metrics.

        None where the table would be empty or too long for a terminal.
        """
        if not 0 < len(self.rows) <= MAX_TABLE_ROWS:
            return None
        metrics = list(dict.fromkeys(name for row in self.rows.values() for name in row))
        names, more = select_metrics(metrics, columns=columns)
        # Most suites have no adapter, and a column of dashes would only take width.
        has_adapters = any(position[MEAN_AXES.index("adapter")] for position in self.rows)
        axes = [axis for axis in MEAN_AXES if axis != "adapter" or has_adapters]
        trials = pluralize(self.trial_count, "trial")
        table = Table(
            title=f"Means over the {trials} that finished in this run",
            caption=f"and {more} more, on the page" if more else None,
        )
        for heading in [*axes, "trials", *names]:
            is_text = heading in MEAN_AXES and heading != "n"
            table.add_column(heading, justify="left" if is_text else "right")
        for position, row in sorted(self.rows.items(), key=_row_order):
            labels = [position[MEAN_AXES.index(axis)] or ABSENT for axis in axes]
            means = [
                _mean_text(row.get(name), (position, name) in self.upper_bounds) for name in names
            ]
            table.add_row(*labels, str(_trial_count(row)), *means)
        return table


def _row_order(item: tuple[tuple[str, ...], object]) -> tuple[str, bool, int, tuple[str, ...]]:
    """Return a row's sort key: target, then n as a number with ``all`` last, then the rest."""
    target, n, *others = item[0]
    return target, not n.isdigit(), int(n) if n.isdigit() else 0, tuple(others)


def _trial_count(row: Mapping[str, list[float]]) -> int:
    return max(map(len, row.values()), default=0)


def _mean_text(values: list[float] | None, is_upper_bound: bool) -> str:
    return bounded_number(sum(values) / len(values), is_upper_bound) if values else ABSENT


REDRAW_INTERVAL_SECONDS = 0.1
"""Shortest time between two redraws for progress alone."""


class LiveConsole:
    """A console that draws on `terminal` during the run; the last lines go to `product`."""

    def __init__(self, terminal: Terminal, *, product: TextIO) -> None:
        self._terminal = terminal
        self._product = product
        self._progress = RunProgress()
        self._means = MetricMeans()
        self._final_event: Event = {}
        self._last_redraw = 0.0
        # stdout belongs to the product, so rich must not redirect it to this terminal.
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
        """Restore the terminal, then print the table of means and the last lines."""
        self._display.stop()
        if self._final_event:
            table = self._means.render_table(columns=self._progress.columns)
            if table is not None:
                self._terminal.print(table)
            self._product.writelines(f"{line}\n" for line in ending_lines(self._final_event))
            self._product.flush()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        self._progress.add_event(event)
        self._print_event(event)
        # A training may report progress far more often than a terminal can be drawn.
        is_due = time.monotonic() >= self._last_redraw + REDRAW_INTERVAL_SECONDS
        if event.get("event") != "progress" or is_due:
            self._last_redraw = time.monotonic()
            self._display.update(render_progress(self._progress))

    def _print_event(self, event: Event) -> None:
        reason = text_field(event, "reason")
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
                name = trial_name(event_trial(event))
                self._print_line(f"failed: {name}: {reason}", style="red")
            case "warning":
                self._print_line(warning_line(event), style="yellow")
            case "waiting_for_locks" | "claim_lost" | "jobs_left":
                self._print_line(lock_line(event))
            case "plugin_message":
                self._print_line(f"{text_field(event, 'plugin')}: {text_field(event, 'text')}")
            case "worker_replaced":
                self._print_line(f"a worker was replaced: {reason}", style="yellow")
            case "run_finished":
                self._final_event = event

    def _print_line(self, line: str, *, style: str = "") -> None:
        # Text, unlike a string, is not searched for markup: a reason may contain brackets.
        self._terminal.print(Text(line, style=style))


def render_progress(progress: RunProgress) -> RenderableType:
    """Return the display of one moment: a bar over all trials, a line for each running job."""
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        ProgressBar(total=max(1, progress.trial_count), completed=progress.settled_count, width=30),
        Text(_overall_text(progress)),
    )
    jobs = Table.grid(padding=(0, 1))
    for job in list(progress.running.values()):
        jobs.add_row(" ", Text(job.name, overflow="ellipsis", no_wrap=True), *_job_cells(job))
    return Group(bar, jobs)


def _overall_text(progress: RunProgress) -> str:
    parts = [f"{progress.settled_count}/{pluralize(progress.trial_count, 'trial')}"]
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    if progress.skipped:
        parts.append(f"{progress.skipped} skipped")
    if progress.seconds_left and progress.todo:
        parts.append(f"{format_duration(progress.seconds_left)} left")
    return ", ".join(parts)


def _job_cells(job: RunningJob) -> tuple[RenderableType, RenderableType]:
    if job.share is None:
        return Text(), Text(job.news)
    bar = ProgressBar(total=1.0, completed=job.share, width=15)
    return bar, Text(job.news, no_wrap=True, overflow="ellipsis")
