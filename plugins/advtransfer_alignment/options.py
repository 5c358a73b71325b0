"""Options of the evaluations, metric names, and the checks of options. Does not import torch.

The dataclasses validate themselves, so that a mistake is reported when a suite is planned. No
attack here takes a label: each moves a model away from its own output. A source has no labels for
the target's images, and where the reference is correct, its own class is the true one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from advtransfer.precheck import CellOutline, Misfit, OptionValues
from advtransfer.toolkit.adversary import TrainingNorm
from advtransfer.toolkit.loss_attack import loss_attack_misfits
from advtransfer.toolkit.option_checks import Norm, radius_misfits, repeated_value_misfits
from advtransfer.toolkit.tagged_union import TaggedUnion
from advtransfer.toolkit.training_config import require_field


@dataclass(frozen=True, slots=True)
class AscentConfig:
    """Gradient ascent of an attack: the ball, the steps, and whether the start is random."""

    norm: TrainingNorm
    eps: float
    steps: int
    step_size: float
    random_start: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFreePgd:
    """Projected gradient ascent on the loss against the own prediction (Liang et al., 2021).

    Args:
        kind: ``pgd``; may be left out.
        norm: ``linf`` or ``l2``.
        eps: The radius, in the unit of the inputs: [0, 1] pixel space.
        steps: Number of gradient steps; 50 in the released code.
        step_size: Length of one step; by default ``5 * eps / steps``, as in the released code.
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
        """The ascent, with the default step size filled in."""
        # A path of five radii can cross the ball from any random start.
        step_size = 5 * self.eps / self.steps if self.step_size is None else self.step_size
        return AscentConfig(self.norm, self.eps, self.steps, step_size, self.random_start)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFreeFgsm:
    """One gradient step of length eps on the loss against the model's own prediction.

    Goodfellow, Shlens and Szegedy (2015).

    Args:
        kind: ``fgsm``.
        norm: ``linf`` takes the sign of the gradient, ``l2`` its direction.
        eps: The radius.
        random_start: Start at a random point of the ball, as in the released code of Liang et al.
            (2021).
    """

    kind: Literal["fgsm"]
    norm: TrainingNorm = "linf"
    eps: float
    random_start: bool = True

    def __post_init__(self) -> None:
        _require_ball(self.eps, 1, None)

    @property
    def ascent_config(self) -> AscentConfig:
        """The ascent of one step."""
        return AscentConfig(self.norm, self.eps, 1, self.eps, self.random_start)


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualAttack:
    """The virtual adversarial attack, which maximises the change of the outputs.

    Liang et al. (2020), definition 1. It ascends ``||f(x + delta) - f(x)||_2`` from a random point
    of the ball, since the gradient at x itself is zero, and keeps the iterate with the largest
    change.

    Args:
        kind: ``virtual``.
        norm: ``l2``, as defined, or ``linf``.
        eps: The radius.
        steps: Number of gradient steps.
        step_size: Length of one step; by default ``eps / 2``. Shorter steps do not turn far enough.
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
        """The ascent, with the default step size filled in."""
        step_size = self.eps / 2 if self.step_size is None else self.step_size
        # At x itself the gradient of the distance is zero, hence the random start.
        return AscentConfig(self.norm, self.eps, self.steps, step_size, True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spectrum:
    """Computation of the largest singular values and directions of a Jacobian.

    Args:
        most_outputs: The Jacobian is computed whole for models of at most this many outputs, by one
            backward pass per output. For others, its largest directions come from block power
            iteration. Comparing two models of m and d outputs takes 8 (m + d)^2 bytes per sample,
            and for a moment up to three times as many: with 32 outputs each 33 kB, or up to 1 GB
            for 10,000 samples; with 100 each ten times as much.
        iterations: Steps of the power iteration, each with two Jacobian products per vector of the
            block.
    """

    most_outputs: int = 32
    iterations: int = 20

    def __post_init__(self) -> None:
        require_field(self.most_outputs >= 0, "most_outputs", self.most_outputs, "a number from 0")
        require_field(self.iterations >= 1, "iterations", self.iterations, "at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class TopSingularAttack:
    """The virtual attack of the linearized model: eps times the first right singular vector.

    Of the vector's two signs it takes the one that moves the outputs further. The vector is
    computed as the evaluation's `spectrum` says, and by the default `Spectrum()` where there is
    none.

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
"""The attacks, distinguished by `kind`."""


Kernel: TypeAlias = Literal["linear", "rbf"]
SurrogateLabels: TypeAlias = Literal["target", "predicted"]


