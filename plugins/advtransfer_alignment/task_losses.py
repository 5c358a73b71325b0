"""The loss of a transferred model on the test samples."""

from __future__ import annotations

from advtransfer.toolkit.losses import task_loss
from advtransfer.toolkit.prediction import predict
from advtransfer.types import Context, Given, Measurement


class TaskLoss:
    """An evaluation: cross-entropy for classes, binary cross-entropy for attributes, root mean square for values."""

    def measure(self, given: Given, *, context: Context) -> Measurement:
        """Metric ``loss``; array ``loss``, one a sample (squared distances for values).

        Raises:
            ValueError: No model, one in training mode, or outputs that are not finite.
        """
        if given.model is None:
            raise ValueError("found no model; expected the transferred model; declare needs=('model',) on the factory")
        outputs, labels = predict(given.model, given.test, device=context.device)
        if not outputs.isfinite().all():
            raise ValueError("found outputs that are not finite; expected finite ones; check the model's weights")
        task = given.test.card.task
        losses = task_loss(task, outputs.double(), labels.double() if task == "values" else labels, reduction="none")
        mean = losses.mean()
        return Measurement(
            metrics={"loss": float(mean.sqrt() if task == "values" else mean)}, samples={"loss": losses.float()}
        )
