"""Data sets without files: scikit-learn's digits, and the synthetic regression of Liang et al. (2021)."""

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
    """Return the digits, ``(N, 1, 8, 8)`` in [0, 1], split with every class at its share.

    Each part is in the order of the bundle.
    """
    pixels, labels = load_digits(return_X_y=True)
    scaled = pixels.astype(np.float32) / GREY_LEVELS
    images = torch.from_numpy(scaled).reshape(-1, 1, 8, 8)
    classes = torch.from_numpy(labels.astype(np.int64))
    split = train_test_split(
        np.arange(len(labels)), test_size=test_share, random_state=split_seed, stratify=labels
    )
    # Sorted, since scikit-learn returns the positions in random order.
    train, test = (torch.from_numpy(np.sort(positions)) for positions in split)
    parts: dict[Part, tuple[Tensor, Tensor]] = {
        "train": (images[train], classes[train]),
        "test": (images[test], classes[test]),
    }
    return ArrayDataset(parts, names=[str(digit) for digit in range(10)])


@dataclass(frozen=True, slots=True)
class RbfProblem:
    """The regression problem y = A phi(x) + b with phi_i(x) = exp(-||x - mu_i||^2 / s_i), in float64.

    Args:
        means: Means of the mixture that inputs are drawn from, ``(K, n)``.
        centres: The mu_i of phi, ``(R, n)``.
        scales: The s_i of phi, ``(R,)``.
        weights: The matrix A, ``(d, R)``.
        shift: The vector b, ``(d,)``.
    """

    means: Tensor
    centres: Tensor
    scales: Tensor
    weights: Tensor
    shift: Tensor

    def values_at(self, inputs: Tensor) -> Tensor:
        """Return the values ``(N, d)`` at inputs ``(N, n)``."""
        # ||x - mu||^2 = ||x||^2 + ||mu||^2 - 2 x.mu needs no tensor (N, R, n). Rounding may make it negative.
        squared_distances = (
            inputs.square().sum(1, keepdim=True)
            + self.centres.square().sum(1)
            - 2 * inputs @ self.centres.T
        )
        features = torch.exp(-squared_distances.clamp(min=0) / self.scales)
        return features @ self.weights.T + self.shift

    def draw_inputs(self, count: int, source: torch.Generator) -> Tensor:
        """Return points ``(count, n)`` of unit variance around the means, one mean after another."""
        noise = torch.randn(count, self.means.shape[1], generator=source, dtype=torch.float64)
        clusters = torch.arange(count) % len(self.means)
        return self.means[clusters] + noise


def draw_problem(*, inputs: int, outputs: int, clusters: int, bumps: int, seed: int) -> RbfProblem:
    """Draw a problem: means, centres, A and b uniform in [-0.5, 0.5], scales uniform in (0, 100]."""
    source = stream_generator("rbf", seed, "problem")

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=source, dtype=torch.float64) - 0.5

    # The order of these draws defines the problem of a seed.
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
    """Return both parts of the problem that `seed` draws, float32.

    Each part has a random stream, so the train part does not depend on `n_test`.
    """
    problem = draw_problem(
        inputs=inputs, outputs=outputs, clusters=clusters, bumps=bumps, seed=seed
    )
    counts: dict[Part, int] = {"train": n_train, "test": n_test}
    names = tuple(f"output {number}" for number in range(outputs))
    arrays: dict[Part, tuple[Tensor, Tensor]] = {}
    digests: dict[str, Json] = {}
    for part, count in counts.items():
        x = problem.draw_inputs(count, stream_generator("rbf", seed, part)).float()
        # The values are those of the rounded inputs, which are all that a model sees.
        y = problem.values_at(x.double()).float()
        arrays[part] = x, y
        digests[part] = content_digest(x, y, names)
    card = DataCard((inputs,), None, "values", outputs, names, content_id(digests))
    return PartedDataset(
        card, {part: ArraySamples(card=card, inputs=x, labels=y) for part, (x, y) in arrays.items()}
    )