def _require_ball(eps: float, steps: int, step_size: float | None) -> None:
    require_field(eps > 0, "eps", eps, "a number above 0")
    require_field(steps >= 1, "steps", steps, "at least 1")
    require_field(step_size is None or step_size > 0, "step_size", step_size, "a number above 0")


_COMMON_METRICS = (
    "right",
    "reference_error",
    "loss_clean",
    "loss_white_box",
    "loss_transfer",
    "error_rate_ss",
    "error_rate_st",
    "error_rate_tt",
    "error_rate_ts",
    "tau_1",
    "kept_tau_1",
    "cosine",
    "cosine_squared",
    "kept_cosine",
    "knowledge_distance",
    "knowledge_distance_features",
    "reference_distance",
    "theorem_1_left",
    "theorem_1_bound",
    "theorem_2_left",
    "theorem_2_bound",
    "theorem_3_left",
    "theorem_3_bound",
)
_MODEL_METRICS = ("lambda_max", "lambda_mean", "power_residual")
"""Metrics of one model, with the suffix ``_s`` or ``_t``."""
_DIRECTION_METRICS = (
    "alpha_1",
    "alpha_1_median",
    "alpha_2",
    "alpha_2_squared_unbiased",
    "joint",
    "tau_2",
    "tau_2_attack",
    "kept_alpha_1",
    "kept_alpha_2",
    "kept_joint",
    "kept_tau_2",
    "kept_tau_2_attack",
    "gradient_distance",
    "function_distance",
    "feature_distance",
)
"""Metrics of one direction, with the suffix ``_st`` or ``_ts``."""


def _metric_names() -> tuple[str, ...]:
    names = list(_COMMON_METRICS)
    for metric in _MODEL_METRICS:
        names += [f"{metric}_s", f"{metric}_t"]
    for direction in ("st", "ts"):
        names += [f"{metric}_{direction}" for metric in _DIRECTION_METRICS]
    return tuple(names)


ALIGNMENT_METRICS = _metric_names()
"""All metrics of `alignment`; some are left out where the data do not define them."""


IMAGE_METRICS = (
    "loss",
    *(
        f"{name}_{end}"
        for end in ("st", "ts")
        for name in ("alpha_1", "pearson", "spearman", "kept")
    ),
)
"""All metrics of `image_correlation`."""


DISTANCE_METRICS = (
    "width",
    *(f"{name}{end}" for name in ("mmd2", "frechet") for end in ("", "_low", "_high")),
)


def attack_misfits(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
    """Yield a misfit if the attack's radius or step exceeds the distance of any two inputs."""
    attack = chosen["attack"]
    if attack is None:
        return
    norm: Norm = getattr(attack, "norm", "l2")
    yield from radius_misfits(("attack", "eps"), attack.eps, norm, around.target)
    step_size = getattr(attack, "step_size", None)
    yield from radius_misfits(
        ("attack", "step_size"), step_size, norm, around.target, what="a step"
    )


def similarity_misfits(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
    """Yield misfits of `cka`: those of its attack, and kernels given twice."""
    yield from attack_misfits(chosen, around)
    yield from repeated_value_misfits("kernels", chosen["kernels"])


def transferred_metrics(chosen: OptionValues) -> list[str]:
    """Return the metrics of an evaluation by examples made on other models."""
    eps = f"{chosen['attack'].eps:g}"
    rates = [f"{name}@{eps}" for name in ("accuracy", "transfer_rate", "surrogate_rate")]
    return ["clean_accuracy", "jointly_correct", *rates]


def cell_transferred_misfits(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
    """Yield misfits of the attack of `transferred_from_source` and `transferred_from_reference`."""
    yield from loss_attack_misfits(chosen["attack"], around.target)


def transferred_misfits(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
    """Yield misfits of the attack, and surrogates that do not fit the target."""
    yield from cell_transferred_misfits(chosen, around)
    target = around.target
    for position, surrogate in enumerate(chosen["surrogates"]):
        path = ("surrogates", position)
        if None not in (surrogate.shape, target.shape) and surrogate.shape != target.shape:
            found = f"a source for inputs {surrogate.shape}"
            expected = f"one for {target.shape}, which the target gives"
            yield Misfit(path, expected, "name one that takes the target's images", found)
        is_same = chosen["labels"] == "predicted" or None in (surrogate.outputs, target.outputs)
        if not is_same and surrogate.outputs != target.outputs:
            found = f"a source of {surrogate.outputs} outputs"
            expected = f"{target.outputs}, as the target has, for `labels: target`"
            next_step = "name one of the target's classes, or write `labels: predicted`"
            yield Misfit(path, expected, next_step, found)
