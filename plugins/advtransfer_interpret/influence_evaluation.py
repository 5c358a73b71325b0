"""Which training images are the most influential on an image, and how often they are of its class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.prediction import apply_in_chunks, kernel_batches, predict
from advtransfer.types import Context, DataCard, EvaluationInputs, Measurement, Samples
from advtransfer_interpret.influence_figures import (
    MatrixSide,
    draw_match_curve,
    draw_matrix,
    draw_most_influential,
    drawn_positions,
)
from advtransfer_interpret.influences import (
    Curvature,
    InfluenceScores,
    LayerSamples,
    compute_influences,
)
from advtransfer_interpret.last_layer import LastLayer
from advtransfer_interpret.samples import all_labels, expect_images, require_model

DRAWN_RANKS = 4
"""Number of training images below each image of the figure."""


@dataclass(frozen=True, slots=True)
class InfluenceFunctions:
    """An evaluation of how often the most influential training images have the target's class.

    Args:
        rcond: Eigenvalues of the Hessian below this fraction of the largest count as 0.
        damping: Ridge added to the Hessian for each weight.
        targets: ``test`` or ``train``, the images whose loss is explained.
        ranks: Ranks whose class match is reported, from 1.
        largest: Largest number of rows that the Hessian may have.
        hessian: The exact Hessian, or the empirical Fisher matrix in its place.
        images: Number of images drawn above their most influential training images.
    """

    rcond: float
    damping: float
    targets: str
    ranks: tuple[int, ...]
    largest: int
    hessian: Curvature = "exact"
    images: int = 0

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Return class matches by rank, facts of the Hessian, and figures.

        Raises:
            ValueError: There is no model or no training samples, or the model is in training mode.
            Inapplicable: The model has no last layer, its outputs are not finite, the Hessian is
                too large, all influences are 0, or the samples cannot be drawn.
        """
        if given.train is None:
            raise ValueError(
                "found no training samples; expected some; declare needs=('model', 'train')"
            )
        first_input = given.test.inputs(torch.arange(1)).to(context.device)
        if self.images:
            expect_images(given.test.card)
        layer = LastLayer.find_in(require_model(given), first_input)
        train = _layer_samples(layer, given.train, context)
        targets = train if self.targets == "train" else _layer_samples(layer, given.test, context)
        context.progress(1, 3)
        influences = self._influences(train, targets, self.hessian)
        context.progress(2, 3)
        matches = class_matches(influences.scores, train.labels, targets.labels)
        top_matches = matches[:, : max(self.ranks)]
        matches_by_rank = top_matches.double().mean(0).tolist()
        chance = _chance_match(train.labels, targets.labels)
        samples: dict[str, Tensor] = {}
        if self.targets == "test":
            samples["class_match"] = top_matches.to(torch.uint8).cpu()
        match_metrics = self._match_metrics(matches_by_rank)
        agreement: dict[str, float] = {}
        if self.hessian == "fisher":
            exact = self._influences(train, targets, "exact")
            agreement["rank_agreement"] = rank_agreement(influences.scores, exact.scores)
        files = self._draw_scores(
            context.scratch, influences.scores, train, targets, given.test.card
        )
        curve = context.scratch / "class_match.svg"
        files["class_match"] = draw_match_curve(curve, matches_by_rank, chance)
        if self.images:
            files["most_influential"] = self._draw_images(
                context.scratch / "most_influential.png", influences.scores, given
            )
        return Measurement(
            metrics={
                **match_metrics,
                "three_of_five": three_of_five(matches),
                "chance_match": chance,
                "hessian_size": float(influences.hessian_size),
                "hessian_rank": float(influences.hessian_rank),
                **agreement,
            },
            shares=[*match_metrics, "three_of_five", "chance_match"],
            samples=samples,
            files=files,
        )

    def _influences(
        self, train: LayerSamples, targets: LayerSamples, curvature: Curvature
    ) -> InfluenceScores:
        return compute_influences(
            train,
            targets,
            rcond=self.rcond,
            damping=self.damping,
            largest=self.largest,
            curvature=curvature,
        )

    def _match_metrics(self, matches_by_rank: list[float]) -> dict[str, float]:
        """Return the match at each rank up to the number of training images."""
        ranks = [rank for rank in self.ranks if rank <= len(matches_by_rank)]
        return {f"class_match@{rank}": matches_by_rank[rank - 1] for rank in ranks}

    def _draw_scores(
        self,
        folder: Path,
        scores: Tensor,
        train: LayerSamples,
        targets: LayerSamples,
        card: DataCard,
    ) -> dict[str, Path]:
        target_images = "training images" if self.targets == "train" else "test images"
        path = draw_matrix(
            folder / "influence.png",
            scores,
            MatrixSide("training images", train.labels, card),
            MatrixSide(target_images, targets.labels, card),
        )
        return {"influence": path}

    def _draw_images(self, path: Path, scores: Tensor, given: EvaluationInputs) -> Path:
        """Draw target images of several classes above the training images of the first ranks."""
        train = given.train
        assert train is not None
        targets = train if self.targets == "train" else given.test
        positions = drawn_positions(all_labels(targets), self.images)
        ranked = _by_influence(scores[positions])[:, :DRAWN_RANKS].cpu()
        return draw_most_influential(path, targets, train, positions=positions, ranked=ranked)


