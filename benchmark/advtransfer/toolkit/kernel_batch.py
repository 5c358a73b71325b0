"""Number of rows that a kernel computes at once.

Kernels of another number of rows add in another order, so it changes the last bits of results. It therefore follows
from the device, the shapes of the data and the run's option alone, never from a measured time or from how many samples
are left.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

from advtransfer.types import Shape

KERNEL_BATCH = 64
"""The smallest number of rows, and the one of every function that is not told another."""

MAX_KERNEL_BATCH = 1024
"""The largest number of rows that the rule chooses."""

CPU_VALUES, GPU_VALUES = 2**18, 2**21
"""Upper bounds on the input values of one batch, by the kind of device.

On the CPU, 2**18 float32 values are a megabyte, the second-level cache of a core: 256 images of MNIST, 64 of CIFAR-10.
`python tests/performance/kernel_rows.py` prints the time a row of models and batches that this follows from.
"""

_run_option: ContextVar[int | None] = ContextVar("kernel batch of the run", default=None)


def kernel_rows(device: torch.device, shape: Shape, *, samples: int) -> int:
    """Return the number of rows in a kernel batch for a set of samples.

    It is the run's ``--kernel-batch``. Without one, it is the largest power of two from `KERNEL_BATCH` to
    `MAX_KERNEL_BATCH` rows that have at most `CPU_VALUES` or `GPU_VALUES` values, but not more than a small
    set needs: rows that no sample fills are copies, which cost time.

    Args:
        device: Where the kernels run.
        shape: The shape of one input.
        samples: The number of samples of the whole set, such as a test part: not of those that are left of it.
    """
    option = _run_option.get()
    if option is not None:
        return option
    most_values = CPU_VALUES if device.type == "cpu" else GPU_VALUES
    fitting = max(1, most_values // max(1, math.prod(shape)))
    largest_power = 1 << (fitting.bit_length() - 1)
    rows = min(max(largest_power, KERNEL_BATCH), MAX_KERNEL_BATCH)
    needed = math.ceil(samples / KERNEL_BATCH) * KERNEL_BATCH
    return min(rows, max(needed, KERNEL_BATCH))


def default_rows() -> int:
    """Return the number of rows for inputs of which nothing is known: the run's option, or `KERNEL_BATCH`."""
    return _run_option.get() or KERNEL_BATCH


@contextmanager
def kernel_batch_option(rows: int | None) -> Iterator[None]:
    """Compute with this number of rows everywhere inside; None for the rule."""
    token = _run_option.set(rows)
    try:
        yield
    finally:
        _run_option.reset(token)
