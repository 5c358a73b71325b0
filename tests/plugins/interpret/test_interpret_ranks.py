"""The classes of the most influential training images, and whose ranks are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from scipy.stats import spearmanr
from torch import Tensor, nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.types import EvaluationInputs
from advtransfer_interpret import figures
from advtransfer_interpret.components import influence
from advtransfer_interpret.influence_evaluation import class_matches, rank_agreement, three_of_five
from advtransfer_interpret.influence_figures import draw_most_influential


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


def test_rank_agreement_is_the_mean_of_spearmans_correlation_with_mean_ranks_of_ties() -> None:
    scores = torch.randn((4, 30), generator=stream_generator("scores"))
    scores[0, :10] = 0.5
    others = scores + 0.5 * torch.randn((4, 30), generator=stream_generator("others"))

    expected = [spearmanr(a, b).statistic for a, b in zip(scores, others, strict=True)]

    assert sum(expected) / 4 == pytest.approx(rank_agreement(scores, others), abs=1e-12)
    constant = torch.cat([scores, torch.zeros(1, 30)]), torch.cat([others, others[:1]])
    assert sum(expected) / 4 == pytest.approx(rank_agreement(*constant), abs=1e-12)
    assert 1.0 == pytest.approx(rank_agreement(scores, scores.exp()))
    assert -1.0 == pytest.approx(rank_agreement(scores, -scores))


def test_fisher_reports_its_agreement_and_draws_the_images_with_the_most_influential() -> None:
    data = toy(train=12, test=9)
    model = build_initialized(
        lambda: nn.Sequential(nn.Flatten(), Standardised()), stream_generator("head")
    ).eval()
    given = EvaluationInputs(test=data.part("test"), train=data.part("train"), model=model)

    found = influence(rcond=1e-6, hessian="fisher", images=4).measure(
        given, context=InMemoryContext()
    )

    assert -1 <= found.metrics["rank_agreement"] < 1
    assert {"influence", "class_match", "most_influential"} == set(found.files)
    plain = influence(rcond=1e-6).measure(given, context=InMemoryContext())
    assert "rank_agreement" not in plain.metrics
    assert "most_influential" not in plain.files


def test_the_drawn_training_images_are_those_of_the_highest_scores(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each column: the image, then the training images in the order of their scores."""
    drawn: list[list[list[Tensor]]] = []

    def grid(rows: list[list[Tensor]], *, names: list[str], titles: list[str]) -> Figure:
        drawn.append(rows)
        assert ["image", "rank 1", "rank 2"] == names
        return Figure()

    monkeypatch.setattr(figures, "image_grid", grid)
    data = toy(train=12, test=9)
    train, test = data.part("train"), data.part("test")

    draw_most_influential(
        tmp_path / "images.png",
        test,
        train,
        positions=[2, 0],
        ranked=torch.tensor([[5, 7], [1, 3]]),
    )

    expected = [
        test.inputs(torch.tensor([2, 0])),
        train.inputs(torch.tensor([5, 1])),
        train.inputs(torch.tensor([7, 3])),
    ]
    assert all(
        torch.equal(torch.stack(row), images)
        for row, images in zip(drawn[0], expected, strict=True)
    )
