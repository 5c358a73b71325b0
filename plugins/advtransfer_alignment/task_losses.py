"""The loss of a transferred model on the test samples."""

from __future__ import annotations

from torch import Tensor

from advtransfer.toolkit.losses import task_loss
from advtransfer.toolkit.prediction import predict
from advtransfer.types import Context, Given, Measurement
from advtransfer_alignment.labels import expect_outputs, labels_of


class TaskLoss:
    """An evaluation: cross-entropy for classes, binary cross-entropy for attributes, root mean square for values."""

    def measure(self, given: Given, *, context: Context) -> Measurement:
        """Metric ``loss``, and the losses of the samples under the name of the metric that is their mean.

        Raises:
            ValueError: No model, one in training mode or of another number of outputs than the target's; outputs that
                are not finite; or labels that are none of the target's.
        """
        if given.model is None:
            raise ValueError("found no model; expected the transferred model; declare needs=('model',) on the factory")
        labels, card = labels_of(given.test), given.test.card
        outputs, _ = predict(given.model, given.test, device=context.device)
        expect_outputs(outputs, card, of="model")
        if not outputs.isfinite().all():
            raise ValueError("found outputs that are not finite; expected finite ones; check the model's weights")
        losses = task_loss(card.task, outputs.double(), labels, reduction="none")
        return _rooted(losses) if card.task == "values" else _averaged("loss", losses)


def _averaged(name: str, losses: Tensor) -> Measurement:
    return Measurement(metrics={name: float(losses.mean())}, samples={name: losses.float()})


def _rooted(squares: Tensor) -> Measurement:
    """Of squared distances; their root mean is no mean of theirs, so that they go under a name of their own."""
    found = _averaged("squared_loss", squares)
    return Measurement(metrics={"loss": float(squares.mean().sqrt()), **found.metrics}, samples=found.samples)
