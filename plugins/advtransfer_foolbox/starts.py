"""Random starts that belong to a sample, so that batch, order and shard never change an outcome."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from advtransfer.types import Context, Shape
from advtransfer_foolbox.settings import Norm


def starts(keys: Iterable[int], shape: Shape, *, norm: Norm, seed: int, restart: int, context: Context) -> Tensor:
    """A uniform point of the unit ball for each sample, ``(B, *shape)``, drawn from (seed, sample key, restart)."""
    draw = {"linf": _uniform_linf, "l2": _uniform_l2, "l1": _uniform_l1}[norm]
    size = math.prod(shape)
    points = [draw(size, context.generator("attack", seed, key, restart)) for key in keys]
    return torch.stack(points).reshape(-1, *shape)


def _uniform_linf(size: int, generator: torch.Generator) -> Tensor:
    return 2 * torch.rand(size, generator=generator) - 1


def _uniform_l2(size: int, generator: torch.Generator) -> Tensor:
    """Two coordinates dropped from a uniform point of the sphere (Voelker, Gosmann and Stewart, 2017)."""
    point = torch.randn(size + 2, generator=generator)
    length: Tensor = point.norm()
    return point[:size] / length


def _uniform_l1(size: int, generator: torch.Generator) -> Tensor:
    """One coordinate dropped from a uniform point of the simplex, the others with random signs."""
    weights = -torch.log1p(-torch.rand(size + 1, generator=generator))
    signs = 2 * torch.randint(2, (size,), generator=generator) - 1
    return signs * weights[:size] / weights.sum()
