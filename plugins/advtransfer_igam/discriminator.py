"""Discriminator of student and teacher input gradients, and its training beside the student's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from advtransfer.toolkit.checkpoint import Checkpoint
from advtransfer.toolkit.model_modes import weights_frozen
from advtransfer.toolkit.rng import build_initialized
from advtransfer.toolkit.training import make_optimizer
from advtransfer.toolkit.training_config import OptimizerConfig, Schedule
from advtransfer.types import Context, Shape
from advtransfer_igam.input_gradients import l2_standardized
from advtransfer_igam.options import DiscriminatorConfig

KERNEL_SIZE, STRIDE, LEAKY_SLOPE = 4, 2, 0.1
STUDENT_CLASS, TEACHER_CLASS = 0, 1
"""Its two classes."""


class Discriminator(nn.Module):
    """From input gradients ``(B, *shape)`` to logits ``(B, 2)``; class 1 is the teacher's.

    Convolutions of 4 x 4 pixels and stride 2, each with batch normalisation and a leaky rectifier, then a linear layer
    (released code of Chan et al., 2020). Each gradient is first centred and divided by its l2 norm. Batch normalisation
    uses the batch's statistics in every mode, as there.

    Args:
        shape: ``(C, H, W)`` of one gradient.
        channels: Output channels of each convolution.
    """

    def __init__(self, shape: Shape, channels: Sequence[int]) -> None:
        super().__init__()
        sides = [math.ceil(side / STRIDE ** len(channels)) for side in shape[1:]]
        widths = (shape[0], *channels)
        self.blocks = nn.Sequential(*map(_ConvolutionBlock, widths, channels))
        self.head = nn.Linear(channels[-1] * math.prod(sides), 2)
        nn.init.uniform_(
            self.head.weight,
            -math.sqrt(3 / self.head.in_features),
            math.sqrt(3 / self.head.in_features),
        )
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, *gradients: Tensor) -> Tensor:
        """Batches ``(B, *shape)``, judged as one, to logits ``(sum of B, 2)``."""
        first, *others = self.blocks
        images = first(*map(l2_standardized, gradients))
        for block in others:
            images = block(images)
        logits: Tensor = self.head(images.flatten(1))
        return logits

    def classification_loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Its cross-entropy, averaged over the gradients of both: ``log(2)`` when it cannot tell them apart."""
        logits = self(student, teacher)
        labels = torch.tensor(
            [STUDENT_CLASS] * len(student) + [TEACHER_CLASS] * len(teacher), device=logits.device
        )
        return functional.cross_entropy(logits, labels)


class _ConvolutionBlock(nn.Module):
    """A convolution that halves the sides, rounding up, with what follows it."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(
            inner, outer, KERNEL_SIZE, stride=STRIDE, padding=(KERNEL_SIZE - STRIDE) // 2
        )
        nn.init.normal_(self.convolution.weight, std=math.sqrt(2 / (KERNEL_SIZE**2 * outer)))
        self.norm = nn.BatchNorm2d(outer, eps=1e-3, track_running_stats=False)

    def forward(self, *batches: Tensor) -> Tensor:
        """Batches ``(B, inner, H, W)`` to one, ``(sum of B, outer, H / 2, W / 2)``."""
        # apart, so that backward goes through the widest convolution for those alone that are differentiated
        parts = [self.convolution(_pad_to_even(batch)) for batch in batches]
        whole = torch.cat(parts) if len(parts) > 1 else parts[0]
        return functional.leaky_relu(self.norm(whole), LEAKY_SLOPE)


def _pad_to_even(images: Tensor) -> Tensor:
    """One pixel more below and to the right of odd sides, as TensorFlow's padding "SAME" has it."""
    rows, columns = (side % 2 for side in images.shape[-2:])
    return functional.pad(images, (0, columns, 0, rows)) if rows or columns else images


@dataclass(frozen=True, slots=True)
class DiscriminatorTraining:
    """A discriminator in training; whoever owns it keeps its state.

    Args:
        discriminator: The network, in training mode.
        stepper: Its optimiser.
        optimiser: The recipe behind it.
        schedule: The learning rate over the whole training.
        every: Steps of the student for each of its own.
    """

    discriminator: Discriminator
    optimizer: torch.optim.Optimizer
    optimizer_config: OptimizerConfig
    schedule: Schedule
    every: int

    @classmethod
    def from_config(
        cls,
        judging: DiscriminatorConfig,
        shape: Shape,
        *,
        optimiser: OptimizerConfig,
        schedule: Schedule,
        context: Context,
    ) -> DiscriminatorTraining:
        """A new discriminator of gradients of that shape; `optimiser` and `schedule` where `judging` names none."""
        network = build_initialized(
            lambda: Discriminator(shape, judging.channels), context.generator("discriminator")
        ).to(context.device)
        recipe = judging.optimiser or optimiser
        stepper = make_optimizer(recipe, network.parameters())
        return cls(network.train(), stepper, recipe, judging.schedule or schedule, judging.every)

    def loss_for_student(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Its cross-entropy, with a graph to the gradients and none to its own weights."""
        with weights_frozen(self.discriminator):
            return self.discriminator.classification_loss(student, teacher)

    def train_step(self, student: Tensor, teacher: Tensor, *, done: float) -> None:
        """Learn from detached gradients, when the share `done` of the training lies behind."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.optimizer_config.lr * self.schedule.rate_factor(done)
        self.optimizer.zero_grad()
        self.discriminator.classification_loss(student, teacher).backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward
        self.optimizer.step()

    def pack_state(self) -> dict[str, Tensor]:
        """Its weights and momenta by name."""
        return self._make_checkpoint().pack([], {})

    def restore_state(self, state: dict[str, Tensor]) -> None:
        """Take them up again, if they are in the state."""
        self._make_checkpoint().unpack(state)

    def _make_checkpoint(self) -> Checkpoint:
        return Checkpoint(self.discriminator, self.optimizer, {}, "discriminator")
