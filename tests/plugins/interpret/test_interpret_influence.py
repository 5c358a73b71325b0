"""Influence functions against what they estimate: the test loss after training without one sample."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.host import Host
from advtransfer.toolkit.rng import stream_generator
from advtransfer_finetune.regression import FeatureScaling, fit_regression
from advtransfer_interpret.influences import Curvature, LayerSamples, compute_influences

Set: TypeAlias = "tuple[Tensor, Tensor]"


def drawn(count: int, *, seed: int, features: int = 2, classes: int = 3) -> Set:
    """Overlapping classes: features ``(N, features)`` float64, and labels."""
    source = stream_generator("influence", seed)
    labels = torch.arange(count) % classes
    centres = torch.eye(classes, features, dtype=torch.float64)
    spread = torch.randn((count, features), generator=source, dtype=torch.float64)
    return centres[labels] + spread, labels


def with_bias(features: Tensor) -> Tensor:
    return torch.cat([features, torch.ones(len(features), 1)], dim=1)


def fitted(features: Tensor, labels: Tensor, *, classes: int = 3) -> Tensor:
    """The weights ``(K, D + 1)`` at the minimum of the summed cross-entropy, by Newton's method."""
    features = with_bias(features)
    size = classes * features.shape[1]
    weights = torch.zeros(size, dtype=torch.float64)

    def loss(flat: Tensor) -> Tensor:
        return nn.functional.cross_entropy(
            features @ flat.reshape(classes, -1).T, labels, reduction="sum"
        )

    for _ in range(8):
        hessian = torch.autograd.functional.hessian(loss, weights)  # type: ignore[no-untyped-call]  # torch's own
        (gradient,) = torch.autograd.grad(loss(moved := weights.clone().requires_grad_()), moved)
        weights = weights - torch.linalg.pinv(hessian, hermitian=True) @ gradient
    assert gradient.abs().max() < 1e-10
    return weights.reshape(classes, -1)


def layer(data: Set, weights: Tensor) -> LayerSamples:
    features, labels = data
    return LayerSamples(features, (with_bias(features) @ weights.T).softmax(1), labels, bias=True)


def test_scores_are_the_rise_of_the_test_loss_when_a_sample_is_left_out() -> None:
    train, test = drawn(120, seed=0), drawn(30, seed=1)
    weights = fitted(*train)
    found = compute_influences(
        layer(train, weights), layer(test, weights), rcond=1e-10, damping=0, largest=100
    )

    def losses(weights: Tensor) -> Tensor:
        return nn.functional.cross_entropy(
            with_bias(test[0]) @ weights.T, test[1], reduction="none"
        )

    left = [torch.arange(120) != place for place in range(0, 120, 10)]
    rises = torch.stack(
        [losses(fitted(train[0][kept], train[1][kept])) - losses(weights) for kept in left], dim=1
    )
    estimated = found.scores[:, ::10]

    assert float(np.corrcoef(rises.flatten(), estimated.flatten())[0, 1]) > 0.995
    assert (rises - estimated).abs().max() < 0.15 * rises.abs().max()


def digits(classes: int) -> tuple[Set, Set]:
    """200 images to train on, and 100 others, as standardised pixels."""
    found = load_digits(n_class=classes)
    scaling = FeatureScaling.from_features(found.data[:200])
    features, labels = (
        torch.from_numpy(scaling(found.data[:300])),
        torch.from_numpy(found.target[:300]),
    )
    return (features[:200], labels[:200]), (features[200:], labels[200:])


def probed(train: Set, *, classes: int, C: float) -> Tensor:
    """The weights and biases that `finetune/linear_probe` finds."""
    features, labels = (part.numpy() for part in train)
    found = fit_regression(
        features, labels, classes=classes, C=C, max_iterations=10_000, tolerance=1e-8
    )
    return torch.from_numpy(np.concatenate([found.weight, found.bias[:, None]], axis=1))


@pytest.mark.parametrize(
    ("classes", "C", "damping"), [(10, 1.0, 1.0), (10, 0.01, 100.0), (2, 0.01, 200.0)]
)
def test_scores_predict_the_test_loss_of_a_probe_when_damping_is_its_penalty(
    classes: int, C: float, damping: float
) -> None:
    """The 12 least certain images left out; with C = 0.01 little is beyond first order: the sizes agree too."""
    train, test = digits(classes)
    weights = probed(train, classes=classes, C=C)
    at = layer(train, weights), layer(test, weights)
    damped, plain = (
        compute_influences(*at, rcond=1e-12, damping=ridge, largest=600).scores
        for ridge in (damping, 0.0)
    )

    def losses(weights: Tensor) -> Tensor:
        return nn.functional.cross_entropy(
            with_bias(test[0]) @ weights.T, test[1], reduction="none"
        )

    places = at[0].probabilities.gather(1, train[1][:, None])[:, 0].argsort()[:12]
    kept = [torch.arange(200) != place for place in places]
    without = [probed((train[0][rows], train[1][rows]), classes=classes, C=C) for rows in kept]
    rises = torch.stack([losses(each) - losses(weights) for each in without], dim=1).flatten()
    damped, plain = damped[:, places].flatten(), plain[:, places].flatten()

    assert np.corrcoef(rises, damped)[0, 1] > (0.9 if C == 1 else 0.999)
    assert np.corrcoef(rises, plain)[0, 1] < 0.8
    assert C == 1 or 1 < rises @ damped / (damped @ damped) < 1.15


