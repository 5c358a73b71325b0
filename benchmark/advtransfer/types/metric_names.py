"""Names of robust accuracies, and of the evaluations that no suite has among its own."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

CLAIM_PREFIX = "robust_accuracy"
"""Prefix of the metrics that the host verifies, and folds with what its batteries broke."""

ATTACK_PREFIX = "attack_accuracy"
"""Prefix of the share that an evaluation's own attack left, beside the folded robust accuracy."""

EXPECTED_ROBUSTNESS = "expected_robustness"
"""Area under the curve of accuracy over eps of an evaluation of several radii, made from its folded outcomes."""

UNION_ACCURACY = "union_accuracy"
"""Accuracy on the union of the balls of an evaluation's robust accuracies, folded with all of their batteries."""

WORST_LABELS: Mapping[str, str] = {"linf": "worst_linf", "l2": "worst_l2", "l1": "worst_l1"}
"""Evaluation labels of the worst over all attacks of a trial, by norm; no suite may use them."""

_NORMS_BY_LABEL = {label: norm for norm, label in WORST_LABELS.items()}

VALIDATION_LABEL = "validation"
"""Evaluation label of what a fit measured on held-out training images; no suite may use it."""

VALIDATION_METRICS: Mapping[str, str] = {
    "accuracy": "validation_accuracy",
    "robust_accuracy": "robust_validation_accuracy",
}
"""Metrics of `VALIDATION_LABEL`, and their names among a fit's facts and curves."""

COST_LABEL = "cost"
"""Evaluation label of what a fit cost; no suite may use it."""

COST_METRICS = ("configurations", "gradient_passes", "seconds_per_epoch")
"""Metrics of `COST_LABEL`.

The options that a fit was chosen among, forward and backward passes of one image, and the fit's own seconds an epoch.
"""

FIT_LABEL = "fit"
"""Evaluation label of the facts that a transfer states of its fits; no suite may use it."""

RESERVED_LABELS = frozenset({*WORST_LABELS.values(), VALIDATION_LABEL, COST_LABEL, FIT_LABEL})


def attack_name(metric: str) -> str:
    """Return ``attack_accuracy@0.1`` for ``robust_accuracy@0.1``."""
    return f"{ATTACK_PREFIX}{metric.removeprefix(CLAIM_PREFIX)}"


def worst_norm(evaluation: str) -> str | None:
    """Return the norm of a label of `WORST_LABELS`, None for other labels."""
    return _NORMS_BY_LABEL.get(evaluation)


def claimed_radius(metric: str) -> float | None:
    """Return 0.1 of ``robust_accuracy@0.1``, None of other metrics, those of snapshots included.

    None too of what is no radius: a number below 0, infinity and NaN.
    """
    name, _, radius = metric.partition("@")
    if name != CLAIM_PREFIX:
        return None
    try:
        eps = float(radius)
    except ValueError:
        return None
    return eps if 0 <= eps < inf else None