def class_matches(scores: Tensor, train_labels: Tensor, target_labels: Tensor) -> Tensor:
    """Return if the training sample of each rank has the target's class, ``(targets, train)`` bool.

    The highest score has the first rank. Equal scores keep the order of the training samples.
    """
    return train_labels[_by_influence(scores)] == target_labels[:, None]


def rank_agreement(scores: Tensor, others: Tensor) -> float:
    """Return the mean over targets of Spearman's correlation of two rankings of the training samples.

    Equal scores have their mean rank; targets all of whose scores are equal are left out.

    Args:
        scores: Scores ``(targets, train)``.
        others: Other scores of the same samples.
    """
    ranks, other_ranks = (rankdata(each.cpu().numpy(), axis=1) for each in (scores, others))
    ranks -= ranks.mean(1, keepdims=True)
    other_ranks -= other_ranks.mean(1, keepdims=True)
    sizes = np.linalg.norm(ranks, axis=1) * np.linalg.norm(other_ranks, axis=1)
    ranked = sizes > 0
    return float(((ranks * other_ranks).sum(1)[ranked] / sizes[ranked]).mean())


def _by_influence(scores: Tensor) -> Tensor:
    """Return the positions of the training samples, the highest score first, by target."""
    return scores.argsort(dim=1, descending=True, stable=True)


def three_of_five(matches: Tensor) -> float:
    """Return the share of targets with at least three matches among their first five."""
    return (matches[:, :5].sum(1) >= 3).double().mean().item()


def _layer_samples(layer: LastLayer, samples: Samples, context: Context) -> LayerSamples:
    """Return the features and probabilities of samples at the last layer, in float64."""
    chunks = []
    with torch.no_grad():
        for _, inputs, _ in kernel_batches(samples):
            chunks.append(apply_in_chunks(layer.features, inputs.to(context.device)))
    # In float64: the pseudo-inverse depends on eigenvalues far below the largest.
    features = torch.cat(chunks).double()
    logits, labels = predict(layer.model, samples, device=context.device)
    if not (logits.isfinite().all() and features.isfinite().all()):
        raise Inapplicable("the model's features or logits are not finite on all samples")
    probabilities = logits.double().softmax(1).to(context.device)
    return LayerSamples(features, probabilities, labels.to(context.device), layer.bias)


def _chance_match(train_labels: Tensor, target_labels: Tensor) -> float:
    """Return the expected match of training images picked at random."""
    return (train_labels[None, :] == target_labels[:, None]).double().mean().item()
