"""The numbers of a comparison by their names, each of one part of what was found.

Each is taken over the samples that are `right` ``(N,)`` bool, and of these over the ones where it is defined.
"""

from __future__ import annotations

import torch
from torch import Tensor

from advtransfer_alignment.bounds import ratios
from advtransfer_alignment.deviations import LEAST, Deviations, alpha_1, alpha_2, alpha_2_squared_unbiased, tau_2
from advtransfer_alignment.linearised import Linear
from advtransfer_alignment.matching import Span, root_mean_square
from advtransfer_alignment.taken import Number, over, taken


def transferability(found: Deviations, right: Tensor, *, way: str) -> dict[str, Number]:
    """alpha_1, alpha_2, their joint, and tau_2 of the attack's own moves, in one direction."""
    moved, shares = found.moved(), alpha_1(found)

    def size(rows: Tensor) -> dict[str, Number]:
        median = float(shares[rows].quantile(0.5))
        return {f"alpha_1_{way}": over(rows, shares), f"alpha_1_median_{way}": median}

    def direction(rows: Tensor) -> dict[str, Number]:
        kept = found.at(rows)
        return {f"alpha_2_{way}": alpha_2(kept), f"alpha_2_squared_unbiased_{way}": alpha_2_squared_unbiased(kept)}

    def both(rows: Tensor) -> dict[str, Number]:
        return {f"joint_{way}": alpha_2(found.at(rows), weights=shares[rows])}

    def carried(rows: Tensor) -> dict[str, Number]:
        return _tau_2(found.at(rows), f"tau_2_attack_{way}")

    directed = moved.own & moved.other
    return {
        **taken(right, moved.white_box, name=f"alpha_1_{way}", numbers=size),
        **taken(right, directed, name=f"alpha_2_{way}", numbers=direction),
        **taken(right, directed & moved.white_box, name=f"joint_{way}", numbers=both),
        **taken(right, moved.own, name=f"tau_2_attack_{way}", numbers=carried),
    }


def linearised(linear: Linear, right: Tensor) -> dict[str, Number]:
    """tau_1, tau_2 and lambda of the linearised virtual attack."""
    first, second = linear.moved()

    def angle(rows: Tensor) -> dict[str, Number]:
        return {"tau_1": over(rows, linear.cosine.square())}

    def source(rows: Tensor) -> dict[str, Number]:
        return _tau_2(linear.on_first.at(rows), "tau_2_st") | _lambda(linear.first, rows, "s")

    def reference(rows: Tensor) -> dict[str, Number]:
        return _tau_2(linear.on_second.at(rows), "tau_2_ts") | _lambda(linear.second, rows, "t")

    found = {
        **taken(right, first & second, name="tau_1", numbers=angle),
        **taken(right, first, name="tau_2_st", numbers=source),
        **taken(right, second, name="tau_2_ts", numbers=reference),
    }
    if linear.residual is not None:
        found |= {f"power_residual_{name}": float(linear.residual[right, k].max()) for k, name in enumerate("st")}
    return found


def angles(first: Tensor, second: Tensor, right: Tensor) -> dict[str, Number]:
    """How two models' perturbations ``(N, *shape)`` agree; the mean of the squares is tau_1 of the attack itself."""
    one, other = (delta.flatten(1).double() for delta in (first, second))
    lengths = torch.stack([one.norm(dim=1), other.norm(dim=1)])
    cosines = (one * other).sum(1) / lengths.prod(0)

    def angle(rows: Tensor) -> dict[str, Number]:
        return {"cosine": over(rows, cosines), "cosine_squared": over(rows, cosines.square())}

    return taken(right, (lengths >= LEAST).all(0), name="cosine", numbers=angle)


def distances(
    *, source: Tensor, reference: Tensor, source_features: Tensor, reference_features: Tensor, labels: Tensor
) -> dict[str, float]:
    """Function and knowledge distances of outputs and features ``(N, ...)``; those that N cannot tell are left out."""
    outputs, features = Span.of(source), Span.of(source_features)
    found = {
        "function_distance_st": outputs.distance(reference),
        "function_distance_ts": Span.of(reference).distance(source),
        "feature_distance_st": features.distance(reference),
        "feature_distance_ts": Span.of(reference_features).distance(source),
        "knowledge_distance": outputs.distance(labels),
        "knowledge_distance_features": features.distance(labels),
        "reference_distance": root_mean_square(reference - labels),
    }
    return {name: value for name, value in found.items() if value is not None}


def _tau_2(moves: Deviations, name: str) -> dict[str, Number]:
    found = tau_2(moves.own, moves.other)
    return {} if found is None else {name: found.tau}


def _lambda(values: Tensor, rows: Tensor, model: str) -> dict[str, Number]:
    found = ratios(values)
    return {f"lambda_max_{model}": float(found[rows].max()), f"lambda_mean_{model}": over(rows, found)}
