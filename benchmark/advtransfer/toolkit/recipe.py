"""How a network is trained, in words: optimiser, learning-rate schedule, adversary. Light: no torch.

These dataclasses can be options of a factory: they check themselves, so a mistake is told when a suite is planned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

Norm: TypeAlias = Literal["linf", "l2"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sgd:
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    nesterov: bool = False

    def __post_init__(self) -> None:
        _expect(self.lr > 0, "lr", self.lr, "a number above 0")
        _expect(0 <= self.momentum < 1, "momentum", self.momentum, "a number from 0 to below 1")
        _expect(self.weight_decay >= 0, "weight_decay", self.weight_decay, "a number from 0")
        _expect(self.momentum > 0 or not self.nesterov, "nesterov", self.nesterov, "false without momentum")


@dataclass(frozen=True, slots=True, kw_only=True)
class Adam:
    """Adam (Kingma and Ba, 2015) with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    kind: Literal["adam"] = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _expect(self.lr > 0, "lr", self.lr, "a number above 0")
        _expect(self.weight_decay >= 0, "weight_decay", self.weight_decay, "a number from 0")


Optimiser: TypeAlias = Sgd | Adam


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The learning rate over a training, as a factor of the optimiser's.

    Args:
        kind: ``constant``; ``step`` (times `gamma` at each of `milestones`); ``cosine`` or ``linear`` (down to 0).
        milestones: Shares of the training, in [0, 1]; used by ``step``.
        gamma: What the rate is multiplied by at a milestone; used by ``step``.
        warmup: The share of the training over which the rate first rises linearly from 0.
    """

    kind: Literal["constant", "step", "cosine", "linear"] = "cosine"
    milestones: tuple[float, ...] = (0.5, 0.75)
    gamma: float = 0.1
    warmup: float = 0.0

    def __post_init__(self) -> None:
        inside = all(0 <= milestone <= 1 for milestone in self.milestones)
        _expect(inside, "milestones", self.milestones, "shares of the training, from 0 to 1")
        _expect(self.gamma > 0, "gamma", self.gamma, "a number above 0")
        _expect(0 <= self.warmup < 1, "warmup", self.warmup, "a share from 0 to below 1")

    def factor(self, done: float) -> float:
        """The factor when the share `done` in [0, 1) of the training lies behind."""
        rise = min(1.0, done / self.warmup) if self.warmup else 1.0
        rest = max(0.0, done - self.warmup) / (1 - self.warmup)
        match self.kind:
            case "constant":
                return rise
            case "step":
                return rise * self.gamma ** sum(done >= milestone for milestone in self.milestones)
            case "cosine":
                return rise * (1 + math.cos(math.pi * rest)) / 2
            case "linear":
                return rise * (1 - rest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adversary:
    """The adversary of adversarial training: PGD inside a ball around each image (Madry et al., 2018, section 2).

    Args:
        norm: ``linf`` or ``l2``.
        eps: The radius, for inputs in [0, 1].
        steps: Gradient steps for each batch.
        step_size: The length of one step; by default ``2.5 * eps / steps``.
        random_start: Start at a random point of the ball instead of its centre.
    """

    norm: Norm = "linf"
    eps: float
    steps: int = 7
    step_size: float | None = None
    random_start: bool = True

    def __post_init__(self) -> None:
        _expect(self.eps > 0, "eps", self.eps, "a number above 0")
        _expect(self.norm == "l2" or self.eps <= 1, "eps", self.eps, "at most 1 in linf: inputs lie in [0, 1]")
        _expect(self.steps >= 1, "steps", self.steps, "at least 1")
        _expect(self.step_size is None or self.step_size > 0, "step_size", self.step_size, "a number above 0")

    @property
    def step(self) -> float:
        """The length of one step, the default filled in."""
        return 2.5 * self.eps / self.steps if self.step_size is None else self.step_size

    def __str__(self) -> str:
        return f"{self.norm} eps {self.eps:g}"


def _expect(holds: bool, field: str, found: object, expected: str) -> None:
    if not holds:
        raise ValueError(f"{field}: {expected}, not {found!r}")
