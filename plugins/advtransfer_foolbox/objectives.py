"""What gradient attacks increase, sample by sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor
from torch.nn import functional

from advtransfer_foolbox.settings import Loss

Objective: TypeAlias = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""From logits ``(B, K)``, classes ``(B,)`` and target classes ``(B,)`` to one number a sample ``(B,)``."""


def objective(loss: Loss) -> Objective:
    """The objective of a loss."""
    return {"cross_entropy": _cross_entropy, "margin": _margin, "targeted_margin": _targeted_margin}[loss]


def others(logits: Tensor, labels: Tensor) -> Tensor:
    """The classes that are not the sample's own, by falling logit, ``(B, K - 1)``."""
    return _masked(logits, labels).sort(dim=1, descending=True, stable=True).indices[:, :-1]


def _cross_entropy(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    return functional.cross_entropy(logits, labels, reduction="none")


def _margin(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """By how much the best other class leads."""
    best: Tensor = _masked(logits, labels).max(dim=1).values
    return best - _of(logits, labels)


def _targeted_margin(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """By how much the target class leads."""
    if targets is None:
        raise ValueError("found no target classes; expected one a sample, (B,); use the loss 'margin' without targets")
    return _of(logits, targets) - _of(logits, labels)


def _of(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None])[:, 0]


def _masked(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.scatter(1, labels[:, None], float("-inf"))
