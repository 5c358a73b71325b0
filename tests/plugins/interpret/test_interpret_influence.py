"""Influence functions against what they estimate: the test loss after training without one sample."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.streams import generator, initialised
from advtransfer.types import Given
from advtransfer_interpret import influence
from advtransfer_interpret.hessian import Layer, influences
from advtransfer_interpret.influences import class_matches, three_of_five

Set: TypeAlias = "tuple[Tensor, Tensor]"


def drawn(count: int, *, seed: int, features: int = 2, classes: int = 3) -> Set:
    """Overlapping classes: features ``(N, features + 1)`` float64 with a 1, and labels."""
    source = generator("influence", seed)
    labels = torch.arange(count) % classes
    centres = torch.eye(classes, features, dtype=torch.float64)
    spread = torch.randn((count, features), generator=source, dtype=torch.float64)
    return torch.cat([centres[labels] + spread, torch.ones(count, 1)], dim=1), labels


def fitted(features: Tensor, labels: Tensor, *, classes: int = 3) -> Tensor:
    """The weights ``(K, D)`` at the minimum of the summed cross-entropy, by Newton's method."""
    size = classes * features.shape[1]
    weights = torch.zeros(size, dtype=torch.float64)

    def loss(flat: Tensor) -> Tensor:
        return nn.functional.cross_entropy(features @ flat.reshape(classes, -1).T, labels, reduction="sum")

    for _ in range(8):
        hessian = torch.autograd.functional.hessian(loss, weights)  # type: ignore[no-untyped-call]  # torch's own
        (gradient,) = torch.autograd.grad(loss(moved := weights.clone().requires_grad_()), moved)
        weights = weights - torch.linalg.pinv(hessian, hermitian=True) @ gradient
    assert gradient.abs().max() < 1e-10
    return weights.reshape(classes, -1)


def layer(data: Set, weights: Tensor) -> Layer:
    features, labels = data
    return Layer(features, (features @ weights.T).softmax(1), labels)


def test_scores_are_the_rise_of_the_test_loss_when_a_sample_is_left_out() -> None:
    train, test = drawn(120, seed=0), drawn(30, seed=1)
    weights = fitted(*train)
    found = influences(layer(train, weights), layer(test, weights), rcond=1e-10, largest=100)

    def losses(weights: Tensor) -> Tensor:
        return nn.functional.cross_entropy(test[0] @ weights.T, test[1], reduction="none")

    left = [torch.arange(120) != place for place in range(0, 120, 10)]
    rises = torch.stack([losses(fitted(train[0][kept], train[1][kept])) - losses(weights) for kept in left], dim=1)
    estimated = found.scores[:, ::10]

    assert float(np.corrcoef(rises.flatten(), estimated.flatten())[0, 1]) > 0.995
    assert (rises - estimated).abs().max() < 0.15 * rises.abs().max()


@pytest.mark.parametrize("rcond", [1e-10, 1e-3, 5e-2])
@pytest.mark.parametrize("features", [2, 5])
def test_the_reduced_hessian_gives_what_the_pseudo_inverse_of_the_whole_one_gives(rcond: float, features: int) -> None:
    """With 5 features of which 2 are copies, and 4 samples fewer than parameters, most directions are flat."""
    train, test = drawn(8, seed=2, features=features), drawn(5, seed=3, features=features)
    if features == 5:
        train[0][:, 3:5] = train[0][:, :2]
    weights = torch.randn((3, features + 1), generator=generator("weights"), dtype=torch.float64)
    ours = influences(layer(train, weights), layer(test, weights), rcond=rcond, largest=100)

    def gradients(one: Layer) -> Tensor:
        return (one.residuals[:, :, None] * one.features[:, None, :]).flatten(1)

    hessian = torch.zeros(3 * (features + 1), 3 * (features + 1), dtype=torch.float64)
    at = layer(train, weights)
    for phi, p in zip(at.features, at.probabilities, strict=True):
        hessian += torch.kron(p.diag() - p[:, None] * p, phi[:, None] * phi)
    inverse = torch.linalg.pinv(hessian, rtol=max(rcond, 1e-12), hermitian=True)

    expected = gradients(layer(test, weights)) @ inverse @ gradients(at).T
    # a test gradient outside the span of the training features has no part in either
    assert torch.allclose(expected, ours.scores, atol=1e-8 * float(expected.abs().max()))


def test_the_size_is_that_of_what_differs_between_classes_in_the_span_of_the_features() -> None:
    train = drawn(4, seed=0, features=9)
    weights = torch.zeros((3, 10), dtype=torch.float64)

    assert 2 * 4 == influences(layer(train, weights), layer(train, weights), rcond=1e-10, largest=8).size
    with pytest.raises(Inapplicable, match=r"8 rows \(2 \+ 1 classes, 4 independent features\), more than 7"):
        influences(layer(train, weights), layer(train, weights), rcond=1e-10, largest=7)


def test_a_model_that_is_certain_of_everything_has_no_influences() -> None:
    features, labels = drawn(6, seed=0)
    certain = Layer(features, nn.functional.one_hot(labels, 3).double(), labels)

    with pytest.raises(Inapplicable, match="certain of every training sample"):
        influences(certain, certain, rcond=1e-6, largest=100)


def test_matches_are_by_rank_and_equal_scores_keep_their_order() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.5, -1.0], [2.0, 2.0, -3.0, 2.0]])
    train, targets = torch.tensor([0, 1, 0, 1]), torch.tensor([0, 1])

    assert [[False, True, True, False], [False, True, True, False]] == class_matches(scores, train, targets).tolist()


def test_three_of_five_counts_only_the_first_five() -> None:
    matches = torch.tensor([[1, 1, 1, 0, 0, 1], [1, 1, 0, 0, 0, 1], [0, 0, 1, 1, 1, 0], [0] * 6], dtype=torch.bool)

    assert 0.5 == three_of_five(matches)


class Standardised(nn.Module):
    """A head that is no `nn.Linear`, as the linear probe's."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(3, 16)), nn.Parameter(torch.zeros(3))

    def forward(self, features: Tensor) -> Tensor:
        return nn.functional.linear((features - 0.5) / 0.1, self.weight, self.bias)


def test_the_evaluation_reports_the_ranks_asked_that_there_are_and_what_chance_would_give() -> None:
    data = toy(train=12, test=9)
    model = initialised(lambda: nn.Sequential(nn.Flatten(), Standardised()), generator("head")).eval()
    given = Given(test=data.part("test"), train=data.part("train"), model=model)

    found = influence(rcond=1e-6, ranks=(2, 1, 12, 13)).measure(given, context=InMemoryContext())

    assert ["class_match@2", "class_match@1", "class_match@12"] == [name for name in found.metrics if "@" in name]
    assert 1 / 3 == pytest.approx(found.metrics["chance_match"])
    assert (9, 12) == found.samples["class_match"].shape
    assert found.metrics["class_match@2"] == found.samples["class_match"][:, 1].double().mean().item()
