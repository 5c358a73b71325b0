"""Losses of Auto-PGD, and the order in which its targeted forms take the classes.

Every loss rises towards misclassification, and no gradient underflows for confident models.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from foolbox.models.base import Model
from torch import Tensor

from advtransfer.toolkit.option_checks import Norm
from advtransfer.toolkit.prediction import fill_batch
from advtransfer.types import Check
from advtransfer_foolbox.attack_settings import ApgdLoss
from advtransfer_foolbox.gradient_attacks import Objective, loss_objective, other_classes

MALT_CANDIDATES = 100
"""Largest number of classes, by decreasing logit, whose distance is estimated (Melamed et al., 2024)."""

LEAST_CLASSES: dict[ApgdLoss, int] = {"dlr": 3, "targeted_dlr": 4}
"""Number of classes that DLR and its targeted form need."""

_MIN_SPREAD = 1e-12
"""Lower bound on DLR's denominator; it is 0 where the largest logits are equal."""

_DUAL_ORDER: dict[Norm, float] = {"linf": 1.0, "l2": 2.0, "l1": math.inf}


def defined_loss(loss: ApgdLoss, classes: int) -> ApgdLoss:
    """Return the loss, or the margin where the model has too few classes for DLR.

    DLR divides by the difference between the first and the third logit, its targeted form by that
    between the first and the mean of the third and fourth.
    """
    if classes >= LEAST_CLASSES.get(loss, 2):
        return loss
    return "margin" if loss == "dlr" else "targeted_margin"


def replaced_loss_checks(losses: Iterable[ApgdLoss], *, classes: int, samples: int) -> list[Check]:
    """Return a note for the record on each loss that the margin replaces, as a check.

    Args:
        losses: The losses that were asked for.
        classes: Number of the model's classes.
        samples: Number of test samples.
    """
    replaced = [loss for loss in dict.fromkeys(losses) if defined_loss(loss, classes) != loss]
    return [
        Check(
            loss,
            "not applicable",
            classes,
            LEAST_CLASSES[loss],
            samples,
            f"not defined for {classes} classes; {defined_loss(loss, classes)} takes its place",
        )
        for loss in replaced
    ]


def apgd_objective(loss: ApgdLoss) -> Objective:
    """Return the objective that increases the loss of that name."""
    if loss == "dlr":
        return _dlr
    if loss == "targeted_dlr":
        return _targeted_dlr
    return loss_objective(loss)


def _dlr(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """Return the difference of logits ratio, ``(B,)`` (Croce and Hein, 2020, equation 6)."""
    largest = logits.topk(3, dim=1).values
    spread = largest[:, 0] - largest[:, 2]
    return loss_objective("margin")(logits, labels, None) / spread.clamp_min(_MIN_SPREAD)


def _targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """Return the targeted difference of logits ratio, ``(B,)`` (equation 7)."""
    largest = logits.topk(4, dim=1).values
    spread = largest[:, 0] - (largest[:, 2] + largest[:, 3]) / 2
    margins = loss_objective("targeted_margin")(logits, labels, targets)
    return margins / spread.clamp_min(_MIN_SPREAD)


class TargetRanking(NamedTuple):
    """Classes in the order in which they are targeted, and what it took to find it.

    Args:
        classes: Other classes ``(B, T)``.
        forwards: Number of model evaluations per image.
        gradients: Number of gradient evaluations per image.
        is_finite: True where every gradient was finite, ``(B,)`` bool.
    """

    classes: Tensor
    forwards: int
    gradients: int
    is_finite: Tensor

    @classmethod
    def concatenate(cls, rankings: Sequence[TargetRanking]) -> TargetRanking:
        """Return the rows of several rankings of equal cost, one after the other."""
        classes = torch.cat([ranking.classes for ranking in rankings])
        is_finite = torch.cat([ranking.is_finite for ranking in rankings])
        return cls(classes, rankings[0].forwards, rankings[0].gradients, is_finite)

    def first_rows(self, count: int) -> TargetRanking:
        """Return the first `count` images."""
        return self._replace(classes=self.classes[:count], is_finite=self.is_finite[:count])

    def first_targets(self, count: int) -> TargetRanking:
        """Return the first `count` targets of each image."""
        return self._replace(classes=self.classes[:, :count])


def rank_in_chunks(
    model: Model, images: Tensor, labels: Tensor, *, norm: Norm, rows: int
) -> TargetRanking:
    """Return the order of `rank_by_distance`, computed `rows` images at a time."""
    rankings = []
    for chunk, chunk_labels in zip(
        torch.split(images, rows), torch.split(labels, rows), strict=True
    ):
        ranking = rank_by_distance(
            model, fill_batch(chunk, rows), fill_batch(chunk_labels, rows), norm=norm
        )
        rankings.append(ranking.first_rows(len(chunk)))
    return TargetRanking.concatenate(rankings)


def rank_by_distance(model: Model, images: Tensor, labels: Tensor, *, norm: Norm) -> TargetRanking:
    """Return the other classes by the distance to their linearised boundary (MALT's order).

    The distance to class c is (z_y - z_c) / ||grad (z_y - z_c)||_dual at the image (Melamed et al.,
    2024), for the `MALT_CANDIDATES` classes of the largest logits.

    Args:
        model: The Foolbox model; its weights must not require gradients.
        images: Images ``(B, C, H, W)``.
        labels: Their classes ``(B,)``.
        norm: The norm of the distance.
    """
    points = images.detach().requires_grad_()
    logits: Tensor = model(points)
    candidates = other_classes(logits.detach(), labels)[:, :MALT_CANDIDATES]
    is_finite = torch.ones_like(labels, dtype=torch.bool)
    distances = []
    for rank in range(candidates.shape[1]):
        gaps = -loss_objective("targeted_margin")(logits, labels, candidates[:, rank])
        (gradients,) = torch.autograd.grad(gaps.sum(), points, retain_graph=True)
        slopes: Tensor = torch.linalg.vector_norm(
            gradients.flatten(1).double(), ord=_DUAL_ORDER[norm], dim=1
        )
        is_finite &= slopes.isfinite()
        # Without a slope the boundary is never reached; NaN sorts last too.
        distances.append(torch.where(slopes > 0, gaps.detach().double() / slopes, math.inf))
    # Stable: classes at equal distances stay in the order of their logits.
    order = torch.stack(distances, dim=1).sort(dim=1, stable=True).indices
    return TargetRanking(candidates.gather(1, order), 1, candidates.shape[1], is_finite)
