"""Clean accuracy, and the predictions without attack that every attack starts from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advtransfer.toolkit.datasets import all_positions
from advtransfer.toolkit.kernel_batch import kernel_rows
from advtransfer.toolkit.prediction import predict
from advtransfer.types import Context, EvaluationInputs, Measurement, Outcome, Samples, Task
from advtransfer_foolbox.protocols import misclassified


class CleanAccuracy:
    """An evaluation of the accuracy on the test samples without attack."""

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Return the outcome metric ``accuracy``, and of attributes their mean accuracy."""
        clean = predict_clean(require_model(given), given.test, context=context)
        outcomes = {"accuracy": clean.outcomes}
        if given.test.card.task != "attributes":
            return Measurement(outcomes=outcomes)
        shares = _right_shares(clean, given.test)
        metrics = {}
        if not shares.isnan().all():
            metrics["attribute_accuracy"] = shares.nanmean().item()
        return Measurement(
            outcomes=outcomes, metrics=metrics, samples={"attribute_accuracy": shares.float()}
        )


def _right_shares(clean: CleanPredictions, test: Samples) -> Tensor:
    """Return each sample's share of right attributes, NaN where a logit is not finite, ``(N,)``."""
    labels = test.labels(all_positions(test))
    shares = ((clean.logits > 0) == (labels > 0)).double().mean(1)
    shares[clean.outcomes == Outcome.UNKNOWN] = torch.nan
    return shares


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


def attack_rows(model: nn.Module, test: Samples, context: Context) -> int:
    """Return the rows of the kernel batches in which the test part is predicted and attacked.

    By the size of the test part, so that no outcome depends on how many samples are left of it.
    """
    return kernel_rows(context.device, test.card.shape, samples=len(test), model=model)


def predict_clean(model: nn.Module, test: Samples, *, context: Context) -> CleanPredictions:
    """Return the logits and the outcome of each sample without attack.

    A sample with attributes is correct if all of them are.

    Raises:
        ValueError: The model is in training mode, there are no samples, or a label is not one that
            the model can predict.
    """
    rows = attack_rows(model, test, context)
    logits, labels = predict(model, test, device=context.device, rows=rows)
    _check_labels(labels, logits.shape[1], test.card.task)
    outcomes = torch.where(misclassified(logits, labels), int(Outcome.WRONG), int(Outcome.ROBUST))
    # No prediction: such a sample must count as neither correct nor wrong.
    outcomes[~logits.isfinite().all(1)] = int(Outcome.UNKNOWN)
    return CleanPredictions(logits, outcomes.to(torch.uint8))


def _check_labels(labels: Tensor, outputs: int, task: Task) -> None:
    shape = (len(labels), outputs) if task == "attributes" else (len(labels),)
    if task == "values" or tuple(labels.shape) != shape or labels.is_floating_point():
        raise ValueError(
            f"found labels of shape {tuple(labels.shape)} and type {labels.dtype} ({task}); "
            "expected one int64 class per sample, (N,), or 0 or 1 for each of the model's outputs, "
            "(N, K); choose a classification task"
        )
    largest = outputs - 1 if task == "classes" else 1
    if not ((labels >= 0) & (labels <= largest)).all():
        raise ValueError(
            f"found labels from {int(labels.min())} to {int(labels.max())}; "
            f"expected 0 to {largest}, the model's {task}; renumber the data set"
        )
