"""Small functions on the rows of a batch, and Foolbox's distance of each norm."""

from __future__ import annotations

from foolbox.distances import Distance, l1, l2, linf
from torch import Tensor

from advtransfer.toolkit.option_checks import Norm

DISTANCES: dict[Norm, Distance] = {"linf": linf, "l2": l2, "l1": l1}
"""Foolbox's distance of each norm."""


def logits_of(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the logit of each row's class, ``(B,)``."""
    return logits.gather(1, classes[:, None])[:, 0]


def mask_classes(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the logits ``(B, K)`` with minus infinity at the labels."""
    return logits.scatter(1, labels[:, None], float("-inf"))


def logit_margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the largest other logit minus the label's, ``(B,)``; NaN where a logit is not finite."""
    largest_other = mask_classes(logits, labels).max(dim=1).values
    margins = largest_other - logits_of(logits, labels)
    return margins.where(logits.isfinite().all(1), float("nan"))


def row_column(values: Tensor, like: Tensor) -> Tensor:
    """Return values ``(B,)`` as ``(B, 1, ..., 1)``, to be broadcast over the entries of the rows."""
    return values.reshape(-1, *[1] * (like.ndim - 1))
