"""The worst over all attacks of one trial in a ball: those of its evaluations and of the host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from advtransfer.result.evidence import (
    BROKEN,
    ROBUST,
    UNKNOWN,
    WRONG,
    Ball,
    BatteryIndex,
    FoldedResult,
    Probe,
    RecordJson,
    probe_outcomes,
)
from advtransfer.types.metric_names import CLAIM_PREFIX, WORST_LABELS, attack_name

if TYPE_CHECKING:
    from advtransfer.result.evidence import OutcomeArray


def worst_results(
    results: Sequence[tuple[RecordJson, FoldedResult]], batteries: BatteryIndex
) -> dict[str, FoldedResult]:
    """Return the worst over all attacks of one trial, by the label of its norm.

    At each radius that was attacked, a sample is broken if any attack or battery broke it within
    this radius, and unknown if it is unknown to an attack of this radius.

    Args:
        results: The result records of the trial, with their outcomes after the fold.
        batteries: The batteries of the run.
    """
    attacks = [
        _Attack(record, ball, folded.outcomes[name], folded.outcomes[attack_name(name)])
        for record, folded in results
        for name, ball in folded.balls.items()
    ]
    # A trial has one fitted model; attacks on another network of it are not counted.
    attacks = [attack for attack in attacks if _same_inputs(attack.record, attacks[0].record)]
    worst: dict[str, FoldedResult] = {}
    for norm, label in WORST_LABELS.items():
        outcomes: dict[str, OutcomeArray] = {}
        probes: dict[str, Probe] = {}
        balls: dict[str, Ball] = {}
        ids: dict[str, tuple[str, ...]] = {}
        for ball in _distinct_balls(attack.ball for attack in attacks if attack.ball.norm == norm):
            name = f"{CLAIM_PREFIX}@{ball.eps:g}"
            at_radius = [attack for attack in attacks if ball.equals(attack.ball)]
            record = at_radius[0].record
            within = [attack.folded for attack in attacks if ball.contains(attack.ball)]
            alone = _worst_outcomes([attack.alone for attack in at_radius])
            outcomes[name] = _broken_by_any(
                _worst_outcomes([attack.folded for attack in at_radius]), within
            )
            probes[name] = probe_outcomes(record, alone, batteries.at(record, ball))
            balls[name] = ball
            ids[name] = tuple(sorted(each.id for each in batteries.within(record, ball)))
        if outcomes:
            worst[label] = FoldedResult(outcomes, probes, balls, ids)
    return worst


class _Attack(NamedTuple):
    """A robust accuracy of a trial: folded, and by its attack alone."""

    record: RecordJson
    ball: Ball
    folded: OutcomeArray
    alone: OutcomeArray


def _worst_outcomes(attacks: Sequence[OutcomeArray]) -> OutcomeArray:
    """Return the worst outcome of each sample: wrong, broken, unknown, robust."""
    import numpy as np

    if len(attacks) == 1:
        return attacks[0]
    severity, by_severity = _severities()
    worst: OutcomeArray = by_severity[severity[np.stack(attacks)].max(axis=0)]
    return worst


@cache
def _severities() -> tuple[OutcomeArray, OutcomeArray]:
    """Return how bad each outcome is, ``(4,)``, and the outcome of each such number."""
    import numpy as np

    by_severity = np.array([ROBUST, UNKNOWN, BROKEN, WRONG], dtype=np.uint8)
    return np.argsort(by_severity).astype(np.uint8), by_severity


def _broken_by_any(outcomes: OutcomeArray, others: Iterable[OutcomeArray]) -> OutcomeArray:
    """Return outcomes with the breaks of other attacks; what these left robust says nothing."""
    worst = outcomes.copy()
    for other in others:
        worst[(other == BROKEN) & (worst != WRONG)] = BROKEN
    return worst


def _distinct_balls(balls: Iterable[Ball]) -> Iterator[Ball]:
    """Yield the balls with different radii, smallest first."""
    latest: Ball | None = None
    for ball in sorted(balls):
        if latest is None or not latest.equals(ball):
            yield ball
            latest = ball


def _same_inputs(first: RecordJson, second: RecordJson) -> bool:
    ours, theirs = first["asked"]["inputs"], second["asked"]["inputs"]
    return all(ours.get(name) == theirs.get(name) for name in ("model", "test"))