@pytest.mark.parametrize("damping", [0.0, 0.3])
@pytest.mark.parametrize("rcond", [1e-10, 1e-3, 5e-2])
@pytest.mark.parametrize("features", [2, 5, 12])
def test_reduced_hessian_gives_the_scores_of_the_full_pseudo_inverse(
    rcond: float, features: int, damping: float
) -> None:
    """Of 5 features 2 are copies; with 12, there are more than samples: most directions are flat."""
    train, test = drawn(8, seed=2, features=features), drawn(5, seed=3, features=features)
    if features == 5:
        train[0][:, 3:5] = train[0][:, :2]
    weights = torch.randn(
        (3, features + 1), generator=stream_generator("weights"), dtype=torch.float64
    )
    ours = compute_influences(
        layer(train, weights), layer(test, weights), rcond=rcond, damping=damping, largest=100
    )

    def gradients(one: LayerSamples) -> Tensor:
        return (one.logit_gradients[:, :, None] * with_bias(one.features)[:, None, :]).flatten(1)

    hessian = (
        (damping * torch.tensor([1.0] * features + [0.0], dtype=torch.float64)).repeat(3).diag()
    )
    at = layer(train, weights)
    for phi, p in zip(with_bias(at.features), at.probabilities, strict=True):
        hessian += torch.kron(p.diag() - p[:, None] * p, phi[:, None] * phi)
    inverse = torch.linalg.pinv(hessian, rtol=max(rcond, 1e-12), hermitian=True)

    expected = gradients(layer(test, weights)) @ inverse @ gradients(at).T
    # a test gradient outside the span of the training features has no part in either
    assert torch.allclose(expected, ours.scores, atol=1e-8 * float(expected.abs().max()))


def test_hessian_size_counts_class_contrasts_times_independent_features() -> None:
    train = drawn(4, seed=0, features=9)
    at = layer(train, torch.zeros((3, 10), dtype=torch.float64))

    assert (
        2 * (4 + 1) == compute_influences(at, at, rcond=1e-10, damping=0, largest=10).hessian_size
    )
    with pytest.raises(
        Inapplicable, match=r"10 rows \(2 \+ 1 classes, 4 independent features\), more than 9"
    ):
        compute_influences(at, at, rcond=1e-10, damping=0, largest=9)


def test_error_of_a_too_large_hessian_states_the_memory_it_needs() -> None:
    """At 32 bytes a squared row: 1000 rows take 32 MB."""
    features = torch.randn((600, 500), generator=stream_generator("wide"), dtype=torch.float64)
    at = LayerSamples(
        features,
        torch.full((600, 3), 1 / 3, dtype=torch.float64),
        torch.arange(600) % 3,
        bias=False,
    )

    with pytest.raises(
        Inapplicable, match=r"take fewer labels, or 0\.032 GB of memory and largest: 1000$"
    ):
        compute_influences(at, at, rcond=1e-10, damping=0, largest=999)


def test_default_hessian_limit_admits_the_case_of_the_paper() -> None:
    """A refusal is of its id for good: a raised limit must be another one."""
    largest = (
        Host.discover().component("interpret/influence", "evaluation").options.fields["largest"]
    )

    assert largest.in_id
    assert isinstance(largest.default, int)
    assert 9 * 2049 < largest.default


def test_a_model_that_is_certain_of_everything_has_no_influences() -> None:
    features, labels = drawn(6, seed=0)
    certain = LayerSamples(features, nn.functional.one_hot(labels, 3).double(), labels, bias=True)

    for damping in (0.0, 1.0):
        with pytest.raises(Inapplicable, match="certain of every training image"):
            compute_influences(certain, certain, rcond=1e-6, damping=damping, largest=100)


def test_fisher_matrix_is_the_hessian_where_every_image_has_each_class_as_the_model_believes() -> (
    None
):
    """With even probabilities and each image once in each class, both are the same expectation."""
    features, _ = drawn(10, seed=4, features=3)
    train = features.repeat_interleave(3, dim=0), torch.arange(30) % 3
    weights = torch.zeros((3, 4), dtype=torch.float64)
    at, targets = layer(train, weights), layer(drawn(5, seed=5, features=3), weights)

    curvatures: tuple[Curvature, ...] = ("exact", "fisher")
    exact, fisher = (
        compute_influences(
            at, targets, rcond=1e-10, damping=0.1, largest=100, curvature=curvature
        ).scores
        for curvature in curvatures
    )

    assert torch.allclose(exact, fisher, atol=1e-12 * float(exact.abs().max()))


def test_fisher_scores_of_few_training_images_on_themselves_are_the_identity() -> None:
    """``G (G' G)^+ G' = 1`` where the rows of G are independent."""
    train = drawn(6, seed=6, features=12)
    weights = torch.randn((3, 13), generator=stream_generator("weights"), dtype=torch.float64)
    at = layer(train, weights)

    found = compute_influences(at, at, rcond=1e-12, damping=0, largest=100, curvature="fisher")

    assert torch.allclose(found.scores, torch.eye(6, dtype=torch.float64), atol=1e-8)
    assert 6 == found.hessian_rank
