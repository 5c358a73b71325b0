"""Accuracy as the mean over classes, for test parts with unequally many images of each."""

from __future__ import annotations

from torch import Tensor

from advtransfer.toolkit.datasets import all_positions
from advtransfer.types import Context, EvaluationInputs, Measurement, Outcome
from advtransfer_foolbox.clean_accuracy import predict_clean, require_model


class MeanClassAccuracy:
    """An evaluation of the mean over classes of the accuracy on each."""

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Return the metric ``mean_class_accuracy`` and the values whose mean it is.

        Raises:
            ValueError: There is no model, it is in training mode, a label is not one that it can
                predict, or a logit is not finite.
        """
        clean = predict_clean(require_model(given), given.test, context=context)
        if (clean.outcomes == Outcome.UNKNOWN).any():
            raise ValueError(
                "found logits that are not finite; expected finite values; check the model's weights"
            )
        labels = given.test.labels(all_positions(given.test))
        values = class_weights(labels) * (clean.outcomes == Outcome.ROBUST)
        mean = values.mean().item()
        # Rounding may take the mean of all images past 1.
        return Measurement(
            metrics={"mean_class_accuracy": min(mean, 1.0)},
            samples={"mean_class_accuracy": values.float()},
            shares=["mean_class_accuracy"],
        )


def class_weights(labels: Tensor) -> Tensor:
    """Return weights of mean 1 that give each class among the labels the same sum, ``(N,)`` float64."""
    counts = labels.bincount()
    class_count = int((counts > 0).sum())
    weights: Tensor = len(labels) / (class_count * counts[labels].double())
    return weights
