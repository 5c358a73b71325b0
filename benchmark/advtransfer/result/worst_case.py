"""The worst over all attacks of one trial in a ball: those of its evaluations and of the host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import NamedTuple

from advtransfer.result.battery_index import Ball, BatteryEvidence, BatteryIndex, RecordJson
from advtransfer.result.comparison import (
    SUSPICIOUS_SHARE,
    JudgedResult,
    finished_check,
    missed_check,
    named_by_eps,
)
from advtransfer.result.evidence import FoldedResult, Probe, probe_outcomes
from advtransfer.result.outcomes import SampleOutcomes, worst_outcomes
from advtransfer.result.verdict import Verdict, base_name, verdict_from_checks, worst_verdict
from advtransfer.types import Check
from advtransfer.types.metric_names import CLAIM_PREFIX, WORST_LABELS, attack_name

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
    results: Sequence[JudgedResult], batteries: BatteryIndex
) -> dict[str, WorstResult]:
    """Return the worst over all attacks of one trial, by the label of its norm.

    At each radius that was attacked, a sample is broken if any attack or battery broke it within
    this radius, and unknown if it is unknown to an attack of this radius.

    Args:
        results: The results of the trial.
        batteries: The batteries of the run.
    """
    attacks = [
        _Attack(result, ball, outcomes[name], outcomes[attack_name(name)])
        for result in results
        for outcomes in [result.folded.outcomes]
        for name, ball in result.folded.balls.items()
    ]
    # A trial has one fitted model; attacks on another network of it are not counted.
    attacks = [
        attack for attack in attacks if _same_inputs(attack.result.record, attacks[0].result.record)
    ]
    worst: dict[str, WorstResult] = {}
    for norm, label in WORST_LABELS.items():
        of_norm = [attack for attack in attacks if attack.ball.norm == norm]
        joined: dict[str, SampleOutcomes] = {}
        outcomes: dict[str, SampleOutcomes] = {}
        probes: dict[str, Probe] = {}
        balls: dict[str, Ball] = {}
        ids: dict[str, tuple[str, ...]] = {}
        newest: dict[str, BatteryEvidence | None] = {}
        for ball in _distinct_balls(attack.ball for attack in of_norm):
            name = f"{CLAIM_PREFIX}@{ball.eps:g}"
            at_radius = [attack for attack in attacks if ball.equals(attack.ball)]
            record = at_radius[0].result.record
            within = [attack for attack in of_norm if ball.contains(attack.ball)]
            outcomes[name] = _broken_by_any(
                worst_outcomes([attack.folded for attack in at_radius]),
                [attack.folded for attack in within],
            )
            joined[name] = _broken_by_any(
                worst_outcomes([attack.alone for attack in at_radius]),
                [attack.alone for attack in within],
            )
            newest[name] = batteries.at(record, ball)
            probes[name] = probe_outcomes(joined[name], newest[name])
            balls[name] = ball
            ids[name] = tuple(sorted(each.id for each in batteries.within(record, ball)))
        if outcomes:
            folded = FoldedResult(outcomes, probes, balls, ids, newest)
            worst[label] = WorstResult(folded, _joined_verdict(of_norm, folded, joined))
    return worst


class _Attack(NamedTuple):
    """A robust accuracy of a trial: folded, and by its attack alone."""

    result: JudgedResult
    ball: Ball
    folded: SampleOutcomes
    alone: SampleOutcomes


def _joined_verdict(
    attacks: Sequence[_Attack],
    folded: FoldedResult,
    joined: Mapping[str, SampleOutcomes],
) -> Verdict:
    """Return the verdict on the worst over attacks of one norm.

    A sample is missed only if every attack left it, so that a weak attack beside a strong one makes
    the model no more suspicious; signs of masking are those of the model, whichever attack ran.

    Args:
        attacks: The attacks of the norm, of one model.
        folded: Their worst, by robust accuracy.
        joined: What all of them left without the host, by robust accuracy.
    """
    checks = list({id(each.result): each.result.checks for each in attacks}.values())
    made_again: list[Check] = []
    for name, ball in folded.balls.items():
        battery = folded.newest[name]
        if battery is None or not folded.probes[name].count:
            # Without the battery's samples only the recorded checks can tell.
            return worst_verdict(map(verdict_from_checks, checks))
        limit = _missed_limit(attacks, ball)
        own = [
            finished_check(joined[name]),
            missed_check(joined[name], battery, limit=limit, text=WORST_MISSED_TEXT),
        ]
        made_again += named_by_eps(own, ball.eps) if len(folded.balls) > 1 else own
    return worst_verdict(
        verdict_from_checks(
            [*(each for each in own if base_name(each.name) not in ATTACK_CHECKS), *made_again]
        )
        for own in checks
    )


def _missed_limit(attacks: Iterable[_Attack], ball: Ball) -> float:
    """Return the smallest limit of a missed share among the attacks of a radius."""
    limits = [
        check.limit
        for attack in attacks
        if ball.equals(attack.ball)
        for check in attack.result.checks
        if base_name(check.name) == "missed"
    ]
    return min([SUSPICIOUS_SHARE, *limits])


def _broken_by_any(outcomes: SampleOutcomes, others: Iterable[SampleOutcomes]) -> SampleOutcomes:
    """Return outcomes with the breaks of other attacks; what these left robust says nothing."""
    return outcomes.with_broken(reduce(or_, [other.broken for other in others], 0))


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
