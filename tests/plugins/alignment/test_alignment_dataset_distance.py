"""Distances of data sets: closed forms, an independent implementation, and intervals that cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from sklearn.metrics.pairwise import rbf_kernel
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.toolkit.rng import stream_generator
from advtransfer.types import (
    Context,
    DataCard,
    EvaluationInputs,
    Part,
    Samples,
    SourceCard,
    Weights,
)
from advtransfer_alignment.components import dataset_distance
from advtransfer_alignment.feature_distance import fit_images
from advtransfer_alignment.options import DISTANCE_METRICS
from advtransfer_alignment.set_distances import (
    bootstrap_interval,
    frechet_distance,
    median_width,
    mmd_distance,
)


def rows(count: int, size: int, *, shift: float = 0.0, name: str = "rows") -> Tensor:
    generator = stream_generator(name)
    return torch.randn(count, size, generator=generator, dtype=torch.float64) + shift


def plain(first: Tensor, second: Tensor) -> tuple[float, float]:
    """Return both distances of all rows, counted once."""
    weights = (torch.ones(len(first)).double(), torch.ones(len(second)).double())
    width = median_width(first, second)
    return mmd_distance(first, second, width)(*weights), frechet_distance(first, second)(*weights)


def test_mmd_is_the_unbiased_estimate_of_scikit_learns_kernels() -> None:
    first, second = rows(30, 5), rows(20, 5, shift=0.5, name="other")
    gamma = 1 / (2 * median_width(first, second) ** 2)
    across = rbf_kernel(first.numpy(), second.numpy(), gamma=gamma).mean()
    within = [
        (rbf_kernel(each.numpy(), gamma=gamma).sum() - len(each)) / (len(each) * (len(each) - 1))
        for each in (first, second)
    ]

    assert plain(first, second)[0] == pytest.approx(sum(within) - 2 * across, abs=1e-12)


def test_the_width_is_the_median_of_all_distances() -> None:
    points = torch.tensor([[0.0], [1.0], [3.0], [7.0]])

    # 1, 2, 3, 4, 6 and 7 apart: torch takes the lower of the two in the middle.
    assert median_width(points[:2], points[2:]) == 3.0
    assert median_width(torch.zeros(2, 1), torch.zeros(2, 1)) > 0


@pytest.mark.parametrize("size", [3, 60])
def test_frechet_is_the_matrix_root_of_scipy_also_for_singular_covariances(size: int) -> None:
    first, second = rows(40, size), 2 * rows(50, size, shift=0.3, name="other")
    moments = [(each.numpy().mean(0), np.cov(each.numpy().T)) for each in (first, second)]
    (mean, spread), (other_mean, other_spread) = moments
    root = scipy.linalg.sqrtm(spread @ other_spread)
    expected = ((mean - other_mean) ** 2).sum()
    expected += np.trace(spread + other_spread - 2 * np.real(root))

    assert plain(first, second)[1] == pytest.approx(expected, rel=1e-5)


def test_frechet_of_shifted_rows_is_the_squared_shift_and_of_equal_rows_0() -> None:
    first = rows(50, 4)

    assert plain(first, first + 2)[1] == pytest.approx(4 * 2**2)
    assert plain(first, first)[1] == pytest.approx(0, abs=1e-9)


def test_weights_count_an_image_as_often_as_it_is_drawn() -> None:
    first, second = rows(6, 3), rows(5, 3, name="other")
    weights = torch.tensor([2.0, 0, 1, 1, 0, 2]).double()
    ones = torch.ones(5).double()
    drawn = first.repeat_interleave(weights.long(), dim=0)

    repeated = frechet_distance(drawn, second)(torch.ones(len(drawn)).double(), ones)
    assert frechet_distance(first, second)(weights, ones) == pytest.approx(repeated)


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_intervals_of_mmd_cover_the_distance_of_many_images(shift: float) -> None:
    width = 2.0
    # Of unit normals in d dimensions, with s = w^2: E k = (s / (s + 2))^(d / 2) exp(-|shift|^2 / (2 (s + 2))).
    same = (width**2 / (width**2 + 2)) ** (3 / 2)
    truth = 2 * same * (1 - np.exp(-3 * shift**2 / (2 * (width**2 + 2))))
    covered = 0
    for draw in range(50):
        first, second = rows(60, 3, name=f"a{draw}"), rows(60, 3, shift=shift, name=f"b{draw}")
        estimate = bootstrap_interval(
            mmd_distance(first, second, width),
            (60, 60),
            resamples=60,
            generator=stream_generator(f"c{draw}"),
        )
        covered += estimate.low <= truth <= estimate.high

    assert covered >= 43


class Pixels:
    """A source whose features are the pixels."""

    def card(self) -> SourceCard:
        return SourceCard("pixels", "none", "none", (1, 4, 4), 2)

    def network(self) -> nn.Module:
        return PixelNetwork()

    def weights(self, context: Context) -> Weights:
        return Weights({})


class PixelNetwork(nn.Module):
    def features(self, inputs: Tensor) -> Tensor:
        return inputs.flatten(1)


def samples(count: int, *, shape: tuple[int, ...] = (1, 4, 4), scale: float = 1.0) -> ArraySamples:
    card = DataCard(shape, (0.0, 1.0), "classes", 2, ("a", "b"), "")
    inputs = scale * torch.rand((count, *shape), generator=stream_generator("pixels", count))
    return ArraySamples(card=card, inputs=inputs, labels=torch.arange(count) % 2)


class Data:
    def __init__(self, part: ArraySamples) -> None:
        self._part = part

    def card(self) -> DataCard:
        return self._part.card

    def part(self, name: Part) -> Samples:
        return self._part


def measured(test: ArraySamples, other: ArraySamples, **options: int) -> dict[str, float]:
    evaluation = dataset_distance(data=Data(other), network=Pixels(), resamples=40, **options)  # type: ignore[arg-type]  # a stand-in
    return dict(evaluation.measure(EvaluationInputs(test=test), context=InMemoryContext()).metrics)


def test_a_farther_data_set_has_larger_distances_and_intervals_around_them() -> None:
    near = measured(samples(60), samples(50))
    far = measured(samples(60), samples(50, scale=0.3))

    assert set(near) == set(DISTANCE_METRICS)
    for name in ("mmd2", "frechet"):
        assert far[f"{name}_low"] > near[f"{name}_high"]
        assert far[f"{name}_low"] < far[name] < far[f"{name}_high"]
    assert near == measured(samples(60), samples(50))


def test_images_are_brought_to_the_networks_shape() -> None:
    inputs = samples(3, shape=(3, 8, 8)).inputs(torch.arange(3))
    card = samples(3, shape=(3, 8, 8)).card

    grey = fit_images(inputs, card, (1, 8, 8))
    assert torch.allclose(grey, inputs.mean(1, keepdim=True))
    assert torch.equal(fit_images(grey, card, (3, 8, 8)), grey.repeat(1, 3, 1, 1))
    assert fit_images(inputs, card, (3, 4, 4)).shape == (3, 3, 4, 4)
    with pytest.raises(ValueError, match="found images of 3 channels; expected 2"):
        fit_images(inputs, card, (2, 8, 8))


def test_no_resample_is_of_one_image_alone_which_has_no_pairs() -> None:
    """Of two images the only draw with pairs is both, so that all resamples are the sets themselves."""
    first, second = rows(2, 3, name="a"), rows(2, 3, name="b")
    estimate = bootstrap_interval(
        mmd_distance(first, second, 1.0), (2, 2), resamples=40, generator=stream_generator("draws")
    )

    assert math.isfinite(estimate.value)
    assert estimate.low == pytest.approx(estimate.value) == estimate.high


def test_too_few_images_are_inapplicable() -> None:
    with pytest.raises(Inapplicable, match="4 images of each data set; one has 3"):
        measured(samples(60), samples(3))
