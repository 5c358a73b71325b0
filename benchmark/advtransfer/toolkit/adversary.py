"""Options of adversarial training: threat model (norm, eps) and method (PGD, APGD, TRADES, ...).

Does not import torch.

These dataclasses can be options of a factory. They check themselves, so a mistake is reported when
a suite is planned. `option_checks.require_adversary_radius` checks the radius once the data is
known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal, TypeAlias

from advtransfer.toolkit.tagged_union import TaggedUnion
from advtransfer.toolkit.training_config import require_field
from advtransfer.types import Since

TrainingNorm: TypeAlias = Literal["linf", "l2"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adversary:
    """Training on images perturbed by PGD inside a ball (Madry et al., 2018, section 2).

    Args:
        kind: ``pgd``; may be left out.
        norm: ``linf`` or ``l2``.
        eps: The radius, for inputs in [0, 1].
        steps: Gradient steps for each batch.
        step_size: The length of one step; by default ``2.5 * eps / steps``.
        random_start: Start at a random point of the ball instead of its centre.
        best: Train on the iterate of the highest loss instead of the last one (``use_best`` of
            Engstrom et al., 2019).
        warmup: The share of the training over which eps, and the steps with it, rise linearly from
            0.
    """

    kind: Annotated[Literal["pgd"], Since(1)] = "pgd"
    norm: TrainingNorm = "linf"
    eps: float
    steps: int = 7
    step_size: float | None = None
    random_start: bool = True
    best: Annotated[bool, Since(1)] = False
    warmup: Annotated[float, Since(1)] = 0.0

    def __post_init__(self) -> None:
        _require_ball(self.norm, self.eps)
        _require_steps(self.steps, self.step_size)
        _require_warmup(self.warmup)

    @property
    def effective_step_size(self) -> float:
        """The length of one step, with the default filled in."""
        return _effective_step_size(self.eps, self.steps, self.step_size)

    def __str__(self) -> str:
        return f"{self.norm} eps {self.eps:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Apgd:
    """Training on images perturbed by Auto-PGD inside a ball (Croce and Hein, 2020, algorithm 1).

    The first step is of 2 eps, and steps are halved where the loss stops rising, so that no step
    size is chosen. Trained on is the point of the highest loss.

    Args:
        kind: ``apgd``.
        norm: ``linf`` or ``l2``.
        eps: The radius, for inputs in [0, 1].
        steps: Gradient steps for each batch.
        random_start: Start at a random point of the ball instead of its centre.
        warmup: The share of the training over which eps rises, as in `Adversary`.
    """

    kind: Literal["apgd"]
    norm: TrainingNorm = "linf"
    eps: float
    steps: int = 10
    random_start: bool = True
    warmup: float = 0.0

    def __post_init__(self) -> None:
        _require_ball(self.norm, self.eps)
        _require_steps(self.steps, None)
        _require_warmup(self.warmup)

    def __str__(self) -> str:
        return f"{self.norm} eps {self.eps:g}, APGD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trades:
    """TRADES: accuracy on clean images plus equal predictions over the ball (Zhang et al., 2019).

    Args:
        kind: ``trades``.
        norm: ``linf`` or ``l2``.
        eps: The radius, for inputs in [0, 1].
        steps: Gradient steps for each batch.
        step_size: The length of one step; by default ``2.5 * eps / steps``.
        beta: The weight of the second term, 1 / lambda in the paper.
        warmup: The share of the training over which eps rises, as in `Adversary`.
    """

    kind: Literal["trades"]
    norm: TrainingNorm = "linf"
    eps: float
    steps: int = 10
    step_size: float | None = None
    beta: float = 6.0
    warmup: Annotated[float, Since(1)] = 0.0

    def __post_init__(self) -> None:
        _require_ball(self.norm, self.eps)
        _require_steps(self.steps, self.step_size)
        _require_warmup(self.warmup)
        require_field(
            self.beta > 0,
            "beta",
            self.beta,
            "a number above 0; 0 is natural training: leave the adversary out",
        )

    @property
    def effective_step_size(self) -> float:
        """The length of one step, with the default filled in."""
        return _effective_step_size(self.eps, self.steps, self.step_size)

    def __str__(self) -> str:
        return f"{self.norm} eps {self.eps:g}, TRADES beta {self.beta:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fast:
    """Fast adversarial training: one signed step from a random start.

    Wong et al. (2020), algorithm 3. The training can overfit to its own step (catastrophic
    overfitting): from one epoch to the next the network resists that step and no other attack. With
    a validation share this shows as a fall of ``robust_validation_accuracy`` in the curves.

    Args:
        kind: ``fast``.
        norm: ``linf``, the only norm it is defined for.
        eps: The radius, for inputs in [0, 1].
        step_size: The length of the step; by default ``1.25 * eps``.
        warmup: The share of the training over which eps rises, as in `Adversary`.
    """

    kind: Literal["fast"]
    norm: Literal["linf"] = "linf"
    eps: float
    step_size: float | None = None
    warmup: Annotated[float, Since(1)] = 0.0

    def __post_init__(self) -> None:
        _require_ball(self.norm, self.eps)
        _require_steps(1, self.step_size)
        _require_warmup(self.warmup)

    @property
    def as_pgd(self) -> Adversary:
        """The same attack as PGD with one step."""
        step_size = 1.25 * self.eps if self.step_size is None else self.step_size
        return Adversary(norm=self.norm, eps=self.eps, steps=1, step_size=step_size)

    def __str__(self) -> str:
        return f"{self.norm} eps {self.eps:g}, fast"


@dataclass(frozen=True, slots=True, kw_only=True)
class Free:
    """Free adversarial training: each backward pass updates weights and perturbation.

    Shafahi et al. (2019), algorithm 1. Each batch is replayed, and the next batch begins with the
    perturbation that the last one ended with. Each replay counts as an epoch: the training makes
    ``epochs / replays`` passes over the data, rounded up.

    Args:
        kind: ``free``.
        norm: ``linf``, the only norm it is defined for.
        eps: The radius and the length of a step, for inputs in [0, 1].
        replays: How often each batch is repeated, m in the paper.
    """

    kind: Literal["free"]
    norm: Literal["linf"] = "linf"
    eps: float
    replays: int = 8

    def __post_init__(self) -> None:
        _require_ball(self.norm, self.eps)
        require_field(self.replays >= 1, "replays", self.replays, "at least 1")

    def __str__(self) -> str:
        return f"{self.norm} eps {self.eps:g}, free with {self.replays} replays"


TrainingMethod: TypeAlias = Adversary | Apgd | Trades | Fast | Free
"""The methods of adversarial training."""

AdversarialTraining: TypeAlias = Annotated[TrainingMethod, TaggedUnion()]
"""The methods of adversarial training as an option, distinguished by `kind`."""

RisingMethod: TypeAlias = Adversary | Apgd | Trades | Fast
"""Those whose radius can rise over a training: all that keep nothing from batch to batch."""


def at_strength(adversary: RisingMethod, share: float) -> RisingMethod:
    """Return the adversary with a share of its eps, and of a step size that is given."""
    step_size = getattr(adversary, "step_size", None)
    steps = {} if step_size is None else {"step_size": share * step_size}
    return replace(adversary, eps=share * adversary.eps, warmup=0.0, **steps)


def _effective_step_size(eps: float, steps: int, step_size: float | None) -> float:
    # All steps together are 2.5 radii long: enough to cross the ball from any start.
    return 2.5 * eps / steps if step_size is None else step_size


def _require_ball(norm: TrainingNorm, eps: float) -> None:
    require_field(eps > 0, "eps", eps, "a number above 0")
    # Distances in l2 grow with the number of pixels, so only the data can bound eps there.
    require_field(norm == "l2" or eps <= 1, "eps", eps, "at most 1 in linf: inputs lie in [0, 1]")


def _require_steps(steps: int, step_size: float | None) -> None:
    require_field(steps >= 1, "steps", steps, "at least 1")
    require_field(step_size is None or step_size > 0, "step_size", step_size, "a number above 0")


def _require_warmup(warmup: float) -> None:
    require_field(0 <= warmup <= 1, "warmup", warmup, "a share of the training, from 0 to 1")
