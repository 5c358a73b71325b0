"""Shared option types, and checks and metric names of evaluations before anything is measured.

Does not import torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from annotated_types import Ge, Gt

from advtransfer.precheck import CellOutline, Misfit, OptionValues
from advtransfer.toolkit.option_checks import UNIT_BOUNDS, radius_misfits, repeated_value_misfits

Count = Annotated[int, Ge(1)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[int, Ge(0)]

FEATURE_METRICS = (
    "rectifier_passed",
    "activation",
    "activation_start",
    "total_variation",
    "total_variation_start",
    "likeness",
)
SALIENCY_METRICS = ("gradient_norm", "roughness", "flat")
ALIGNMENT_METRICS = (
    "alignment",
    "alignment_median",
    "remainder",
    "remainder_median",
    "rho",
    "rho_median",
    "correlation",
    "gradient_norm",
    "flat",
)
SURFACE_METRICS = ("loss", "rise_adversarial", "rise_random", "nonlinearity")


def influence_metrics(chosen: OptionValues) -> list[str]:
    """Return the class matches by rank, and the metrics of the Hessian."""
    matches = [f"class_match@{rank}" for rank in chosen["ranks"]]
    agreement = ["rank_agreement"] if chosen["hessian"] == "fisher" else []
    return [*matches, "three_of_five", "chance_match", "hessian_size", "hessian_rank", *agreement]


def influence_files(chosen: OptionValues) -> list[str]:
    """Return the files of the scores, and that of the most influential images where any are drawn."""
    return ["influence", "class_match", *(["most_influential"] if chosen["images"] else [])]


def surface_files(chosen: OptionValues) -> list[str]:
    """Return the file of the surfaces, and that of the decision regions where they are drawn."""
    return ["loss_surface", *(["decision_regions"] if chosen["regions"] else [])]


def rank_misfits(chosen: OptionValues, _: CellOutline) -> Iterator[Misfit]:
    """Yield repeated ranks."""
    yield from repeated_value_misfits("ranks", chosen["ranks"])


def unit_misfits(chosen: OptionValues, _: CellOutline) -> Iterator[Misfit]:
    """Yield repeated units."""
    yield from repeated_value_misfits("units", chosen["units"])


def surface_misfits(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
    """Yield a radius that is larger than the distance of any two images."""
    yield from radius_misfits(
        ("eps",), chosen["eps"], chosen["norm"], around.target, bounds=UNIT_BOUNDS
    )


def rival_misfits(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
    """Yield a number of other classes that the target does not have."""
    rivals = chosen["rivals"]
    class_count = around.target.outputs
    if rivals is None or class_count is None:
        return
    if rivals >= class_count:
        yield Misfit(
            ("rivals",),
            f"at most {class_count - 1}, the other classes, or null for all",
            "lower it",
        )
