"""The final table of the live console: means over the trials that finished in this run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.table import Table

from advtransfer.console.events import Event, numbers, table, text
from advtransfer.console.words import ABSENT, figure, many, worth_showing

AXES = ("target", "n", "transfer", "source", "adapter")
MOST_ROWS = 40


@dataclass(slots=True)
class Means:
    """The values of each metric, for each target, n, transfer, source and adapter."""

    rows: dict[tuple[str, ...], dict[str, list[float]]] = field(default_factory=dict)
    trials: int = 0

    def take(self, event: Event) -> None:
        """Add the event ``trial_finished``."""
        trial = table(event, "trial")
        row = self.rows.setdefault(tuple(text(trial, axis) for axis in AXES), {})
        for name, value in numbers(event, "metrics").items():
            row.setdefault(name, []).append(value)
        self.trials += 1

    def table(self, *, columns: Sequence[str] = ()) -> Table | None:
        """The table of the suite's columns, else of the first few metrics; None when it is empty or too long."""
        if not 0 < len(self.rows) <= MOST_ROWS:
            return None
        every = list(dict.fromkeys(name for row in self.rows.values() for name in row))
        names, more = worth_showing(every, columns=columns)
        axes = [index for index, axis in enumerate(AXES) if axis != "adapter" or any(cell[index] for cell in self.rows)]
        title = f"Means over the {many(self.trials, 'trial')} that finished in this run"
        shown = Table(title=title, caption=f"and {more} more, on the page" if more else None)
        for heading in [*(AXES[index] for index in axes), "trials", *names]:
            shown.add_column(heading, justify="left" if heading in AXES and heading != "n" else "right")
        for cell, row in sorted(self.rows.items(), key=_order):
            means = [str(_trials(row)), *(_mean(row.get(name)) for name in names)]
            shown.add_row(*(cell[index] or ABSENT for index in axes), *means)
        return shown


def _order(item: tuple[tuple[str, ...], object]) -> tuple[str, bool, int, tuple[str, ...]]:
    """By target, then n as a number with ``all`` last, then the other axes."""
    target, n, *others = item[0]
    return target, not n.isdigit(), int(n) if n.isdigit() else 0, tuple(others)


def _trials(row: Mapping[str, list[float]]) -> int:
    return max(map(len, row.values()), default=0)


def _mean(values: list[float] | None) -> str:
    return figure(sum(values) / len(values)) if values else ABSENT
