"""How teacher and discriminator are trained, in words. Light: no torch.

These dataclasses are options of the factory: they check themselves, so a mistake is told when a suite is planned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from advtransfer.toolkit.recipe import Adam, Optimiser, Schedule, expect

GradientOf: TypeAlias = Literal["loss", "probability"]
Reduction: TypeAlias = Literal["sum", "sample_mean", "mean"]

_ADAM = Adam(lr=1e-3)


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherTuning:
    """How the teacher gets a logit layer for the target: all its other weights are frozen, but for a learned adapter's.

    Args:
        epochs: How often each image is seen.
        batch_size: Images in a step.
        optimiser: The optimiser and its learning rate, which stays the same.
        batch_norm: ``running`` uses the statistics that came with the teacher; ``batch`` those of each batch, here and
            while its gradients are matched, as in the paper's released code. The teacher's own are never changed.
    """

    epochs: int = 30
    batch_size: int = 32
    optimiser: Optimiser = _ADAM
    batch_norm: Literal["running", "batch"] = "running"

    def __post_init__(self) -> None:
        expect(self.epochs >= 1, "epochs", self.epochs, "at least 1")
        expect(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """The discriminator and its training.

    Args:
        channels: Output channels of its convolutions, each of which halves the sides.
        every: Steps of the student for each step of the discriminator.
        optimiser: The optimiser and its largest learning rate; the student's when left out.
        schedule: The learning rate over the training; the student's when left out.
    """

    channels: tuple[int, ...] = (8, 16, 32, 64)
    every: int = 5
    optimiser: Optimiser | None = None
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        wide = bool(self.channels) and min(self.channels) >= 1
        expect(wide, "channels", self.channels, "one number from 1 for each convolution")
        expect(self.every >= 1, "every", self.every, "at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is added to the student's cross-entropy, and how.

    Args:
        lambda_adv: Weight of the discriminator's cross-entropy, which the student ascends.
        lambda_diff: Weight of the squared distance between the input gradients.
        gradient_of: What is differentiated with respect to the image.
        reduction: How squared differences become one number.
        warm_up: The share of the training before both terms begin.
        kernel_decay: Weight of half the squared l2 norm of convolution and linear kernels.
        input_noise: Images are moved by up to so much, uniformly, within their bounds.
    """

    lambda_adv: float
    lambda_diff: float
    gradient_of: GradientOf
    reduction: Reduction
    warm_up: float
    kernel_decay: float
    input_noise: float
