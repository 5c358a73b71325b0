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
from dataclasses import dataclass

import torch
from torch import nn

from advtransfer.types import Shape

KERNEL_BATCH = 64
"""The smallest number of rows, and the one of every function that is not told another."""

MAX_KERNEL_BATCH = 1024
"""The largest number of rows that the rule chooses."""

LEAST_BATCHES = 4
"""On a CPU, a set of samples is at least this many kernel batches, where these are larger than `KERNEL_BATCH`."""

MOST_VALUES = {"convolutions": 2**17, "matrices": 2**20, "gpu": 2**21}
"""Upper bounds on the input values of one batch: of models with convolutions and without on a CPU, and on a GPU.

The activations of convolutions are many times as large as the inputs, and leave the processor's cache: 128 images of
MNIST and 64 of CIFAR-10. Where all weights are matrices, the time goes to calls rather than to arithmetic: 1,024 images
of MNIST, 256 of CIFAR-10. `python tests/performance/kernel_rows.py` prints the times that this follows from.
"""


@dataclass(slots=True)
class KernelBatchOption:
    """What a job fixes of its kernel batches.

    Attributes:
        rows: The number of rows everywhere; None for the rule.
        bound: The largest number of rows; None for no bound.
        largest: The largest number of rows that was chosen so far, 0 for none.
    """

    rows: int | None = None
    bound: int | None = None
    largest: int = 0

    def choose(self, rows: int) -> int:
        """Return the rows of a kernel batch, for which the rule gives `rows`."""
        chosen = self.rows or rows
        if self.bound is not None:
            chosen = min(chosen, self.bound)
        self.largest = max(self.largest, chosen)
        return chosen


_run_option: ContextVar[KernelBatchOption | None] = ContextVar(
    "kernel batch of the run", default=None
)


def kernel_rows(
    device: torch.device, shape: Shape, *, samples: int, model: nn.Module | None = None
) -> int:
    """Return the number of rows in a kernel batch for a set of samples.

    It is the run's ``--kernel-batch``. Without one, it is the largest power of two from `KERNEL_BATCH` to
    `MAX_KERNEL_BATCH` rows that have at most `MOST_VALUES` values, but not more than a small set fills,
    and on a CPU at most a quarter of it: the later attacks see the few samples that the first ones left,
    and there, rows that no sample fills cost as much as others.

    Args:
        device: Where the kernels run.
        shape: The shape of one input.
        samples: The number of samples of the whole set, such as a test part: not of those that are left of it.
        model: The model that sees the rows; by default one with convolutions.
    """
    most_values = MOST_VALUES[_kind(device, model)]
    fitting = max(1, most_values // max(1, math.prod(shape)))
    largest_power = 1 << (fitting.bit_length() - 1)
    rows = min(max(largest_power, KERNEL_BATCH), MAX_KERNEL_BATCH)
    if device.type == "cpu":
        most_rows = samples // LEAST_BATCHES // KERNEL_BATCH * KERNEL_BATCH
    else:
        most_rows = math.ceil(samples / KERNEL_BATCH) * KERNEL_BATCH
    return _within_option(min(rows, max(most_rows, KERNEL_BATCH)))


def _within_option(rows: int) -> int:
    option = _run_option.get()
    return rows if option is None else option.choose(rows)


def _kind(device: torch.device, model: nn.Module | None) -> str:
    if device.type != "cpu":
        return "gpu"
    # Kernels of convolutions have 3 to 5 dimensions; weights of other layers are matrices or vectors.
    if model is None or any(weight.ndim > 2 for weight in model.parameters()):
        return "convolutions"
    return "matrices"


def default_rows() -> int:
    """Return the number of rows for inputs of which nothing is known: the run's option, or `KERNEL_BATCH`."""
    return _within_option(KERNEL_BATCH)


@contextmanager
def kernel_batch_option(
    rows: int | None, *, bound: int | None = None
) -> Iterator[KernelBatchOption]:
    """Compute with this number of rows everywhere inside, None for the rule, but with at most `bound`."""
    option = KernelBatchOption(rows, bound)
    token = _run_option.set(option)
    try:
        yield option
    finally:
        _run_option.reset(token)
