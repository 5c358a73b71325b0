"""Random draws of samples: uniform points of the unit ball, and normal numbers.

They are computed by NumPy in float64 from the context's uniform numbers. Torch's functions may round
the last numbers of a tensor differently, so that a sample's draw would depend on its batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from advtransfer.toolkit.option_checks import Norm
from advtransfer.types import Context, Shape


def random_starts(
    keys: Sequence[int], shape: Shape, *, norm: Norm, seed: int, restart: int, context: Context
) -> Tensor:
    """Return a uniform random point of the unit ball for each sample, ``(B, *shape)``.

    A sample's point depends on the seed, its key and the restart only.
    """
    count = numbers_per_point(norm, math.prod(shape))
    numbers = context.uniform(f"attack {seed}", keys, (count,), restart=restart)
    return unit_ball_points(norm, numbers, shape)


def numbers_per_point(norm: Norm, size: int) -> int:
    """Return how many uniform numbers a random point of `size` dimensions is made of."""
    match norm:
        case "linf":
            return size
        case "l2":
            return size + 2 + size % 2
        case "l1":
            return size + 1


def unit_ball_points(norm: Norm, numbers: Tensor, shape: Shape) -> Tensor:
    """Return uniform random points of the unit ball, ``(B, *shape)`` float32.

    Args:
        norm: The norm of the ball.
        numbers: Uniform numbers in [0, 1), ``(B, numbers_per_point)`` float32.
        shape: The shape of a point.
    """
    size = math.prod(shape)
    match norm:
        case "linf":
            points = 2 * numbers - 1
        case "l2":
            points = _points_of_l2_ball(numbers, size)
        case "l1":
            points = _points_of_l1_ball(numbers, size)
    return points.reshape(-1, *shape)


def normal_numbers(numbers: Tensor) -> Tensor:
    """Return standard normal numbers of an even number of uniform ones, ``(B, D)`` float32."""
    return torch.from_numpy(_box_muller(numbers).astype(np.float32))


def _box_muller(numbers: Tensor) -> NDArray[np.float64]:
    """Return two normal numbers for each two uniform ones, ``(B, D)`` (Box and Muller, 1958)."""
    first, second = np.split(numbers.double().numpy(), 2, axis=1)
    normal = np.empty(numbers.shape)
    lengths = np.sqrt(2 * _exponential(first))
    angles = 2 * np.pi * second
    np.multiply(lengths, np.cos(angles), out=normal[:, : lengths.shape[1]])
    np.multiply(lengths, np.sin(angles), out=normal[:, lengths.shape[1] :])
    return normal


def _exponential(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return an exponential number for each uniform one in [0, 1)."""
    # 1 - u is exact, and above 0, so that its logarithm is finite.
    return np.negative(np.log(1 - numbers))


def _points_of_l2_ball(numbers: Tensor, size: int) -> Tensor:
    # Without two of its coordinates, a uniform point of the sphere in size + 2 dimensions is
    # uniform in the ball (Voelker, Gosmann and Stewart, 2017).
    normal = _box_muller(numbers)[:, : size + 2]
    lengths = np.sqrt(np.square(normal).sum(axis=1, keepdims=True))
    return torch.from_numpy((normal[:, :size] / lengths).astype(np.float32))


def _points_of_l1_ball(numbers: Tensor, size: int) -> Tensor:
    # Normalised exponential variables are uniform on the simplex. Without one coordinate and with
    # random signs, such a point is uniform in the l_1 ball.
    doubled = numbers.double().numpy() * 2
    # Two independent draws from one number: the half that it lies in, and the place in that half.
    halves = np.floor(doubled)
    weights = _exponential(doubled - halves)
    totals = weights.sum(axis=1, keepdims=True)
    points = (2 * halves[:, :size] - 1) * weights[:, :size] / totals
    return torch.from_numpy(points.astype(np.float32))
