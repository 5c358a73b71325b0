"""Samples that are attacked side by side, always `KERNEL_BATCH` at a time, until each is finished."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from advtransfer.toolkit.kernel_batch import KERNEL_BATCH
from advtransfer.toolkit.prediction import fill_batch
from advtransfer_foolbox.protocols import OnProgress

RowStep: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Take one step for samples.

Receives the numbers of ``R`` different samples, ``(R,)``, and the same filled up with copies to
``(KERNEL_BATCH,)``, for the model. Returns which of the ``R`` samples are finished, ``(R,)`` bool.
"""


def step_until_finished(
    count: int, take_step: RowStep, *, device: torch.device, on_progress: OnProgress
) -> None:
    """Take steps for the samples 0 to ``count - 1`` until all are finished.

    Kernels of another batch size round differently, so the batch must not shrink when samples
    finish. Their rows go to waiting samples, and to copies only when none waits: no result then
    depends on the other samples.

    Args:
        count: The number of samples.
        take_step: Takes one step for at most `KERNEL_BATCH` of them.
        device: The device of the numbers that it receives.
        on_progress: Called from time to time with the number of finished samples.
    """
    queue = torch.arange(count, device=device)
    active = queue[:0]
    done_count = 0
    reported_count = 0
    while len(active) or len(queue):
        free_rows = KERNEL_BATCH - len(active)
        active = torch.cat([active, queue[:free_rows]])
        queue = queue[free_rows:]
        finished = take_step(active, fill_batch(active))
        active = active[~finished]
        done_count += int(finished.sum())
        if done_count == count or done_count - reported_count >= KERNEL_BATCH:
            on_progress(done_count)
            reported_count = done_count
