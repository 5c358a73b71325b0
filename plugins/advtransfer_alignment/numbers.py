"""The numbers of a comparison by their names, each of one part of what was found."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from advtransfer_alignment.bounds import ratios
from advtransfer_alignment.deviations import Deviations, alpha_1, alpha_2, alpha_2_squared_unbiased, tau_2
from advtransfer_alignment.linearised import Linear
from advtransfer_alignment.matching import Span, root_mean_square


def transferability(ways: Mapping[str, Deviations]) -> dict[str, float]:
    """alpha_1, alpha_2, their joint, and tau_2 of the attack's own moves, by direction."""
    found: dict[str, float] = {}
    for way, deviations in ways.items():
        shares = alpha_1(deviations)
        found |= {
            f"alpha_1_{way}": float(shares.mean()),
            f"alpha_1_median_{way}": float(shares.quantile(0.5)),
            f"alpha_2_{way}": alpha_2(deviations),
            f"alpha_2_squared_unbiased_{way}": alpha_2_squared_unbiased(deviations),
            f"joint_{way}": alpha_2(deviations, weights=shares),
            f"tau_2_attack_{way}": tau_2(deviations.own, deviations.other).tau,
        }
    return found


def linearised(linear: Linear) -> dict[str, float]:
    """tau_1, tau_2 and lambda of the linearised virtual attack."""
    ways = {"st": linear.on_first, "ts": linear.on_second}
    found = {f"tau_2_{way}": tau_2(one.own, one.other).tau for way, one in ways.items()}
    found["tau_1"] = float(linear.cosine.square().mean())
    for name, values in (("s", linear.first), ("t", linear.second)):
        found[f"lambda_max_{name}"] = float(ratios(values).max())
        found[f"lambda_mean_{name}"] = float(ratios(values).mean())
    if linear.residual is not None:
        found |= {f"power_residual_{name}": float(linear.residual[:, k].max()) for k, name in enumerate("st")}
    return found


def angles(first: Tensor, second: Tensor) -> dict[str, float]:
    """How two models' perturbations ``(N, *shape)`` agree; the mean of the squares is tau_1 of the attack itself."""
    one, other = (delta.flatten(1).double() for delta in (first, second))
    lengths = one.norm(dim=1) * other.norm(dim=1)
    cosines = (one * other).sum(1) / lengths.clamp_min(1e-30)
    return {"cosine": float(cosines.mean()), "cosine_squared": float(cosines.square().mean())}


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
