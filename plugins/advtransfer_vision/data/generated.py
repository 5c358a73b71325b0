"""Data sets without files: scikit-learn's digits and the synthetic regression of Liang et al.

(2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from advtransfer.toolkit.datasets import ArrayDataset, ArraySamples, content_digest
from advtransfer.toolkit.file_digests import content_id
from advtransfer.toolkit.rng import stream_generator
from advtransfer.types import DataCard, Json, Part
from advtransfer_vision.data.parts import PartedDataset

GREY_LEVELS = 16


def load_digit_images(*, test_share: float, split_seed: int) -> ArrayDataset:
    """The digits, ``(N, 1, 8, 8)`` in [0, 1], split by class shares; each part in the order of the bundle."""
    pixels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels.astype(np.float32) / GREY_LEVELS).reshape(-1, 1, 8, 8)
    classes = torch.from_numpy(labels.astype(np.int64))
    split = train_test_split(
        np.arange(len(labels)), test_size=test_share, random_state=split_seed, stratify=labels
    )
    train, test = (torch.from_numpy(np.sort(positions)) for positions in split)
    parts: dict[Part, tuple[Tensor, Tensor]] = {
        "train": (images[train], classes[train]),
        "test": (images[test], classes[test]),
    }
    return ArrayDataset(parts, names=[str(digit) for digit in range(10)])


@dataclass(frozen=True, slots=True)
class RbfProblem:
    """y = A phi(x) + b with phi_i(x) = exp(-||x - mu_i||^2 / s_i); everything float64.

    `means` ``(K, n)`` are the mixture's, `centres` ``(R, n)`` and `scales` ``(R,)`` those of phi; `weights` ``(d, R)``
    and `shift` ``(d,)`` are A and b.
    """

    means: Tensor
    centres: Tensor
    scales: Tensor
    weights: Tensor
    shift: Tensor

    def values_at(self, inputs: Tensor) -> Tensor:
        """The values ``(N, d)`` at points ``(N, n)``."""
        squares = (
            inputs.square().sum(1, keepdim=True)
            + self.centres.square().sum(1)
            - 2 * inputs @ self.centres.T
        )
        return torch.exp(-squares.clamp(min=0) / self.scales) @ self.weights.T + self.shift

    def draw_inputs(self, count: int, source: torch.Generator) -> Tensor:
        """``(count, n)`` points of unit variance around the means, which take turns."""
        noise = torch.randn(count, self.means.shape[1], generator=source, dtype=torch.float64)
        return self.means[torch.arange(count) % len(self.means)] + noise


def draw_problem(*, inputs: int, outputs: int, clusters: int, bumps: int, seed: int) -> RbfProblem:
    """A problem: means, centres, A and b uniform in [-0.5, 0.5], scales uniform in (0, 100]."""
    source = stream_generator("rbf", seed, "problem")

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=source, dtype=torch.float64) - 0.5

    return RbfProblem(
        means=uniform(clusters, inputs),
        centres=uniform(bumps, inputs),
        scales=100 * (0.5 - uniform(bumps)),
        weights=uniform(outputs, bumps),
        shift=uniform(outputs),
    )


def load_synthetic(
    *, n_train: int, n_test: int, inputs: int, outputs: int, clusters: int, bumps: int, seed: int
) -> PartedDataset:
    """Both parts of the problem that `seed` draws, float32; the train part does not depend on `n_test`."""
    problem = draw_problem(
        inputs=inputs, outputs=outputs, clusters=clusters, bumps=bumps, seed=seed
    )
    counts: dict[Part, int] = {"train": n_train, "test": n_test}
    points = {
        part: problem.draw_inputs(count, stream_generator("rbf", seed, part)).float()
        for part, count in counts.items()
    }
    pairs = {part: (x, problem.values_at(x.double()).float()) for part, x in points.items()}
    names = tuple(f"output {number}" for number in range(outputs))
    contents: dict[str, Json] = {
        part: content_digest(x, y, names) for part, (x, y) in pairs.items()
    }
    card = DataCard((inputs,), None, "values", outputs, names, content_id(contents))
    return PartedDataset(
        card, {part: ArraySamples(card=card, inputs=x, labels=y) for part, (x, y) in pairs.items()}
    )
