"""The estimators applied to what a source gives, with the cases in which they can say nothing."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from advtransfer.errors import Inapplicable
from advtransfer.types import DataCard
from advtransfer_alignment.estimators import evidence, expected_prediction, separability


def likelihood(logits: Tensor, labels: Tensor, card: DataCard) -> float:
    """LEEP of the source's own logits ``(N, Z)``."""
    if logits.shape[1] < 2:
        raise Inapplicable("LEEP needs a source that tells classes apart; this one has one output")
    return expected_prediction(logits, labels)


def between(features: Tensor, labels: Tensor, card: DataCard, *, cutoff: float) -> float:
    """H-score of features ``(N, D)``."""
    found = separability(features, labels, cutoff=cutoff)
    if found.rank + 1 >= len(features):
        raise Inapplicable(
            f"the H-score needs more samples than features vary in; {len(features)} samples vary in {found.rank}"
        )
    return found.score


def explained(features: Tensor, labels: Tensor, card: DataCard) -> float:
    """LogME of features ``(N, D)`` for the labels of any task."""
    outputs = functional.one_hot(labels, card.outputs) if card.task == "classes" else labels
    if not outputs.any():
        raise Inapplicable("LogME needs labels that are not all zero")
    return evidence(features, outputs)
