"""What is known of attacks before anything is measured: wrong options, and metrics. Light: no torch."""

from __future__ import annotations

from collections.abc import Iterator

from advtransfer.precheck import Chosen, Misfit, Surroundings
from advtransfer.toolkit.radius import Norm, radius_misfits

METRICS = (
    *("right", "reference_error", "loss_clean", "loss_white_box", "loss_transfer"),
    *(f"error_rate_{pair}" for pair in ("ss", "st", "tt", "ts")),
    *("tau_1", "kept_tau_1", "cosine", "cosine_squared", "kept_cosine"),
    *("knowledge_distance", "knowledge_distance_features", "reference_distance"),
    *(f"theorem_{number}_{side}" for number in (1, 2, 3) for side in ("left", "bound")),
    *(f"{name}_{model}" for name in ("lambda_max", "lambda_mean", "power_residual") for model in "st"),
    *(
        f"{name}_{way}"
        for way in ("st", "ts")
        for name in (
            *("alpha_1", "alpha_1_median", "alpha_2", "alpha_2_squared_unbiased", "joint", "tau_2", "tau_2_attack"),
            *("kept_alpha_1", "kept_alpha_2", "kept_joint", "kept_tau_2", "kept_tau_2_attack"),
            *("gradient_distance", "function_distance", "feature_distance"),
        )
    ),
)
"""Every number that `alignment` can give; on some data it leaves some out."""


def attack(chosen: Chosen, around: Surroundings) -> Iterator[Misfit]:
    """The radius or the step of the attack, where it is larger than any two inputs are apart."""
    asked = chosen["attack"]
    if asked is None:
        return
    norm: Norm = getattr(asked, "norm", "l2")
    yield from radius_misfits(("attack", "eps"), asked.eps, norm, around.target)
    step = getattr(asked, "step_size", None)
    yield from radius_misfits(("attack", "step_size"), step, norm, around.target, what="a step")
