"""Clean accuracy, and the predictions without attack that every attack starts from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advtransfer.toolkit.prediction import predict
from advtransfer.types import Context, EvaluationInputs, Measurement, Outcome, Samples


class CleanAccuracy:
    """An evaluation: whether each test sample is classified correctly as it is."""

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Outcome metric ``accuracy``."""
        return Measurement(
            outcomes={
                "accuracy": predict_clean(
                    require_model(given), given.test, context=context
                ).outcomes
            }
        )


@dataclass(frozen=True, slots=True)
class CleanPredictions:
    """Without an attack: logits ``(N, K)``, and outcomes ``(N,)`` uint8: robust (correct), wrong or unknown."""

    logits: Tensor
    outcomes: Tensor


def require_model(given: EvaluationInputs) -> nn.Module:
    """The model handed over; a ValueError when there is none."""
    if given.model is None:
        raise ValueError(
            "found no model; expected the transferred model; declare needs=('model',) on the factory"
        )
    return given.model


def predict_clean(model: nn.Module, test: Samples, *, context: Context) -> CleanPredictions:
    """What becomes of each sample without an attack.

    Raises:
        ValueError: The model is in training mode, there are no samples, or a label is none of the model's classes.
    """
    logits, labels = predict(model, test, device=context.device)
    _check_labels(labels, logits.shape[1])
    outcomes = torch.where(logits.argmax(1) == labels, int(Outcome.ROBUST), int(Outcome.WRONG))
    outcomes[~logits.isfinite().all(1)] = int(Outcome.UNKNOWN)
    return CleanPredictions(logits, outcomes.to(torch.uint8))


def _check_labels(labels: Tensor, classes: int) -> None:
    if labels.ndim != 1 or labels.dtype != torch.int64:
        found = f"labels of shape {tuple(labels.shape)} and type {labels.dtype}"
        raise ValueError(
            f"found {found}; expected one int64 class a sample, (N,); choose a task of classes"
        )
    if not ((labels >= 0) & (labels < classes)).all():
        found = f"labels from {int(labels.min())} to {int(labels.max())}"
        raise ValueError(
            f"found {found}; expected 0 to {classes - 1}, the model's classes; renumber the data set"
        )
