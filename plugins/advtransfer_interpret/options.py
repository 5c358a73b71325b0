"""Shared option types, and checks and metric names of evaluations before anything is measured.

Does not import torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from annotated_types import Ge, Gt

from advtransfer.precheck import CellOutline, Misfit, OptionValues
from advtransfer.toolkit.option_checks import UNIT_BOUNDS, radius_misfits, repeated_value_misfits

FEATURE_METRICS = (
    *(
        "rectifier_passed",
        "activation",
        "activation_start",
        "total_variation",
        "total_variation_start",
        "likeness",
    ),
)
SALIENCY_METRICS = ("gradient_norm", "roughness", "flat")
ALIGNMENT_METRICS = (
    *(f"{name}{kind}" for name in ("alignment", "remainder", "rho") for kind in ("", "_median")),
    *("correlation", "gradient_norm", "flat"),
)
SURFACE_METRICS = ("loss", "rise_adversarial", "rise_random", "nonlinearity")


def influence_metrics(chosen: OptionValues) -> list[str]:
    """The shares of matches by rank, and facts of the Hessian."""
    matches = [f"class_match@{rank}" for rank in chosen["ranks"]]
    return [*matches, "three_of_five", "chance_match", "hessian_size", "hessian_rank"]


def rank_misfits(chosen: OptionValues, _: CellOutline) -> Iterator[Misfit]:
    """Ranks that stand there twice."""
    yield from repeated_value_misfits("ranks", chosen["ranks"])


def unit_misfits(chosen: OptionValues, _: CellOutline) -> Iterator[Misfit]:
    """Units that stand there twice."""
    yield from repeated_value_misfits("units", chosen["units"])


def surface_misfits(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
    """A grid that reaches further than any two images are apart."""
    yield from radius_misfits(
        ("eps",), chosen["eps"], chosen["norm"], around.target, bounds=UNIT_BOUNDS
    )


def rival_misfits(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
    """More other classes than there are."""
    wanted, there = chosen["rivals"], around.target.outputs
    if wanted is not None and there is not None and wanted >= there:
        yield Misfit(
            ("rivals",), f"at most {there - 1}, the other classes, or null for all", "lower it"
        )


Count = Annotated[int, Ge(1)]


Positive = Annotated[float, Gt(0)]


NonNegative = Annotated[int, Ge(0)]
