"""The synthetic regression problem of Liang et al. (2021): radial basis functions over a mixture of Gaussians."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from advtransfer.node import canonical, digest
from advtransfer.toolkit.samples import Arrays, content_digest
from advtransfer.toolkit.streams import generator
from advtransfer.types import DataCard, Json, Part
from advtransfer_vision.parts import PartedDataset


@dataclass(frozen=True, slots=True)
class Problem:
    """y = A phi(x) + b with phi_i(x) = exp(-||x - mu_i||^2 / s_i); everything float64.

    `means` ``(K, n)`` are the mixture's, `centres` ``(R, n)`` and `scales` ``(R,)`` those of phi; `weights` ``(d, R)``
    and `shift` ``(d,)`` are A and b.
    """

    means: Tensor
    centres: Tensor
    scales: Tensor
    weights: Tensor
    shift: Tensor

    def values(self, inputs: Tensor) -> Tensor:
        """The values ``(N, d)`` at points ``(N, n)``."""
        squares = inputs.square().sum(1, keepdim=True) + self.centres.square().sum(1) - 2 * inputs @ self.centres.T
        return torch.exp(-squares.clamp(min=0) / self.scales) @ self.weights.T + self.shift

    def inputs(self, count: int, source: torch.Generator) -> Tensor:
        """``(count, n)`` points of unit variance around the means, which take turns."""
        noise = torch.randn(count, self.means.shape[1], generator=source, dtype=torch.float64)
        return self.means[torch.arange(count) % len(self.means)] + noise


def drawn(*, inputs: int, outputs: int, clusters: int, bumps: int, seed: int) -> Problem:
    """A problem: means, centres, A and b uniform in [-0.5, 0.5], scales uniform in (0, 100]."""
    source = generator("rbf", seed, "problem")

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=source, dtype=torch.float64) - 0.5

    return Problem(
        means=uniform(clusters, inputs),
        centres=uniform(bumps, inputs),
        scales=100 * (0.5 - uniform(bumps)),
        weights=uniform(outputs, bumps),
        shift=uniform(outputs),
    )


def load(
    *, n_train: int, n_test: int, inputs: int, outputs: int, clusters: int, bumps: int, seed: int
) -> PartedDataset:
    """Both parts of the problem that `seed` draws, float32; the train part does not depend on `n_test`."""
    problem = drawn(inputs=inputs, outputs=outputs, clusters=clusters, bumps=bumps, seed=seed)
    counts: dict[Part, int] = {"train": n_train, "test": n_test}
    points = {part: problem.inputs(count, generator("rbf", seed, part)).float() for part, count in counts.items()}
    pairs = {part: (x, problem.values(x.double()).float()) for part, x in points.items()}
    names = tuple(f"output {number}" for number in range(outputs))
    contents: dict[str, Json] = {part: content_digest(x, y, names) for part, (x, y) in pairs.items()}
    card = DataCard((inputs,), None, "values", outputs, names, digest(canonical(contents)))
    return PartedDataset(card, {part: Arrays(card=card, inputs=x, labels=y) for part, (x, y) in pairs.items()})
