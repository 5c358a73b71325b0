"""Losses of Auto-PGD, and the order in which its targeted forms take the classes.

Every loss rises towards misclassification, and no gradient underflows for confident models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import torch
from foolbox.models.base import Model
from torch import Tensor

from advtransfer.toolkit.option_checks import Norm
from advtransfer_foolbox.options import ApgdLoss

ApgdObjective: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Map logits ``(B, K)``, labels and target classes ``(B,)`` to the loss to increase, ``(B,)``."""

MALT_CANDIDATES = 100
"""Largest number of classes, by decreasing logit, whose distance is estimated (Melamed et al., 2024)."""

_MIN_SPREAD = 1e-12
"""Lower bound on DLR's denominator; it is 0 where the largest logits are equal."""

_DUAL_ORDER: dict[Norm, float] = {"linf": 1.0, "l2": 2.0, "l1": math.inf}


def defined_loss(loss: ApgdLoss, classes: int) -> ApgdLoss:
    """Return the loss, or the margin where the model has too few classes for DLR.

    DLR divides by a difference between the first and the third logit; the targeted form needs
    four logits.
    """
    if loss == "dlr" and classes < 3:
        return "margin"
    if loss == "targeted_dlr" and classes < 4:
        return "targeted_margin"
    return loss


def loss_objective(loss: ApgdLoss) -> ApgdObjective:
    """Return the objective that increases the loss of that name."""
    return {
        "cross_entropy": _log_odds,
        "dlr": _dlr,
        "targeted_dlr": _targeted_dlr,
        "margin": _margin,
        "targeted_margin": _targeted_margin,
    }[loss]


def _log_odds(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return log((1 - p) / p) of the label's probability p, ``(B,)``.

    It rises with cross-entropy, -log p, and its gradient has the same direction; but the factor
    1 - p, which underflows for confident models, is divided out.
    """
    return _others(logits, labels).logsumexp(1) - _logits_of(logits, labels)


def _margin(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return the largest other logit minus the label's logit, ``(B,)``."""
    return _others(logits, labels).amax(1) - _logits_of(logits, labels)


def _targeted_margin(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return the target's logit minus the label's logit, ``(B,)``."""
    return _logits_of(logits, targets) - _logits_of(logits, labels)


def _dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return the difference of logits ratio, ``(B,)`` (Croce and Hein, 2020, equation 6)."""
    largest = logits.topk(3, dim=1).values
    spread = largest[:, 0] - largest[:, 2]
    return _margin(logits, labels, targets) / spread.clamp_min(_MIN_SPREAD)


def _targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return the targeted difference of logits ratio, ``(B,)`` (equation 7)."""
    largest = logits.topk(4, dim=1).values
    spread = largest[:, 0] - (largest[:, 2] + largest[:, 3]) / 2
    return _targeted_margin(logits, labels, targets) / spread.clamp_min(_MIN_SPREAD)


def _logits_of(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None])[:, 0]


def _others(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the logits with minus infinity at the labels."""
    return logits.scatter(1, labels[:, None], float("-inf"))


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


def rank_by_logit(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the classes other than the label by decreasing logit, ``(B, K - 1)``."""
    return _others(logits, labels).sort(dim=1, descending=True, stable=True).indices[:, :-1]


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
    candidates = rank_by_logit(logits.detach(), labels)[:, :MALT_CANDIDATES]
    is_finite = torch.ones_like(labels, dtype=torch.bool)
    distances = []
    for rank in range(candidates.shape[1]):
        gaps = _logits_of(logits, labels) - _logits_of(logits, candidates[:, rank])
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
