"""The worst over all attacks of one trial in a ball: those of its evaluations and of the host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from advtransfer.result.comparison import (
    SUSPICIOUS_SHARE,
    check_base_name,
    compare_outcomes,
    folded_checks,
    named_by_eps,
)
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
from advtransfer.result.verdict import Verdict, verdict_from_checks, worst_verdict
from advtransfer.types import Check
from advtransfer.types.metric_names import CLAIM_PREFIX, WORST_LABELS, attack_name

if TYPE_CHECKING:
    from advtransfer.result.evidence import OutcomeArray

ATTACK_CHECKS = frozenset({"missed", "finished"})
"""Checks of one attack: of several together they are made again, since another one may have found
what it missed. All others judge the model, or whether the attack can be believed at all."""

WORST_MISSED_TEXT = (
    "lower bound of the share that the host's own attacks broke and every attack of the trial left "
    "robust or unknown; the robust accuracy on pages counts these samples as broken"
)


class WorstResult(NamedTuple):
    """The worst over all attacks of a trial in one norm, and the verdict on these numbers."""

    folded: FoldedResult
    verdict: Verdict


def worst_results(
    results: Sequence[tuple[RecordJson, FoldedResult]], batteries: BatteryIndex
) -> dict[str, WorstResult]:
    """Return the worst over all attacks of one trial, by the label of its norm.

    At each radius that was attacked, a sample is broken if any attack or battery broke it within
    this radius, and unknown if it is unknown to an attack of this radius.

    Args:
        results: The result records of the trial, with their outcomes after the fold.
        batteries: The batteries of the run.
    """
    attacks = [
        _Attack(record, folded, ball, folded.outcomes[name], folded.outcomes[attack_name(name)])
        for record, folded in results
        for name, ball in folded.balls.items()
    ]
    # A trial has one fitted model; attacks on another network of it are not counted.
    attacks = [attack for attack in attacks if _same_inputs(attack.record, attacks[0].record)]
    worst: dict[str, WorstResult] = {}
    for norm, label in WORST_LABELS.items():
        of_norm = [attack for attack in attacks if attack.ball.norm == norm]
        joined: dict[str, OutcomeArray] = {}
        outcomes: dict[str, OutcomeArray] = {}
        probes: dict[str, Probe] = {}
        balls: dict[str, Ball] = {}
        ids: dict[str, tuple[str, ...]] = {}
        for ball in _distinct_balls(attack.ball for attack in of_norm):
            name = f"{CLAIM_PREFIX}@{ball.eps:g}"
            at_radius = [attack for attack in attacks if ball.equals(attack.ball)]
            record = at_radius[0].record
            within = [attack for attack in of_norm if ball.contains(attack.ball)]
            outcomes[name] = _broken_by_any(
                _worst_outcomes([attack.folded for attack in at_radius]),
                [attack.folded for attack in within],
            )
            joined[name] = _broken_by_any(
                _worst_outcomes([attack.alone for attack in at_radius]),
                [attack.alone for attack in within],
            )
            probes[name] = probe_outcomes(record, joined[name], batteries.at(record, ball))
            balls[name] = ball
            ids[name] = tuple(sorted(each.id for each in batteries.within(record, ball)))
        if outcomes:
            folded = FoldedResult(outcomes, probes, balls, ids)
            worst[label] = WorstResult(folded, _joined_verdict(of_norm, folded, joined, batteries))
    return worst


class _Attack(NamedTuple):
    """A robust accuracy of a trial: folded, and by its attack alone."""

    record: RecordJson
    result: FoldedResult
    ball: Ball
    folded: OutcomeArray
    alone: OutcomeArray


def _joined_verdict(
    attacks: Sequence[_Attack],
    folded: FoldedResult,
    joined: Mapping[str, OutcomeArray],
    batteries: BatteryIndex,
) -> Verdict:
    """Return the verdict on the worst over attacks of one norm.

    A sample is missed only if every attack left it, so that a weak attack beside a strong one makes
    the model no more suspicious; signs of masking are those of the model, whichever attack ran.

    Args:
        attacks: The attacks of the norm, of one model.
        folded: Their worst, by robust accuracy.
        joined: What all of them left without the host, by robust accuracy, ``(N,)``.
        batteries: The batteries of the run.
    """
    results = {id(attack.record): attack for attack in attacks}.values()
    checks = [folded_checks(attack.record, attack.result) for attack in results]
    made_again: list[Check] = []
    for name, ball in folded.balls.items():
        battery = batteries.at(attacks[0].record, ball)
        if battery is None or not folded.probes[name].count:
            # Without the battery's samples only the recorded checks can tell.
            return worst_verdict(map(verdict_from_checks, checks))
        compared = compare_outcomes(joined[name], battery, limit=_missed_limit(attacks, ball))
        own = [check for check in compared if check.name in ATTACK_CHECKS]
        made_again += named_by_eps(own, ball.eps) if len(folded.balls) > 1 else own
    made_again = [
        replace(each, text=WORST_MISSED_TEXT) if check_base_name(each) == "missed" else each
        for each in made_again
    ]
    return worst_verdict(
        verdict_from_checks(
            [*(each for each in own if check_base_name(each) not in ATTACK_CHECKS), *made_again]
        )
        for own in checks
    )


def _missed_limit(attacks: Iterable[_Attack], ball: Ball) -> float:
    """Return the smallest limit of a missed share among the attacks of a radius."""
    limits = [
        check.limit
        for attack in attacks
        if ball.equals(attack.ball)
        for check in folded_checks(attack.record, attack.result)
        if check_base_name(check) == "missed"
    ]
    return min([SUSPICIOUS_SHARE, *limits])


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
