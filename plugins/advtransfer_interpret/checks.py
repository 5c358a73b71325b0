"""What is known before anything is measured: wrong options, and metrics. Light: no torch."""

from __future__ import annotations

from collections.abc import Iterator

from advtransfer.precheck import Chosen, Misfit, Surroundings
from advtransfer.toolkit.radius import UNIT, radius_misfits
from advtransfer.toolkit.training_misfits import repeated

FEATURES = (
    *("rectifier_passed", "activation", "activation_start", "total_variation", "total_variation_start", "likeness"),
)
SALIENCY = ("gradient_norm", "roughness", "flat")
ALIGNMENT = (
    *(f"{name}{kind}" for name in ("alignment", "remainder", "rho") for kind in ("", "_median")),
    *("correlation", "gradient_norm", "flat"),
)
SURFACE = ("loss", "rise_adversarial", "rise_random", "nonlinearity")


def influence_metrics(chosen: Chosen) -> list[str]:
    """The shares of matches by rank, and facts of the Hessian."""
    matches = [f"class_match@{rank}" for rank in chosen["ranks"]]
    return [*matches, "three_of_five", "chance_match", "hessian_size", "hessian_rank"]


def ranks(chosen: Chosen, _: Surroundings) -> Iterator[Misfit]:
    """Ranks that stand there twice."""
    yield from repeated("ranks", chosen["ranks"])


def units(chosen: Chosen, _: Surroundings) -> Iterator[Misfit]:
    """Units that stand there twice."""
    yield from repeated("units", chosen["units"])


def surface(chosen: Chosen, around: Surroundings) -> Iterator[Misfit]:
    """A grid that reaches further than any two images are apart."""
    yield from radius_misfits(("eps",), chosen["eps"], chosen["norm"], around.target, bounds=UNIT)


def rivals(chosen: Chosen, around: Surroundings) -> Iterator[Misfit]:
    """More other classes than there are."""
    wanted, there = chosen["rivals"], around.target.outputs
    if wanted is not None and there is not None and wanted >= there:
        yield Misfit(("rivals",), f"at most {there - 1}, the other classes, or null for all", "lower it")
