"""The time a row of forward and backward passes by the number of rows, on which the rule of kernel batches rests.

    python tests/performance/kernel_rows.py

It claims nothing: see `advtransfer.toolkit.kernel_batch`. Times are those of the processor,
the least of several runs.
"""

from __future__ import annotations

import os
import sys
import time

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import torch
from side_by_side.claims import report
from torch import nn

from advtransfer.toolkit.kernel_batch import kernel_rows
from advtransfer.types import Shape

ROWS, REPEATS, MNIST, CIFAR = (64, 128, 256, 512, 1024), 3, (1, 28, 28), (3, 32, 32)


def networks() -> dict[str, tuple[nn.Module, Shape]]:
    """Return the models by name, with the shape of their inputs."""

    def convolutions(channels: int, side: int, *widths: int) -> nn.Module:
        layers: list[nn.Module] = []
        for width in widths:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
            channels, side = width, side // 2
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * side * side, 10))

    hidden = [nn.Flatten(), nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 10)]
    return {
        "linear on MNIST": (nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), MNIST),
        "400 hidden units on MNIST": (nn.Sequential(*hidden), MNIST),
        "convolutions 8, 16 on MNIST": (convolutions(1, 28, 8, 16), MNIST),
        "linear on CIFAR-10": (nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)), CIFAR),
        "convolutions 32, 64 on CIFAR-10": (convolutions(3, 32, 32, 64), CIFAR),
        "convolutions 64, 128, 256 on CIFAR-10": (convolutions(3, 32, 64, 128, 256), CIFAR),
    }


def microseconds(model: nn.Module, shape: Shape, rows: int) -> float:
    """Return the time a row."""
    points = torch.rand(rows, *shape).requires_grad_()
    passes = max(1, 1024 // rows)
    times = []
    for _ in range(REPEATS):
        began = time.process_time()
        for _ in range(passes):
            torch.autograd.grad(model(points).sum(), points)
        times.append(time.process_time() - began)
    return 1e6 * min(times) / passes / rows


def main() -> int:
    """Print a line a model, with the number of rows that the rule chooses."""
    torch.set_num_threads(1)
    for name, (model, shape) in networks().items():
        model.eval().requires_grad_(False)
        chosen = kernel_rows(torch.device("cpu"), shape, samples=10**6, model=model)
        times = ", ".join(f"{microseconds(model, shape, rows):.1f} at {rows}" for rows in ROWS)
        sys.stdout.write(f"{name}: microseconds a row {times}; the rule takes {chosen}\n")
    return report([])


if __name__ == "__main__":
    sys.exit(main())
