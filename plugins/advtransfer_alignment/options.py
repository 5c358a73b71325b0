"""Options of the evaluations, metric names, and the checks of options. Does not import torch.

The dataclasses validate themselves, so that a mistake is reported when a suite is planned. No attack here takes a
label: each moves a model away from its own output. A source has no labels on the target's images, and where the
reference is right its own class is the true one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from advtransfer.precheck import CellOutline, Misfit, OptionValues
from advtransfer.toolkit.adversary import TrainingNorm
from advtransfer.toolkit.option_checks import Norm, radius_misfits
from advtransfer.toolkit.tagged_union import TaggedUnion
from advtransfer.toolkit.training_config import require_field


@dataclass(frozen=True, slots=True)
class AscentConfig:
    """How an attack goes: a ball, steps in it, and whether it starts at a random point of it."""

    norm: TrainingNorm
    eps: float
    steps: int
    step_size: float
    random_start: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFreePgd:
    """Projected gradient ascent on the loss against the model's own prediction (Liang et al., 2021).

    Args:
        kind: ``pgd``; may be left out.
        norm: ``linf`` or ``l2``.
        eps: The radius, in the unit of the inputs: [0, 1] pixel space.
        steps: Gradient steps; 50 in the released code.
        step_size: The length of one step; by default ``5 * eps / steps``, as there.
        random_start: Start at a random point of the ball.
    """

    kind: Literal["pgd"] = "pgd"
    norm: TrainingNorm = "linf"
    eps: float
    steps: int = 50
    step_size: float | None = None
    random_start: bool = True

    def __post_init__(self) -> None:
        _require_ball(self.eps, self.steps, self.step_size)

    @property
    def ascent_config(self) -> AscentConfig:
        """The steps, the default length filled in."""
        step_size = 5 * self.eps / self.steps if self.step_size is None else self.step_size
        return AscentConfig(self.norm, self.eps, self.steps, step_size, self.random_start)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFreeFgsm:
    """One gradient step of length eps on that loss (Goodfellow, Shlens and Szegedy, 2015).

    Args:
        kind: ``fgsm``.
        norm: ``linf`` takes the sign of the gradient, ``l2`` its direction.
        eps: The radius.
        random_start: Start at a random point of the ball, as the released code of Liang et al. (2021) does.
    """

    kind: Literal["fgsm"]
    norm: TrainingNorm = "linf"
    eps: float
    random_start: bool = True

    def __post_init__(self) -> None:
        _require_ball(self.eps, 1, None)

    @property
    def ascent_config(self) -> AscentConfig:
        """The one step."""
        return AscentConfig(self.norm, self.eps, 1, self.eps, self.random_start)


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualAttack:
    """The virtual adversarial attack: it moves the outputs as far as it can (Liang et al., 2020, definition 1).

    Ascends ``||f(x + delta) - f(x)||_2`` from a random point of the ball, since there is no slope at x, and keeps the
    iterate that moved the outputs furthest.

    Args:
        kind: ``virtual``.
        norm: ``l2``, as defined, or ``linf``.
        eps: The radius.
        steps: Gradient steps.
        step_size: The length of one step; by default ``eps / 2``: a step of ordinary length does not turn far enough.
    """

    kind: Literal["virtual"]
    norm: TrainingNorm = "l2"
    eps: float
    steps: int = 20
    step_size: float | None = None

    def __post_init__(self) -> None:
        _require_ball(self.eps, self.steps, self.step_size)

    @property
    def ascent_config(self) -> AscentConfig:
        """The steps, the default length filled in."""
        step_size = self.eps / 2 if self.step_size is None else self.step_size
        return AscentConfig(self.norm, self.eps, self.steps, step_size, True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spectrum:
    """How the largest singular values and directions of a Jacobian are found.

    Args:
        most_outputs: Of a model with so many outputs or fewer the Jacobian is computed whole, one backward pass an
            output; of others, its largest directions by block power iteration. Where two models of m and d outputs are
            compared, 8 (m + d)^2 bytes a sample are held for this, and for a moment up to three times as many: with 32
            outputs each 33 kB, or up to 1 GB for 10,000 samples; with 100 each ten times as much.
        iterations: Of the power iteration, each two products with the Jacobian for each vector of the block.
    """

    most_outputs: int = 32
    iterations: int = 20

    def __post_init__(self) -> None:
        require_field(self.most_outputs >= 0, "most_outputs", self.most_outputs, "a number from 0")
        require_field(self.iterations >= 1, "iterations", self.iterations, "at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class TopSingularAttack:
    """The virtual attack of the linearised model: eps times the Jacobian's first right singular vector.

    Of its two signs the one that moves the outputs further. How the vector is found is the evaluation's `spectrum`,
    with which it finds all others, too; where it has none, that of `Spectrum()`.

    Args:
        kind: ``top_singular``.
        eps: The l2 radius.
    """

    kind: Literal["top_singular"]
    eps: float

    def __post_init__(self) -> None:
        require_field(self.eps > 0, "eps", self.eps, "a number above 0")


Attack: TypeAlias = Annotated[
    LabelFreePgd | LabelFreeFgsm | VirtualAttack | TopSingularAttack, TaggedUnion()
]
"""The attacks, told apart by `kind`."""


def _require_ball(eps: float, steps: int, step_size: float | None) -> None:
    require_field(eps > 0, "eps", eps, "a number above 0")
    require_field(steps >= 1, "steps", steps, "at least 1")
    require_field(step_size is None or step_size > 0, "step_size", step_size, "a number above 0")


ALIGNMENT_METRICS = (
    *("right", "reference_error", "loss_clean", "loss_white_box", "loss_transfer"),
    *(f"error_rate_{pair}" for pair in ("ss", "st", "tt", "ts")),
    *("tau_1", "kept_tau_1", "cosine", "cosine_squared", "kept_cosine"),
    *("knowledge_distance", "knowledge_distance_features", "reference_distance"),
    *(f"theorem_{number}_{side}" for number in (1, 2, 3) for side in ("left", "bound")),
    *(
        f"{name}_{model}"
        for name in ("lambda_max", "lambda_mean", "power_residual")
        for model in "st"
    ),
    *(
        f"{name}_{way}"
        for way in ("st", "ts")
        for name in (
            *(
                "alpha_1",
                "alpha_1_median",
                "alpha_2",
                "alpha_2_squared_unbiased",
                "joint",
                "tau_2",
                "tau_2_attack",
            ),
            *("kept_alpha_1", "kept_alpha_2", "kept_joint", "kept_tau_2", "kept_tau_2_attack"),
            *("gradient_distance", "function_distance", "feature_distance"),
        )
    ),
)
"""Every number that `alignment` can give; on some data it leaves some out."""


def attack_misfits(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
    """The radius or the step of the attack, where it is larger than any two inputs are apart."""
    asked = chosen["attack"]
    if asked is None:
        return
    norm: Norm = getattr(asked, "norm", "l2")
    yield from radius_misfits(("attack", "eps"), asked.eps, norm, around.target)
    step = getattr(asked, "step_size", None)
    yield from radius_misfits(("attack", "step_size"), step, norm, around.target, what="a step")
