"""Attacks of many samples side by side, in the rows of one kernel batch, until each sample is finished.

Kernels of another batch size round differently, so the batch must not shrink when samples finish. Their rows go to
waiting samples; a row that none waits for is computed and ignored. No result then depends on the other samples.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from advtransfer_foolbox.protocols import OnProgress

STEPS_BETWEEN_LOOKS = 8
"""Least number of model calls between two looks of the host at which samples of a GPU are finished.

Every look waits for the device. On the CPU nothing is waited for, and the host looks after each call.
"""

ROW_SHARE = 32
"""Rows are emptied and filled again once one in this many is finished."""


class RowBlock(Protocol):
    """The samples that occupy the rows of a kernel batch.

    A step must leave a finished sample as it is, since its row is emptied only at the next look.
    """

    def load(self, rows: Tensor, samples: Tensor) -> None:
        """Put samples ``(R,)`` into these rows ``(R,)``."""

    def take_step(self) -> None:
        """Evaluate the model once, and move all samples that are not finished."""

    def finished(self) -> Tensor:
        """Return in which rows the sample is finished, ``(rows,)`` bool."""

    def store(self, rows: Tensor, samples: Tensor) -> None:
        """Store the results of the samples ``(R,)`` in these rows ``(R,)``."""


def run_block(
    block: RowBlock,
    count: int,
    *,
    rows: int,
    steps: int,
    device: torch.device,
    on_progress: OnProgress,
) -> None:
    """Take steps for the samples 0 to ``count - 1`` until all are finished.

    Args:
        block: The rows.
        count: The number of samples.
        rows: The number of rows.
        steps: The number of steps after which every sample is finished.
        device: The device of the numbers that the block receives.
        on_progress: Called from time to time with the number of finished samples.
    """
    if not count:
        return
    period = look_period(steps, device)
    all_rows = torch.arange(rows, device=device)
    # Rows beyond the samples hold copies, so that the kernels see ordinary numbers in them.
    samples_of_rows = all_rows.clamp_max(count - 1)
    is_free = all_rows >= count
    block.load(all_rows, samples_of_rows)
    least = max(1, rows // ROW_SHARE)
    next_sample = min(rows, count)
    done_count = 0
    reported_count = 0
    while done_count < count:
        for _ in range(period):
            block.take_step()
        ended = (block.finished() & ~is_free).nonzero().flatten()
        # Few finished rows wait for others: to empty and to fill one costs as much as to do so with many.
        if len(ended) < min(least, count - done_count):
            continue
        block.store(ended, samples_of_rows[ended])
        done_count += len(ended)
        refilled = ended[: count - next_sample]
        if len(refilled):
            fresh = torch.arange(next_sample, next_sample + len(refilled), device=device)
            samples_of_rows[refilled] = fresh
            block.load(refilled, fresh)
            next_sample += len(refilled)
        is_free[ended[len(refilled) :]] = True
        if done_count == count or done_count - reported_count >= rows:
            on_progress(done_count)
            reported_count = done_count


def look_period(steps: int, device: torch.device) -> int:
    """Return after how many steps the host looks at which samples are finished.

    On a GPU it is the number from `STEPS_BETWEEN_LOOKS` to twice as many that wastes the fewest steps on samples
    that need all of theirs; fewer steps are taken without a look between them.
    """
    if device.type == "cpu":
        return 1
    if steps < 2 * STEPS_BETWEEN_LOOKS:
        return steps
    periods = range(STEPS_BETWEEN_LOOKS, 2 * STEPS_BETWEEN_LOOKS)
    return min(periods, key=lambda period: -(-steps // period) * period)
