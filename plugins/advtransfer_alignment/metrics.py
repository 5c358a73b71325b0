"""Metrics of a comparison by name, and the subset of samples that each is computed over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from advtransfer_alignment.deviations import (
    MIN_DEVIATION,
    Deviations,
    alpha_1,
    alpha_2,
    alpha_2_squared_unbiased,
    tau_2,
)
from advtransfer_alignment.linear_algebra import AffineSpan, root_mean_square
from advtransfer_alignment.linearized_attack import LinearizedAttack
from advtransfer_alignment.theorems import singular_value_ratios

MetricValue: TypeAlias = float | Tensor
"""A number, or ``(N,)`` values that stand for the mean of those that are not NaN."""


def masked_to(rows: Tensor, values: Tensor) -> Tensor:
    """Return `values` ``(N,)`` with NaN outside the samples `rows` ``(N,)`` bool.

    As a `MetricValue` this is the mean over these samples.
    """
    return torch.where(rows, values.double(), torch.nan)


def sufficient_rows(correct: Tensor, defined: Tensor) -> Tensor | None:
    """Return the correct samples at which a number is defined, ``(N,)`` bool.

    None where these are fewer than two, or fewer than half of the correct samples. A mean over the
    few images that move a source which hardly moves at all would otherwise stand beside means over
    all of them.
    """
    rows = correct & defined
    return rows if int(rows.sum()) >= max(2, int(correct.sum()) / 2) else None


def metrics_over_subset(
    correct: Tensor,
    defined: Tensor,
    *,
    name: str,
    metrics: Callable[[Tensor], Mapping[str, MetricValue]],
) -> dict[str, MetricValue]:
    """Return metrics over the correct samples at which they are defined, and the number of these.

    The number is ``kept_<name>``. The metrics are left out where the samples are too few, see
    `sufficient_rows`.

    Args:
        correct: Which samples are predicted correctly, ``(N,)`` bool.
        defined: Where the metrics are defined, ``(N,)`` bool.
        name: Common name of the metrics.
        metrics: From the samples to compute over, ``(N,)`` bool, to the metrics.
    """
    rows = sufficient_rows(correct, defined)
    count: dict[str, MetricValue] = {f"kept_{name}": float((correct & defined).sum())}
    return count if rows is None else count | dict(metrics(rows))


def transferability_metrics(
    deviations: Deviations, correct: Tensor, *, direction: str
) -> dict[str, MetricValue]:
    """Return alpha_1, alpha_2, their joint, and tau_2 of the attack, in one direction."""
    has_direction = deviations.direction_masks()
    loss_shares = alpha_1(deviations)

    def alpha_1_metrics(rows: Tensor) -> dict[str, MetricValue]:
        return {
            f"alpha_1_{direction}": masked_to(rows, loss_shares),
            # The mean can be dominated by samples that the white-box attack hardly moves.
            f"alpha_1_median_{direction}": float(loss_shares[rows].quantile(0.5)),
        }

    def alpha_2_metrics(rows: Tensor) -> dict[str, MetricValue]:
        subset = deviations.at_samples(rows)
        return {
            f"alpha_2_{direction}": alpha_2(subset),
            f"alpha_2_squared_unbiased_{direction}": alpha_2_squared_unbiased(subset),
        }

    def joint_metrics(rows: Tensor) -> dict[str, MetricValue]:
        joint = alpha_2(deviations.at_samples(rows), weights=loss_shares[rows])
        return {f"joint_{direction}": joint}

    def tau_2_metrics(rows: Tensor) -> dict[str, MetricValue]:
        return _tau_2_metric(deviations.at_samples(rows), f"tau_2_attack_{direction}")

    # Each metric divides by the lengths of other deviations, so each has its own samples.
    both_move = has_direction.surrogate & has_direction.victim
    subsets = (
        ("alpha_1", has_direction.white_box, alpha_1_metrics),
        ("alpha_2", both_move, alpha_2_metrics),
        ("joint", both_move & has_direction.white_box, joint_metrics),
        ("tau_2_attack", has_direction.surrogate, tau_2_metrics),
    )
    collected: dict[str, MetricValue] = {}
    for name, defined, metrics in subsets:
        collected |= metrics_over_subset(
            correct, defined, name=f"{name}_{direction}", metrics=metrics
        )
    return collected


def linearized_metrics(linear: LinearizedAttack, correct: Tensor) -> dict[str, MetricValue]:
    """Return tau_1, tau_2 and lambda of the linearized virtual attack (Liang et al., 2020)."""
    source_has_direction, reference_has_direction = linear.direction_masks()

    def tau_1_metrics(rows: Tensor) -> dict[str, MetricValue]:
        # Definition 2: the squared cosine, since the sign of a singular direction is arbitrary.
        return {"tau_1": masked_to(rows, linear.cosine.square())}

    def source_metrics(rows: Tensor) -> dict[str, MetricValue]:
        tau = _tau_2_metric(linear.on_first.at_samples(rows), "tau_2_st")
        return tau | _lambda_metrics(linear.first_model_values, rows, "s")

    def reference_metrics(rows: Tensor) -> dict[str, MetricValue]:
        tau = _tau_2_metric(linear.on_second.at_samples(rows), "tau_2_ts")
        return tau | _lambda_metrics(linear.second_model_values, rows, "t")

    both = source_has_direction & reference_has_direction
    metrics = {
        **metrics_over_subset(correct, both, name="tau_1", metrics=tau_1_metrics),
        **metrics_over_subset(
            correct, source_has_direction, name="tau_2_st", metrics=source_metrics
        ),
        **metrics_over_subset(
            correct, reference_has_direction, name="tau_2_ts", metrics=reference_metrics
        ),
    }
    if linear.residual is not None:
        for column, model in enumerate("st"):
            metrics[f"power_residual_{model}"] = float(linear.residual[correct, column].max())
    return metrics


def cosine_metrics(first: Tensor, second: Tensor, correct: Tensor) -> dict[str, MetricValue]:
    """Return the cosines between two models' perturbations ``(N, *shape)``, and their squares.

    The mean of the squares is tau_1 of the attack itself (Liang et al., 2020, definition 2).
    """
    first_rows = first.flatten(1).double()
    second_rows = second.flatten(1).double()
    lengths = torch.stack([first_rows.norm(dim=1), second_rows.norm(dim=1)])
    cosines = (first_rows * second_rows).sum(1) / lengths.prod(0)

    def metrics(rows: Tensor) -> dict[str, MetricValue]:
        return {
            "cosine": masked_to(rows, cosines),
            "cosine_squared": masked_to(rows, cosines.square()),
        }

    # A perturbation of length zero has no angle.
    both_nonzero = (lengths >= MIN_DEVIATION).all(0)
    return metrics_over_subset(correct, both_nonzero, name="cosine", metrics=metrics)


def distance_metrics(
    *,
    source: Tensor,
    reference: Tensor,
    source_features: Tensor,
    reference_features: Tensor,
    labels: Tensor,
) -> dict[str, float]:
    """Return function and knowledge distances of outputs and features ``(N, ...)``.

    A distance is left out where there are too few samples to measure it.
    """
    source_span = AffineSpan.from_inputs(source)
    reference_span = AffineSpan.from_inputs(reference)
    source_feature_span = AffineSpan.from_inputs(source_features)
    reference_feature_span = AffineSpan.from_inputs(reference_features)
    # Liang et al. (2021): min_g ||f_T - g o f_S|| and min_g ||y - g o f_S|| over affine maps g.
    distances = {
        "function_distance_st": source_span.distance_to(reference),
        "function_distance_ts": reference_span.distance_to(source),
        "feature_distance_st": source_feature_span.distance_to(reference),
        "feature_distance_ts": reference_feature_span.distance_to(source),
        "knowledge_distance": source_span.distance_to(labels),
        "knowledge_distance_features": source_feature_span.distance_to(labels),
        "reference_distance": root_mean_square(reference - labels),
    }
    return {name: value for name, value in distances.items() if value is not None}


def _tau_2_metric(deviations: Deviations, name: str) -> dict[str, MetricValue]:
    deviation_map = tau_2(deviations.surrogate, deviations.victim)
    return {} if deviation_map is None else {name: deviation_map.tau}


def _lambda_metrics(values: Tensor, rows: Tensor, model: str) -> dict[str, MetricValue]:
    ratios = singular_value_ratios(values)
    return {
        # The theorems need the largest ratio; the mean shows how typical it is.
        f"lambda_max_{model}": float(ratios[rows].max()),
        f"lambda_mean_{model}": masked_to(rows, ratios),
    }
