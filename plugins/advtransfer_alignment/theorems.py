"""Theorems of Liang et al. (2020): the bounded quantities and their bounds, as numbers.

f_S is the source, f_T the reference, y the target outputs; tau_1 and tau_2 are those of the linearized virtual attack,
S to T; g is the affine map that tau_2 is measured with. Norms of gradients are spectral.
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
    found: JacobianStatistics,
    linear: LinearizedAttack,
    carried: DeviationMap,
    outputs: TheoremOutputs,
) -> dict[str, float]:
    """``theorem_<number>_left`` and ``theorem_<number>_bound``; theorem 1 only where both models have one output."""
    gap = spectral_gap(found.grams, carried.matrix)
    named = {
        "theorem_2": (gap, theorem_2_bound(linear, carried.tau)),
        "theorem_3": (
            theorem_3_left_side(found, carried, outputs),
            theorem_3_bound(found, linear, gap=gap, outputs=outputs),
        ),
    }
    if found.grams.cross.shape[1:] == (1, 1):
        named["theorem_1"] = (gap, theorem_1_bound(linear, carried.tau))
    return {
        f"{name}_{side}": value
        for name, pair in named.items()
        for side, value in zip(("left", "bound"), pair, strict=True)
    }


def theorem_1_bound(linear: LinearizedAttack, tau: float) -> float:
    """Theorem 1, for one output each: ``sqrt(E[(1 - tau_1(x) tau_2) ||grad f_T(x)||^2])``; it holds with equality."""
    shares = 1 - linear.cosine.square() * tau
    return float((shares * linear.second_model_values[:, 0].square()).mean().clamp_min(0).sqrt())


def theorem_2_bound(linear: LinearizedAttack, tau: float) -> float:
    """Theorem 2: ``sqrt(5) L sqrt((1 - t1 t2) + (1 - t1)(1 - t2) l_T^2 + (l_T + l_S)^2)``.

    L is the largest gradient of f_T among the samples, l the largest ratio of second to first singular value.
    """
    angle = float(linear.cosine.square().mean())
    source, reference = (
        float(singular_value_ratios(one).max())
        for one in (linear.first_model_values, linear.second_model_values)
    )
    terms = (1 - angle * tau) + (1 - angle) * (1 - tau) * reference**2 + (source + reference) ** 2
    # rounding can take tau above 1, and the sum below 0, for equal models of one output
    return math.sqrt(5 * max(terms, 0)) * float(linear.second_model_values[:, 0].max())


def theorem_3_bound(
    found: JacobianStatistics, linear: LinearizedAttack, *, gap: float, outputs: TheoremOutputs
) -> float:
    """Theorem 3: ``||f_T - y|| + R gap + (1 + ||grad f_T|| / ||grad f_S||) beta R^2``, gap as in theorem 2.

    The paper has inputs of length at most 1; R is the length of the longest, which is the same after scaling. beta is
    the largest change of a Jacobian between the origin and a sample, by their distance: it may be larger elsewhere, so
    this is an estimate of the bound from below.
    """
    radius, beta = float(found.input_lengths.max()), float(found.steepness.max())
    norms = [
        float(one[:, 0].square().mean().sqrt())
        for one in (linear.second_model_values, linear.first_model_values)
    ]
    apart = root_mean_square(outputs.reference - outputs.target)
    return apart + radius * gap + (1 + norms[0] / norms[1]) * beta * radius**2


def theorem_3_left_side(
    found: JacobianStatistics, carried: DeviationMap, outputs: TheoremOutputs
) -> float:
    """``||g o f_S - y||``, what theorem 3 bounds: the constant of g is set so that it meets f_T at the origin."""
    source, reference = found.origin_outputs
    return root_mean_square(
        (outputs.source - source) @ carried.matrix.T + reference - outputs.target
    )


def singular_value_ratios(values: Tensor) -> Tensor:
    """lambda_f: the second singular value over the first, ``(N,)``."""
    return values[:, 1] / values[:, 0]
