"""Parts of an attack that Foolbox's own calls need, and small functions on logits."""

from __future__ import annotations

from eagerpy.astensor import astensor
from foolbox.criteria import Criterion, Misclassification
from foolbox.distances import Distance, l1, l2, linf
from torch import Tensor

from advtransfer.toolkit.option_checks import Norm

DISTANCES: dict[Norm, Distance] = {"linf": linf, "l2": l2, "l1": l1}
"""Foolbox's distance of each norm."""


def criterion_labels(criterion: object) -> Tensor:
    """Return the labels ``(B,)`` of a criterion of Foolbox, or labels as they are.

    Raises:
        TypeError: The criterion is not misclassification.
    """
    if isinstance(criterion, Misclassification):
        labels: Tensor = criterion.labels.raw
        return labels
    if isinstance(criterion, Criterion):
        raise TypeError(
            f"found the criterion {type(criterion).__name__}; expected Misclassification, "
            "or labels (B,); use Foolbox's own attack for others"
        )
    raw_labels: Tensor = astensor(criterion).raw
    return raw_labels


def misclassified(logits: Tensor, labels: Tensor) -> Tensor:
    """Return which rows of logits ``(B, K)`` are finite and have another class, ``(B,)`` bool."""
    # argmax over NaN gives some class, which must not pass as a misclassification.
    return logits.isfinite().all(1) & (logits.argmax(1) != labels)


def logits_of(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the logit of each row's class, ``(B,)``."""
    return logits.gather(1, classes[:, None])[:, 0]


def logit_margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the largest other logit minus the label's, ``(B,)``; NaN where a logit is not finite."""
    largest_other = logits.scatter(1, labels[:, None], float("-inf")).amax(1)
    margins = largest_other - logits_of(logits, labels)
    return margins.where(logits.isfinite().all(1), float("nan"))


def row_column(values: Tensor, like: Tensor) -> Tensor:
    """Return values ``(B,)`` as ``(B, 1, ..., 1)``, to be broadcast over the entries of the rows."""
    return values.reshape(-1, *[1] * (like.ndim - 1))
