"""What became of each planned trial: done, failed, skipped or to do, and why; none is silently absent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from advtransfer.leaderboard.evidence import Evidence
from advtransfer.plan import Trial

Status: TypeAlias = Literal["done", "failed", "skipped", "to do"]
STATUSES: tuple[Status, ...] = ("done", "failed", "skipped", "to do")


@dataclass(frozen=True, slots=True)
class Fate:
    """How one trial stands, and the reason where it is not done."""

    status: Status
    reason: str = ""


def fate(trial: Trial, evidence: Evidence) -> Fate:
    """How a trial stands: done when every record of it is there, failed when what it stands on or a part of it did."""
    if trial.skipped:
        return Fate("skipped", trial.skipped)
    if all(map(evidence.done, trial.records())):
        return Fate("done")
    for id, part in _parts(trial, evidence):
        if attempt := evidence.attempts.get(id):
            lost = "lost: " if attempt.status == "lost" else ""
            return Fate("skipped" if attempt.status == "skipped" else "failed", f"{part}{lost}{attempt.reason}")
    return Fate("to do", "no record yet")


def _parts(trial: Trial, evidence: Evidence) -> Iterator[tuple[str, str]]:
    """The ids that a trial needs in the order they are made, each with how its failure is introduced."""
    for id in trial.builds:
        yield id, f"source {evidence.plan.sources.get(id, id[:12])}: "
    yield trial.id, ""
    for label, ids in trial.evaluations.items():
        for id in ids:
            yield id, f"{label}: "
