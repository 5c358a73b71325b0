"""Clean accuracy, and the predictions without attack that every attack starts from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advtransfer.toolkit.prediction import predict
from advtransfer.types import Context, EvaluationInputs, Measurement, Outcome, Samples


class CleanAccuracy:
    """An evaluation of the accuracy on the test samples without attack."""

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Return the outcome metric ``accuracy``."""
        clean = predict_clean(require_model(given), given.test, context=context)
        return Measurement(outcomes={"accuracy": clean.outcomes})


@dataclass(frozen=True, slots=True)
class CleanPredictions:
    """Predictions without attack.

    Args:
        logits: The model's logits, ``(N, K)``.
        outcomes: Robust (correct), wrong or unknown for each sample, ``(N,)`` uint8.
    """

    logits: Tensor
    outcomes: Tensor


def require_model(given: EvaluationInputs) -> nn.Module:
    """Return the model to evaluate.

    Raises:
        ValueError: The inputs contain no model.
    """
    if given.model is None:
        raise ValueError(
            "found no model; expected the transferred model; "
            "declare needs=('model',) on the factory"
        )
    return given.model


def predict_clean(model: nn.Module, test: Samples, *, context: Context) -> CleanPredictions:
    """Return the logits and the outcome of each sample without attack.

    Raises:
        ValueError: The model is in training mode, there are no samples, or a label is not one of
            the model's classes.
    """
    logits, labels = predict(model, test, device=context.device)
    _check_labels(labels, logits.shape[1])
    outcomes = torch.where(logits.argmax(1) == labels, int(Outcome.ROBUST), int(Outcome.WRONG))
    # argmax over NaN gives some class: such a sample must count as neither correct nor wrong.
    outcomes[~logits.isfinite().all(1)] = int(Outcome.UNKNOWN)
    return CleanPredictions(logits, outcomes.to(torch.uint8))


def _check_labels(labels: Tensor, classes: int) -> None:
    if labels.ndim != 1 or labels.dtype != torch.int64:
        raise ValueError(
            f"found labels of shape {tuple(labels.shape)} and type {labels.dtype}; "
            "expected one int64 class per sample, (N,); choose a classification task"
        )
    if not ((labels >= 0) & (labels < classes)).all():
        raise ValueError(
            f"found labels from {int(labels.min())} to {int(labels.max())}; "
            f"expected 0 to {classes - 1}, the model's classes; renumber the data set"
        )
