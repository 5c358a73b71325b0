"""Hypotheses of claims: those that state one hypothesis twice are corrected as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TypeAlias

from advtransfer.leaderboard.claims_config import Claim
from advtransfer.leaderboard.contrasts import Contrast, named_rows
from advtransfer.leaderboard.questions_families import first_label
from advtransfer.planning import Plan

ClaimHypothesis: TypeAlias = "tuple[object, ...]"
"""What a claim tests: equal for two claims with one p value."""


def claim_hypothesis(claim: Claim, plan: Plan) -> ClaimHypothesis:
    """Return what a claim tests, whatever its name, its texts, its margin and, as p is two-sided, its sign.

    Metrics are columns by `first_label`, and selections the trials or tables that they select.
    """
    column = partial(first_label, trials=plan.trials)
    hypothesis: list[object] = [claim.kind]
    for contrast in (claim.contrast, claim.minus):
        if contrast is not None:
            hypothesis.append(_contrast_identity(contrast, plan, column))
    if (question := claim.question) is not None:
        trials = frozenset(trial.id for trial in plan.trials if question.selects_trial(trial))
        metrics = tuple(map(column, question.metrics))
        hypothesis += [metrics, question.across, trials, claim.coefficient, claim.per_training]
    if (inequality := claim.inequality) is not None:
        selected = filter(inequality.trials.selects_trial, plan.trials)
        hypothesis.append(frozenset(trial.id for trial in selected))
        hypothesis += [
            _side_identity(side, column) for side in (inequality.lower, inequality.upper)
        ]
    return tuple(hypothesis)


def _contrast_identity(
    contrast: Contrast, plan: Plan, column: Callable[[str], str]
) -> tuple[object, ...]:
    rows = {axis: labels for axis, labels in contrast.at.items() if axis in ("source", "transfer")}
    return (
        column(contrast.metric),
        frozenset((contrast.of or {}).items()),
        frozenset((contrast.against or {}).items()),
        frozenset(contrast.selected_places(named_rows(plan.trials))),
        _labels_by_axis(rows),
    )


def _labels_by_axis(labels: Mapping[str, Iterable[str | int]]) -> frozenset[object]:
    return frozenset((axis, frozenset(of_axis)) for axis, of_axis in labels.items())


def _side_identity(
    side: Iterable[str | float], column: Callable[[str], str]
) -> tuple[str | float, ...]:
    """Return the parts of a side, whose order changes no sum."""
    parts = [column(part) if isinstance(part, str) else float(part) for part in side]
    return tuple(sorted(parts, key=str))
