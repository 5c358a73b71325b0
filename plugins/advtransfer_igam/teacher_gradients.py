"""Input gradients and losses of the teacher, computed for each batch or once for all epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from advtransfer.toolkit.datasets import all_positions
from advtransfer.types import Samples, Shape
from advtransfer_igam.input_gradients import input_gradients
from advtransfer_igam.options import GradientTarget
from advtransfer_igam.teacher import Teacher

MAX_GRADIENT_BYTES = 2**30
"""Input gradients that take more are computed anew in every epoch."""


@dataclass(frozen=True, slots=True)
class TeacherBatch:
    """Input gradients ``(B, C, H, W)`` and losses ``(B,)``, both detached."""

    gradients: Tensor
    losses: Tensor


def teacher_batch(
    teacher: Teacher, images: Tensor, labels: Tensor, *, of: GradientTarget, rows: int | None
) -> TeacherBatch:
    """What the teacher, in the mode it is in, gives for a batch.

    Args:
        teacher: Frozen: no gradient with respect to its weights is built.
        images: ``(B, C, H, W)``.
        labels: ``(B,)``.
        of: What is differentiated.
        rows: Smaller batches are filled up to so many rows, so that an image's gradient is the same, to the bit, in
            every batch; None for a teacher that looks at the batch or draws.
    """
    count = len(images)
    images, labels = _fill_batch(images.detach(), rows).requires_grad_(), _fill_batch(labels, rows)
    logits: Tensor = teacher(images)
    gradients = input_gradients(logits, labels, images, of=of)
    return TeacherBatch(
        gradients[:count],
        functional.cross_entropy(logits.detach(), labels, reduction="none")[:count],
    )


class TaughtSamples:
    """Training samples together with what a steady teacher gives for them, computed once.

    An input is a row ``(2 C H W + 1,)``: the image, its gradient and its loss. So they stay together, whatever the
    order of the samples and the size of the batches.

    Args:
        samples: The images, read anew in each epoch.
        teacher: Steady, see `Teacher.steady`; its device is where the gradients are computed.
        of: What is differentiated.
        rows: How many images it is given at once.
    """

    def __init__(
        self, samples: Samples, teacher: Teacher, *, of: GradientTarget, rows: int
    ) -> None:
        self._samples, self._shape = samples, samples.card.shape
        self.card = replace(samples.card, shape=(2 * math.prod(self._shape) + 1,), bounds=None)
        self.keys: Sequence[int] = samples.keys
        device = teacher.head.weight.device
        parts: list[Tensor] = []
        for positions in torch.split(all_positions(samples), rows):
            images, labels = (
                samples.inputs(positions).to(device),
                samples.labels(positions).to(device),
            )
            given = teacher_batch(teacher, images, labels, of=of, rows=rows)
            parts.append(
                torch.cat([given.gradients.flatten(1), given.losses.unsqueeze(1)], 1).cpu()
            )
        self._teacher_rows = torch.cat(parts)

    def __len__(self) -> int:
        return len(self._samples)

    def inputs(self, positions: Tensor) -> Tensor:
        """``(B, 2 C H W + 1)``."""
        return torch.cat(
            [self._samples.inputs(positions).flatten(1), self._teacher_rows[positions]], 1
        )

    def labels(self, positions: Tensor) -> Tensor:
        """``(B,)``."""
        return self._samples.labels(positions)


def split_taught_inputs(inputs: Tensor, shape: Shape) -> tuple[Tensor, TeacherBatch | None]:
    """The images ``(B, C, H, W)`` of a batch, and what the teacher gives for them where `TaughtSamples` gave the batch."""
    if inputs.ndim != 2:
        return inputs, None
    size = math.prod(shape)
    images, gradients = (
        part.contiguous().view(-1, *shape) for part in (inputs[:, :size], inputs[:, size:-1])
    )
    return images, TeacherBatch(gradients, inputs[:, -1].contiguous())


def gradient_bytes(samples: Samples) -> int:
    """The bytes that the input gradients of all samples take."""
    return 4 * len(samples) * math.prod(samples.card.shape)


def _fill_batch(rows: Tensor, count: int | None) -> Tensor:
    missing = 0 if count is None else count - len(rows)
    return torch.cat([rows, rows[:1].expand(missing, *rows.shape[1:])]) if missing > 0 else rows
