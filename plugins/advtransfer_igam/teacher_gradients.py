"""Input gradients and losses of the teacher, computed for each batch or once for all epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from advtransfer.toolkit.datasets import all_positions
from advtransfer.toolkit.prediction import fill_batch
from advtransfer.types import Samples, Shape
from advtransfer_igam.input_gradients import input_gradients
from advtransfer_igam.options import GradientTarget
from advtransfer_igam.teacher import Teacher

MAX_GRADIENT_BYTES = 2**30
"""Larger input gradients are computed anew in every epoch."""


@dataclass(frozen=True, slots=True)
class TeacherBatch:
    """Input gradients ``(B, C, H, W)`` and losses ``(B,)``, both detached."""

    gradients: Tensor
    losses: Tensor


def teacher_batch(
    teacher: Teacher, images: Tensor, labels: Tensor, *, of: GradientTarget, rows: int | None
) -> TeacherBatch:
    """Return the teacher's input gradients and losses for a batch, in the mode it is in.

    Args:
        teacher: Frozen: no gradient with respect to its weights is built.
        images: ``(B, C, H, W)``.
        labels: ``(B,)``.
        of: The differentiated quantity.
        rows: Size that smaller batches are filled up to, so that an image's gradient is the same,
            to the bit, in every batch; None for a teacher that depends on the batch or draws.
    """
    count = len(images)
    # Another batch size uses other kernels, which round differently.
    size = count if rows is None else rows
    images = fill_batch(images.detach(), size).requires_grad_()
    labels = fill_batch(labels, size)
    logits: Tensor = teacher(images)
    gradients = input_gradients(logits, labels, images, of=of)
    losses = functional.cross_entropy(logits.detach(), labels, reduction="none")
    return TeacherBatch(gradients[:count], losses[:count])


class TaughtSamples:
    """Training samples with the gradients and losses of a deterministic teacher, computed once.

    An input is a row ``(2 C H W + 1,)``: the image, its gradient and its loss. They stay together
    whatever the order of the samples and the size of the batches.

    Args:
        samples: The images, read anew in each epoch.
        teacher: A deterministic teacher, see `Teacher.is_deterministic`. The gradients are computed
            on its device.
        of: The differentiated quantity.
        rows: Images per batch of the teacher.
    """

    def __init__(
        self, samples: Samples, teacher: Teacher, *, of: GradientTarget, rows: int
    ) -> None:
        self._samples = samples
        size = 2 * math.prod(samples.card.shape) + 1
        # Rows contain gradients, which have no bounds.
        self.card = replace(samples.card, shape=(size,), bounds=None)
        self.keys: Sequence[int] = samples.keys
        device = teacher.head.weight.device
        chunks: list[Tensor] = []
        for positions in torch.split(all_positions(samples), rows):
            images = samples.inputs(positions).to(device)
            labels = samples.labels(positions).to(device)
            taught = teacher_batch(teacher, images, labels, of=of, rows=rows)
            gradient_rows = taught.gradients.flatten(1)
            chunks.append(torch.cat([gradient_rows, taught.losses.unsqueeze(1)], 1).cpu())
        self._teacher_rows = torch.cat(chunks)

    def __len__(self) -> int:
        return len(self._samples)

    def inputs(self, positions: Tensor) -> Tensor:
        """Return rows of image, gradient and loss, ``(B, 2 C H W + 1)``."""
        images = self._samples.inputs(positions).flatten(1)
        return torch.cat([images, self._teacher_rows[positions]], 1)

    def labels(self, positions: Tensor) -> Tensor:
        """Return the labels, ``(B,)``."""
        return self._samples.labels(positions)


def split_taught_inputs(inputs: Tensor, shape: Shape) -> tuple[Tensor, TeacherBatch | None]:
    """Return the images ``(B, C, H, W)`` of a batch, and the teacher's gradients and losses.

    The latter is None unless the batch comes from `TaughtSamples`.
    """
    if inputs.ndim != 2:
        return inputs, None
    size = math.prod(shape)
    images = inputs[:, :size].contiguous().view(-1, *shape)
    gradients = inputs[:, size:-1].contiguous().view(-1, *shape)
    return images, TeacherBatch(gradients, inputs[:, -1].contiguous())


def gradient_bytes(samples: Samples) -> int:
    """Return the size of all samples' input gradients in bytes."""
    return 4 * len(samples) * math.prod(samples.card.shape)
