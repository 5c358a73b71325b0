"""The classes of the most influential training images, and whose ranks are asked for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.types import EvaluationInputs
from advtransfer_interpret.components import influence
from advtransfer_interpret.influences import class_matches, three_of_five


def test_matches_are_by_rank_and_equal_scores_keep_their_order() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.5, -1.0], [2.0, 2.0, -3.0, 2.0]])
    train, targets = torch.tensor([0, 1, 0, 1]), torch.tensor([0, 1])

    assert [[False, True, True, False], [False, True, True, False]] == class_matches(
        scores, train, targets
    ).tolist()


def test_three_of_five_counts_only_the_first_five() -> None:
    matches = torch.tensor(
        [[1, 1, 1, 0, 0, 1], [1, 1, 0, 0, 0, 1], [0, 0, 1, 1, 1, 0], [0] * 6], dtype=torch.bool
    )

    assert 0.5 == three_of_five(matches)


class Standardised(nn.Module):
    """A head that is no `nn.Linear`, as the linear probe's."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(3, 16)), nn.Parameter(torch.zeros(3))

    def forward(self, features: Tensor) -> Tensor:
        return nn.functional.linear((features - 0.5) / 0.1, self.weight, self.bias)


def test_evaluation_reports_the_existing_ranks_and_the_chance_match() -> None:
    data = toy(train=12, test=9)
    model = build_initialized(
        lambda: nn.Sequential(nn.Flatten(), Standardised()), stream_generator("head")
    ).eval()
    given = EvaluationInputs(test=data.part("test"), train=data.part("train"), model=model)

    found = influence(rcond=1e-6, ranks=(2, 1, 12, 13)).measure(given, context=InMemoryContext())

    assert ["class_match@2", "class_match@1", "class_match@12"] == [
        name for name in found.metrics if "@" in name
    ]
    assert 1 / 3 == pytest.approx(found.metrics["chance_match"])
    assert (9, 12) == found.samples["class_match"].shape
    assert (
        found.metrics["class_match@2"] == found.samples["class_match"][:, 1].double().mean().item()
    )


def test_training_images_as_targets_rank_themselves_too() -> None:
    """Utrera et al. (2021), Figures 7 a, b and 8 a."""
    data = toy(train=12, test=9)
    model = build_initialized(
        lambda: nn.Sequential(nn.Flatten(), Standardised()), stream_generator("head")
    ).eval()
    train, test = (data.part(name) for name in ("train", "test"))
    evaluation = influence(rcond=1e-6, targets="train")

    found = evaluation.measure(
        EvaluationInputs(test=test, train=train, model=model), context=InMemoryContext()
    )
    same = influence(rcond=1e-6).measure(
        EvaluationInputs(test=train, train=train, model=model), context=InMemoryContext()
    )

    assert same.metrics == found.metrics
    assert {} == found.samples
    assert found.metrics["class_match@1"] > found.metrics["chance_match"]
