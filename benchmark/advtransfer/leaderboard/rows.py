"""The rows of a leaderboard: trials that differ in nothing but their seeds, gathered by target and n."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from advtransfer.leaderboard.columns import Column
from advtransfer.leaderboard.evidence import Evidence, Metric
from advtransfer.plan import Trial

Key: TypeAlias = "tuple[int | None, int]"
"""A trial within its row: the source's replicate (None without replicates) and the subset seed."""
Place: TypeAlias = "tuple[str, int | str]"
"""A table: a target and n."""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One source (with all its replicates), adapter and transfer at one target and n; compared by identity."""

    source: str | None
    adapter: str | None
    transfer: str
    trials: tuple[Trial, ...]

    @property
    def name(self) -> tuple[str, str, str]:
        """What rows are sorted by where nothing ranks them."""
        return (self.source or "", self.adapter or "", self.transfer)

    @property
    def label(self) -> str:
        """The row in words, without its transfer."""
        return (self.source or "no source") + (f" via {self.adapter}" if self.adapter else "")

    def values(self, column: Column, evidence: Evidence) -> dict[Key, Metric]:
        """One metric of every trial that has it."""
        found = {(trial.replicate, trial.seed): column.of(trial, evidence) for trial in self.trials}
        return {key: metric for key, metric in found.items() if metric is not None}

    def skips(self, column: Column, evidence: Evidence) -> bool:
        """Whether the column's evaluation makes no sense in any trial that asks for it."""
        asking = [trial for trial in self.trials if column.evaluation in trial.evaluations]
        return bool(asking) and all(column.evaluation in evidence.state(trial).skipped for trial in asking)


def tables(evidence: Evidence) -> dict[Place, list[Row]]:
    """The rows of each target and n; a row that makes no sense there, with any of its seeds, is left out."""
    grouped: dict[Place, dict[tuple[str | None, str | None, str], list[Trial]]] = {}
    for trial in sorted(evidence.plan.trials, key=order):
        rows = grouped.setdefault((trial.target, trial.n), {})
        rows.setdefault((trial.row, trial.adapter, trial.transfer), []).append(trial)
    found = {
        place: [
            Row(*name, tuple(trials))
            for name, trials in rows.items()
            if not all(evidence.state(one).senseless for one in trials)
        ]
        for place, rows in grouped.items()
    }
    return {place: rows for place, rows in found.items() if rows}


def _sensible(trials: list[Trial], evidence: Evidence) -> bool:
    return not all(evidence.state(trial).senseless for trial in trials)


def order(trial: Trial) -> tuple[str, bool, int, str, str, str, int, int]:
    """By place, `all` after every count."""
    everything = trial.n == "all"
    n = 0 if trial.n == "all" else trial.n
    names = (trial.row or "", trial.adapter or "", trial.transfer)
    return (trial.target, everything, n, *names, trial.replicate or 0, trial.seed)
