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

    def forward(self, gradients: Tensor) -> Tensor:
        """``(B, *shape)`` to ``(B, 2)``."""
        logits: Tensor = self.head(self.blocks(unit(gradients)).flatten(1))
        return logits

    def loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Its cross-entropy, averaged over the gradients of both: ``log(2)`` when it cannot tell them apart."""
        logits = self(torch.cat([student, teacher]))
        labels = torch.tensor([STUDENT] * len(student) + [TEACHER] * len(teacher), device=logits.device)
        return functional.cross_entropy(logits, labels)


class _Block(nn.Module):
    """A convolution that halves the sides, rounding up, with what follows it."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inner, outer, KERNEL, stride=STRIDE)
        nn.init.normal_(self.convolution.weight, std=math.sqrt(2 / (KERNEL**2 * outer)))
        self.norm = nn.BatchNorm2d(outer, eps=1e-3, track_running_stats=False)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, inner, H, W)`` to ``(B, outer, H / 2, W / 2)``."""
        below, right = (KERNEL - STRIDE + side % 2 for side in images.shape[-2:])
        # of an odd margin the larger half is below and to the right, as TensorFlow's padding "SAME" has it
        padded = functional.pad(images, (right // 2, right - right // 2, below // 2, below - below // 2))
        return functional.leaky_relu(self.norm(self.convolution(padded)), SLOPE)
