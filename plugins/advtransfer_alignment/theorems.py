"""Theorems of Liang et al. (2020): the bounded quantities and their bounds, as numbers.

f_S is the source, f_T the reference, y the target outputs; tau_1 and tau_2 are those of the
linearized virtual attack, S to T; g is the affine map that tau_2 is measured with. Norms of
gradients are spectral.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from advtransfer_alignment.deviations import DeviationMap
from advtransfer_alignment.jacobians import JacobianStatistics, spectral_gap
from advtransfer_alignment.linear_algebra import root_mean_square
from advtransfer_alignment.linearized_attack import LinearizedAttack


@dataclass(frozen=True, slots=True)
class TheoremOutputs:
    """f_S ``(N, m)``, f_T ``(N, d)`` and y ``(N, d)`` at the samples; float64."""

    source: Tensor
    reference: Tensor
    target: Tensor


def theorem_metrics(
    jacobians: JacobianStatistics,
    linear: LinearizedAttack,
    deviation_map: DeviationMap,
    outputs: TheoremOutputs,
) -> dict[str, float]:
    """Return ``theorem_<number>_left`` and ``theorem_<number>_bound``, both sides of each theorem.

    Theorem 1 only where both models have one output.

    Args:
        jacobians: Statistics of both models' Jacobians.
        linear: The linearized virtual attack on both.
        deviation_map: tau_2, and the linear part A of the affine map g.
        outputs: Outputs of both models, and the target's.
    """
    gap = spectral_gap(jacobians.grams, deviation_map.matrix)
    metrics = {
        "theorem_2_left": gap,
        "theorem_2_bound": theorem_2_bound(linear, deviation_map.tau),
        "theorem_3_left": theorem_3_left_side(jacobians, deviation_map, outputs),
        "theorem_3_bound": theorem_3_bound(jacobians, linear, gap=gap, outputs=outputs),
    }
    # Theorem 1 is stated for m = d = 1. Its left side is that of theorem 2.
    if jacobians.grams.cross.shape[1:] == (1, 1):
        metrics["theorem_1_left"] = gap
        metrics["theorem_1_bound"] = theorem_1_bound(linear, deviation_map.tau)
    return metrics


def theorem_1_bound(linear: LinearizedAttack, tau: float) -> float:
    """Return the bound of theorem 1, for one output each; it holds with equality.

    ``sqrt(E[(1 - tau_1(x) tau_2) ||grad f_T(x)||^2])``
    """
    shares = 1 - linear.cosine.square() * tau
    squared_norms = linear.second_model_values[:, 0].square()
    # Rounding can take tau above 1, and the mean below 0.
    return float((shares * squared_norms).mean().clamp_min(0).sqrt())


def theorem_2_bound(linear: LinearizedAttack, tau_2: float) -> float:
    """Return the bound of theorem 2.

    ``sqrt(5) L sqrt((1 - t1 t2) + (1 - t1)(1 - t2) l_T^2 + (l_T + l_S)^2)``: L is the largest
    gradient norm of f_T among the samples, l the largest ratio of second to first singular value.
    """
    tau_1 = float(linear.cosine.square().mean())
    lambda_s = float(singular_value_ratios(linear.first_model_values).max())
    lambda_t = float(singular_value_ratios(linear.second_model_values).max())
    # The printed theorem has the square of the sum (l_T + l_S); the released code sums squares.
    terms = (
        (1 - tau_1 * tau_2) + (1 - tau_1) * (1 - tau_2) * lambda_t**2 + (lambda_s + lambda_t) ** 2
    )
    lipschitz = float(linear.second_model_values[:, 0].max())
    # Rounding can take tau_2 above 1, and the sum below 0, for equal models of one output.
    return math.sqrt(5 * max(terms, 0)) * lipschitz


def theorem_3_bound(
    jacobians: JacobianStatistics, linear: LinearizedAttack, *, gap: float, outputs: TheoremOutputs
) -> float:
    """Return an estimate of the bound of theorem 3.

    ``||f_T - y|| + R gap + (1 + ||grad f_T|| / ||grad f_S||) beta R^2``, with the gap of theorem 2.
    The paper assumes inputs of length at most 1. R is the length of the longest input, which gives
    the same bound after scaling. beta is the largest change of a Jacobian between the origin and a
    sample, divided by their distance. It may be larger elsewhere, so this estimates the bound from
    below.
    """
    radius = float(jacobians.input_lengths.max())
    beta = float(jacobians.steepness.max())
    source_norm = float(linear.first_model_values[:, 0].square().mean().sqrt())
    reference_norm = float(linear.second_model_values[:, 0].square().mean().sqrt())
    reference_error = root_mean_square(outputs.reference - outputs.target)
    smoothness = (1 + reference_norm / source_norm) * beta * radius**2
    return reference_error + radius * gap + smoothness


def theorem_3_left_side(
    jacobians: JacobianStatistics, deviation_map: DeviationMap, outputs: TheoremOutputs
) -> float:
    """Return ``||g o f_S - y||``, the quantity that theorem 3 bounds.

    The constant of g is chosen so that g(f_S(0)) = f_T(0).
    """
    source_origin, reference_origin = jacobians.origin_outputs
    centred = outputs.source - source_origin
    mapped = centred @ deviation_map.matrix.T + reference_origin
    return root_mean_square(mapped - outputs.target)


def singular_value_ratios(values: Tensor) -> Tensor:
    """Return lambda_f, the second singular value divided by the first, ``(N,)``."""
    return values[:, 1] / values[:, 0]
