"""Losses and correct predictions of an epoch, read from the device every few steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from advtransfer.errors import Diverged

STEPS_PER_READING = 8
"""Steps whose numbers are copied from the device together, since each copy waits for it."""


@dataclass(slots=True)
class EpochTotals:
    """Losses and correct predictions of an epoch so far, summed over the samples of its steps.

    The sums hold the steps up to the last call of `read_steps`.

    Args:
        epoch: The number of the epoch, from 1.
    """

    epoch: int
    loss_sum: float = 0.0
    correct_count: float = 0.0
    sample_count: int = 0
    _unread: list[tuple[Tensor, Tensor | None, int]] = field(default_factory=list)

    def add_step(self, loss: Tensor, correct: Tensor | None, *, rows: int) -> None:
        """Add a step on a batch.

        Args:
            loss: The mean loss of the batch, ``()``.
            correct: The number of correct predictions, ``()``; None for a task without such.
            rows: Samples in the batch.

        Raises:
            Diverged: A loss of this step, or of one that was not read before, is not finite.
        """
        self._unread.append((loss.detach(), correct, rows))
        if len(self._unread) == STEPS_PER_READING:
            self.read_steps()

    def read_steps(self) -> None:
        """Add all steps to the sums.

        Raises:
            Diverged: A loss is not finite.
        """
        if not self._unread:
            return
        losses = [loss.double() for loss, _, _ in self._unread]
        correct = [count.double() for _, count, _ in self._unread if count is not None]
        numbers = torch.stack([*losses, *correct]).tolist()
        # In the order of the steps, so that the sums do not depend on when they were read.
        for loss, (_, _, rows) in zip(numbers, self._unread, strict=False):
            if not math.isfinite(loss):
                raise Diverged(self.epoch, loss)
            self.loss_sum += loss * rows
            self.sample_count += rows
        for count in numbers[len(losses) :]:
            self.correct_count += count
        self._unread.clear()
