"""Storage of the nearest adversarial example of each sample, in preallocated tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from advtransfer.types import Shape
from advtransfer_foolbox.norms import eps_with_slack

MEMORY_SHARE = 0.25
"""Share of a GPU's free memory that examples may take; larger ones are kept in the host's pinned memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Outcome of one attempt for each row of a batch, on its device.

    Args:
        broken: True for a misclassified point inside the ball, ``(B,)`` bool.
        unfinished: True where the attempt failed and broke nothing, ``(B,)`` bool.
        is_example: True for a misclassified point whose distance counts, ``(B,)`` bool.
        distances: Distances of the points from the images, ``(B,)`` float64.
    """

    broken: Tensor
    unfinished: Tensor
    is_example: Tensor
    distances: Tensor


@dataclass(frozen=True, slots=True)
class NearestExamples:
    """The nearest example of each of ``N`` samples.

    Args:
        points: The examples ``(N, C, H, W)`` float32; undefined where there is none.
        distances: Their distances from the images, ``(N,)`` float64; infinite where there is none.
    """

    points: Tensor
    distances: Tensor

    @classmethod
    def allocate(cls, count: int, shape: Shape, *, device: torch.device) -> NearestExamples:
        """Return the storage of `count` samples, on the device where it fits."""
        distances = torch.full((count,), math.inf, dtype=torch.float64, device=device)
        size = (count, *shape)
        if device.type == "cpu":
            # Pages of the memory are taken only once an example is written to them.
            return cls(torch.empty(size), distances)
        free_bytes, _ = torch.cuda.mem_get_info(device)
        if 4 * math.prod(size) <= MEMORY_SHARE * free_bytes:
            return cls(torch.empty(size, device=device), distances)
        return cls(torch.empty(size, pin_memory=True), distances)

    def keep_nearer(self, positions: Tensor, points: Tensor, verdict: Verdict) -> None:
        """Store the examples that are nearer than the stored ones.

        Args:
            positions: Positions of the samples ``(B,)``, on the CPU.
            points: The points ``(B, C, H, W)``.
            verdict: Which points are examples, and their distances.
        """
        positions = positions.to(self.distances.device)
        stored = self.distances[positions]
        is_nearer = verdict.is_example & (verdict.distances < stored)
        self.distances[positions] = torch.where(is_nearer, verdict.distances, stored)
        rows = is_nearer.nonzero().flatten()
        self.points[positions[rows].to(self.points.device)] = points[rows].to(self.points)

    def positions_within(self, eps: float) -> Tensor:
        """Return the sorted positions of the samples with an example in the ball, on the CPU."""
        return (self.distances <= eps_with_slack(eps)).nonzero().flatten().cpu()

    def points_at(self, positions: Tensor) -> Tensor:
        """Return the examples of the samples at these positions, ``(M, C, H, W)`` on the CPU."""
        return self.points[positions.to(self.points.device)].cpu()
