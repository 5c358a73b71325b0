"""The discriminator: it tells a student's input gradients from a teacher's."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from advtransfer.types import Shape
from advtransfer_igam.gradients import unit

KERNEL, STRIDE, SLOPE = 4, 2, 0.1
STUDENT, TEACHER = 0, 1
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
        self.blocks = nn.Sequential(*map(_Block, widths, channels))
        self.head = nn.Linear(channels[-1] * math.prod(sides), 2)
        nn.init.uniform_(self.head.weight, -math.sqrt(3 / self.head.in_features), math.sqrt(3 / self.head.in_features))
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, *gradients: Tensor) -> Tensor:
        """Batches ``(B, *shape)``, judged as one, to logits ``(sum of B, 2)``."""
        first, *others = self.blocks
        images = first(*map(unit, gradients))
        for block in others:
            images = block(images)
        logits: Tensor = self.head(images.flatten(1))
        return logits

    def loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Its cross-entropy, averaged over the gradients of both: ``log(2)`` when it cannot tell them apart."""
        logits = self(student, teacher)
        labels = torch.tensor([STUDENT] * len(student) + [TEACHER] * len(teacher), device=logits.device)
        return functional.cross_entropy(logits, labels)


class _Block(nn.Module):
    """A convolution that halves the sides, rounding up, with what follows it."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inner, outer, KERNEL, stride=STRIDE, padding=(KERNEL - STRIDE) // 2)
        nn.init.normal_(self.convolution.weight, std=math.sqrt(2 / (KERNEL**2 * outer)))
        self.norm = nn.BatchNorm2d(outer, eps=1e-3, track_running_stats=False)

    def forward(self, *batches: Tensor) -> Tensor:
        """Batches ``(B, inner, H, W)`` to one, ``(sum of B, outer, H / 2, W / 2)``."""
        # apart, so that backward goes through the widest convolution for those alone that are differentiated
        parts = [self.convolution(_evened(batch)) for batch in batches]
        whole = torch.cat(parts) if len(parts) > 1 else parts[0]
        return functional.leaky_relu(self.norm(whole), SLOPE)


def _evened(images: Tensor) -> Tensor:
    """One pixel more below and to the right of odd sides, as TensorFlow's padding "SAME" has it."""
    rows, columns = (side % 2 for side in images.shape[-2:])
    return functional.pad(images, (0, columns, 0, rows)) if rows or columns else images
