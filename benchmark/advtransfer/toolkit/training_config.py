"""Options of a training: optimizer, learning-rate schedule, augmentations.

Does not import torch.

These dataclasses can be options of a factory. They check themselves, so a mistake is reported when
a suite is planned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from annotated_types import MinLen

from advtransfer.toolkit.tagged_union import TaggedUnion

AugmentName: TypeAlias = Literal[
    "pad_crop", "pad_crop_2", "random_resized_crop", "flip", "colour_jitter", "rotation"
]
"""The names of the augmentations, see `augmentation.make_augmentation`.

``pad_crop`` takes a random window after 4 pixels of padding (Liang et al., 2020; Utrera et al.,
2021), ``pad_crop_2`` after 2 pixels (Chan et al., 2020); ``random_resized_crop`` takes a random
window of 8 to 100 % of the area and resizes it to the image's size (Salman et al., 2020).
"""

Augment: TypeAlias = Literal["none"] | Annotated[tuple[AugmentName, ...], MinLen(1)]
"""Changes to each training image, applied in this order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sgd:
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    nesterov: bool = False

    def __post_init__(self) -> None:
        require_field(self.lr > 0, "lr", self.lr, "a number above 0")
        require_field(
            0 <= self.momentum < 1, "momentum", self.momentum, "a number from 0 to below 1"
        )
        require_field(self.weight_decay >= 0, "weight_decay", self.weight_decay, "a number from 0")
        require_field(
            self.momentum > 0 or not self.nesterov,
            "nesterov",
            self.nesterov,
            "false without momentum",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Adam:
    """Adam (Kingma and Ba, 2015) with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    kind: Literal["adam"] = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        require_field(self.lr > 0, "lr", self.lr, "a number above 0")
        require_field(self.weight_decay >= 0, "weight_decay", self.weight_decay, "a number from 0")


OptimizerConfig: TypeAlias = Annotated[Sgd | Adam, TaggedUnion()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The learning rate over a training, as a factor of the optimizer's rate.

    Args:
        kind: ``constant``; ``step`` (times `gamma` at each of `milestones`); ``cosine`` or
            ``linear`` (down to 0).
        milestones: Shares of the training, in [0, 1]; used by ``step``.
        gamma: The factor applied at each milestone; used by ``step``.
        warmup: The share of the training over which the rate first rises linearly from 0.
    """

    kind: Literal["constant", "step", "cosine", "linear"] = "cosine"
    milestones: tuple[float, ...] = (0.5, 0.75)
    gamma: float = 0.1
    warmup: float = 0.0

    def __post_init__(self) -> None:
        inside = all(0 <= milestone <= 1 for milestone in self.milestones)
        require_field(inside, "milestones", self.milestones, "shares of the training, from 0 to 1")
        require_field(self.gamma > 0, "gamma", self.gamma, "a number above 0")
        require_field(0 <= self.warmup < 1, "warmup", self.warmup, "a share from 0 to below 1")

    def rate_factor(self, done: float) -> float:
        """Return the factor after the share `done` in [0, 1) of the training."""
        rise = min(1.0, done / self.warmup) if self.warmup else 1.0
        # The decay starts after the warm-up and ends with the training.
        decayed = max(0.0, done - self.warmup) / (1 - self.warmup)
        match self.kind:
            case "constant":
                return rise
            case "step":
                passed = sum(done >= milestone for milestone in self.milestones)
                return rise * self.gamma**passed
            case "cosine":
                return rise * (1 + math.cos(math.pi * decayed)) / 2
            case "linear":
                return rise * (1 - decayed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ema:
    """Exponential moving average of the weights over the steps (Rebuffi et al., 2021).

    Args:
        kind: ``ema``.
        decay: The share of the average that a step keeps; over the first steps it rises to this
            value as (1 + t) / (10 + t).
    """

    kind: Literal["ema"] = "ema"
    decay: float = 0.999

    def __post_init__(self) -> None:
        require_field(0 < self.decay < 1, "decay", self.decay, "a share above 0 and below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Swa:
    """Stochastic weight averaging: the mean of the weights after epochs (Izmailov et al., 2018).

    Args:
        kind: ``swa``.
        start: The share of the training after which epochs are averaged.
    """

    kind: Literal["swa"]
    start: float = 0.75

    def __post_init__(self) -> None:
        require_field(0 <= self.start < 1, "start", self.start, "a share from 0 to below 1")


Averaging: TypeAlias = Annotated[Ema | Swa, TaggedUnion()]
"""The average of a training's weights that takes the place of its last weights."""

KeptEpoch: TypeAlias = Literal["last", "best"]
"""The epoch whose weights a training returns: the last, or the best on its validation part."""


def require_field(holds: bool, field: str, found: object, expected: str) -> None:
    """Check a field of an option.

    Args:
        holds: The condition that the field must satisfy.
        field: The name of the field.
        found: Its value.
        expected: A description of the allowed values.

    Raises:
        ValueError: The condition is False.
    """
    if not holds:
        raise ValueError(f"{field}: {expected}, not {found!r}")
