"""The theorems of Liang et al. (2020): what they bound, and their bounds, both as numbers.

f_S is the source, f_T the reference, y what the outputs should be; tau_1 and tau_2 are those of the linearised virtual
attack, S to T; g is the affine map that tau_2 is measured with. Norms of gradients are spectral.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from advtransfer_alignment.deviations import Carried
from advtransfer_alignment.gradients import Jacobians, spectral_gap
from advtransfer_alignment.linearised import Linear
from advtransfer_alignment.matching import root_mean_square


@dataclass(frozen=True, slots=True)
class Outputs:
    """f_S ``(N, m)``, f_T ``(N, d)`` and y ``(N, d)`` at the samples; float64."""

    source: Tensor
    reference: Tensor
    wanted: Tensor


def theorems(found: Jacobians, linear: Linear, carried: Carried, outputs: Outputs) -> dict[str, float]:
    """``theorem_<number>_left`` and ``theorem_<number>_bound``; theorem 1 only where both models have one output."""
    gap = spectral_gap(found.grams, carried.map)
    named = {
        "theorem_2": (gap, second(linear, carried.tau)),
        "theorem_3": (reached(found, carried, outputs), third(found, linear, gap=gap, outputs=outputs)),
    }
    if found.grams.cross.shape[1:] == (1, 1):
        named["theorem_1"] = (gap, first(linear, carried.tau))
    return {
        f"{name}_{side}": value
        for name, pair in named.items()
        for side, value in zip(("left", "bound"), pair, strict=True)
    }


def first(linear: Linear, tau: float) -> float:
    """Theorem 1, for one output each: ``sqrt(E[(1 - tau_1(x) tau_2) ||grad f_T(x)||^2])``; it holds with equality."""
    shares = 1 - linear.cosine.square() * tau
    return float((shares * linear.second[:, 0].square()).mean().clamp_min(0).sqrt())


def second(linear: Linear, tau: float) -> float:
    """Theorem 2: ``sqrt(5) L sqrt((1 - t1 t2) + (1 - t1)(1 - t2) l_T^2 + (l_T + l_S)^2)``.

    L is the largest gradient of f_T among the samples, l the largest ratio of second to first singular value.
    """
    angle = float(linear.cosine.square().mean())
    source, reference = (float(ratios(one).max()) for one in (linear.first, linear.second))
    terms = (1 - angle * tau) + (1 - angle) * (1 - tau) * reference**2 + (source + reference) ** 2
    # rounding can take tau above 1, and the sum below 0, for equal models of one output
    return math.sqrt(5 * max(terms, 0)) * float(linear.second[:, 0].max())


def third(found: Jacobians, linear: Linear, *, gap: float, outputs: Outputs) -> float:
    """Theorem 3: ``||f_T - y|| + R gap + (1 + ||grad f_T|| / ||grad f_S||) beta R^2``, gap as in theorem 2.

    The paper has inputs of length at most 1; R is the length of the longest, which is the same after scaling. beta is
    the largest change of a Jacobian between the origin and a sample, by their distance: it may be larger elsewhere, so
    this is an estimate of the bound from below.
    """
    radius, beta = float(found.lengths.max()), float(found.steepness.max())
    norms = [float(one[:, 0].square().mean().sqrt()) for one in (linear.second, linear.first)]
    apart = root_mean_square(outputs.reference - outputs.wanted)
    return apart + radius * gap + (1 + norms[0] / norms[1]) * beta * radius**2


def reached(found: Jacobians, carried: Carried, outputs: Outputs) -> float:
    """``||g o f_S - y||``, what theorem 3 bounds: the constant of g is set so that it meets f_T at the origin."""
    source, reference = found.origin
    return root_mean_square((outputs.source - source) @ carried.map.T + reference - outputs.wanted)


def ratios(values: Tensor) -> Tensor:
    """lambda_f: the second singular value over the first, ``(N,)``."""
    return values[:, 1] / values[:, 0]
