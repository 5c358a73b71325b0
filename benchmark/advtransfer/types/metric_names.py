"""Names of robust accuracies and of the evaluations that only reading gives."""

from __future__ import annotations

from collections.abc import Mapping

CLAIM_PREFIX = "robust_accuracy"
"""Prefix of the metrics that the host verifies, and folds with what its batteries broke."""

ATTACK_PREFIX = "attack_accuracy"
"""Prefix of the share that an evaluation's own attack left, beside the folded robust accuracy."""

WORST_LABELS: Mapping[str, str] = {"linf": "worst_linf", "l2": "worst_l2", "l1": "worst_l1"}
"""Evaluation labels of the worst over all attacks of a trial, by norm; no suite may use them."""


def attack_name(metric: str) -> str:
    """Return ``attack_accuracy@0.1`` for ``robust_accuracy@0.1``."""
    return f"{ATTACK_PREFIX}{metric.removeprefix(CLAIM_PREFIX)}"


def worst_norm(evaluation: str) -> str | None:
    """Return the norm of a label of `WORST_LABELS`, None for other labels."""
    return next((norm for norm, label in WORST_LABELS.items() if label == evaluation), None)
