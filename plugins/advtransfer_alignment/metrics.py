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
"""A number as it is, or ``(N,)`` values whose mean over those that are not NaN it is."""


def masked_to(rows: Tensor, values: Tensor) -> Tensor:
    """The mean of `values` ``(N,)`` over the samples `rows` ``(N,)`` bool, as a `MetricValue`: the others become NaN."""
    return torch.where(rows, values.double(), torch.nan)


def sufficient_rows(right: Tensor, defined: Tensor) -> Tensor | None:
    """The samples that are right, and where a number is defined, ``(N,)`` bool.

    None where these are fewer than two, or than half of those that are right: a mean over the few images that move a
    source which hardly moves at all would be told beside means over all of them.
    """
    rows = right & defined
    return rows if int(rows.sum()) >= max(2, int(right.sum()) / 2) else None


def metrics_over_subset(
    right: Tensor,
    defined: Tensor,
    *,
    name: str,
    numbers: Callable[[Tensor], Mapping[str, MetricValue]],
) -> dict[str, MetricValue]:
    """``kept_<name>``, how many samples are right and have the numbers; and these, where it is `sufficient_rows`.

    Args:
        right: Which samples are right, ``(N,)`` bool.
        defined: Where the numbers are defined, ``(N,)`` bool.
        name: What they are called together.
        numbers: From the samples they are taken over, ``(N,)`` bool, to the numbers.
    """
    rows = sufficient_rows(right, defined)
    count: dict[str, MetricValue] = {f"kept_{name}": float((right & defined).sum())}
    return count if rows is None else count | dict(numbers(rows))


def transferability_metrics(
    found: Deviations, right: Tensor, *, way: str
) -> dict[str, MetricValue]:
    """alpha_1, alpha_2, their joint, and tau_2 of the attack's own moves, in one direction."""
    moved, shares = found.direction_masks(), alpha_1(found)

    def size(rows: Tensor) -> dict[str, MetricValue]:
        median = float(shares[rows].quantile(0.5))
        return {f"alpha_1_{way}": masked_to(rows, shares), f"alpha_1_median_{way}": median}

    def direction(rows: Tensor) -> dict[str, MetricValue]:
        kept = found.at_samples(rows)
        return {
            f"alpha_2_{way}": alpha_2(kept),
            f"alpha_2_squared_unbiased_{way}": alpha_2_squared_unbiased(kept),
        }

    def both(rows: Tensor) -> dict[str, MetricValue]:
        return {f"joint_{way}": alpha_2(found.at_samples(rows), weights=shares[rows])}

    def carried(rows: Tensor) -> dict[str, MetricValue]:
        return _tau_2_metric(found.at_samples(rows), f"tau_2_attack_{way}")

    directed = moved.surrogate & moved.victim
    return {
        **metrics_over_subset(right, moved.white_box, name=f"alpha_1_{way}", numbers=size),
        **metrics_over_subset(right, directed, name=f"alpha_2_{way}", numbers=direction),
        **metrics_over_subset(right, directed & moved.white_box, name=f"joint_{way}", numbers=both),
        **metrics_over_subset(right, moved.surrogate, name=f"tau_2_attack_{way}", numbers=carried),
    }


def linearized_metrics(linear: LinearizedAttack, right: Tensor) -> dict[str, MetricValue]:
    """tau_1, tau_2 and lambda of the linearised virtual attack."""
    first, second = linear.direction_masks()

    def angle(rows: Tensor) -> dict[str, MetricValue]:
        return {"tau_1": masked_to(rows, linear.cosine.square())}

    def source(rows: Tensor) -> dict[str, MetricValue]:
        return _tau_2_metric(linear.on_first.at_samples(rows), "tau_2_st") | _lambda_metrics(
            linear.first_model_values, rows, "s"
        )

    def reference(rows: Tensor) -> dict[str, MetricValue]:
        return _tau_2_metric(linear.on_second.at_samples(rows), "tau_2_ts") | _lambda_metrics(
            linear.second_model_values, rows, "t"
        )

    found = {
        **metrics_over_subset(right, first & second, name="tau_1", numbers=angle),
        **metrics_over_subset(right, first, name="tau_2_st", numbers=source),
        **metrics_over_subset(right, second, name="tau_2_ts", numbers=reference),
    }
    if linear.residual is not None:
        found |= {
            f"power_residual_{name}": float(linear.residual[right, k].max())
            for k, name in enumerate("st")
        }
    return found


def cosine_metrics(first: Tensor, second: Tensor, right: Tensor) -> dict[str, MetricValue]:
    """How two models' perturbations ``(N, *shape)`` agree; the mean of the squares is tau_1 of the attack itself."""
    one, other = (delta.flatten(1).double() for delta in (first, second))
    lengths = torch.stack([one.norm(dim=1), other.norm(dim=1)])
    cosines = (one * other).sum(1) / lengths.prod(0)

    def angle(rows: Tensor) -> dict[str, MetricValue]:
        return {
            "cosine": masked_to(rows, cosines),
            "cosine_squared": masked_to(rows, cosines.square()),
        }

    return metrics_over_subset(
        right, (lengths >= MIN_DEVIATION).all(0), name="cosine", numbers=angle
    )


def distance_metrics(
    *,
    source: Tensor,
    reference: Tensor,
    source_features: Tensor,
    reference_features: Tensor,
    labels: Tensor,
) -> dict[str, float]:
    """Function and knowledge distances of outputs and features ``(N, ...)``; those that N cannot tell are left out."""
    outputs, features = AffineSpan.from_inputs(source), AffineSpan.from_inputs(source_features)
    found = {
        "function_distance_st": outputs.distance_to(reference),
        "function_distance_ts": AffineSpan.from_inputs(reference).distance_to(source),
        "feature_distance_st": features.distance_to(reference),
        "feature_distance_ts": AffineSpan.from_inputs(reference_features).distance_to(source),
        "knowledge_distance": outputs.distance_to(labels),
        "knowledge_distance_features": features.distance_to(labels),
        "reference_distance": root_mean_square(reference - labels),
    }
    return {name: value for name, value in found.items() if value is not None}


def _tau_2_metric(moves: Deviations, name: str) -> dict[str, MetricValue]:
    found = tau_2(moves.surrogate, moves.victim)
    return {} if found is None else {name: found.tau}


def _lambda_metrics(values: Tensor, rows: Tensor, model: str) -> dict[str, MetricValue]:
    found = singular_value_ratios(values)
    return {
        f"lambda_max_{model}": float(found[rows].max()),
        f"lambda_mean_{model}": masked_to(rows, found),
    }
