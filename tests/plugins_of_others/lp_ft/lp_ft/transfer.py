"""The transfer: two trainings of one model, the first of its head alone."""

from dataclasses import dataclass

from torch import nn

from advtransfer.toolkit.heads import with_head
from advtransfer.toolkit.training import train as run_training
from advtransfer.toolkit.training_config import Adam, Schedule
from advtransfer.types import Fitted


@dataclass(frozen=True)
class LinearProbeFineTune:
    """A transfer method."""

    probe_epochs: int
    epochs: int
    probe_lr: float
    lr: float
    batch_size: int

    def model(self, *, source, adapter, target):
        """Return the adapter and a copy of the source, whose head is zero until `fit`."""
        headed = with_head(source, target.outputs, shape=target.shape, adapter=adapter)
        return nn.Sequential(adapter or nn.Identity(), headed)

    def fit(self, model, *, source, adapter, train, validation, context):
        """Train the head in eval mode of the source, then the source and the head."""
        headed = model[1]
        headed.draw_head(context.generator("head"))
        common = {"batch_size": self.batch_size, "context": context, "validation": validation}
        # The source is frozen until here, so that only the head is trained. It saves no state of its own:
        # that would take the place of the second training's when a killed fit begins again.
        probe = run_training(
            model,
            train,
            epochs=self.probe_epochs,
            optimiser=Adam(lr=self.probe_lr),
            schedule=Schedule(kind="constant"),
            stream="probe",
            mode=nn.Module.eval,
            save_every=self.probe_epochs + 1,
            **common,
        )
        for block in headed.blocks.values():
            block.requires_grad_(True)
        tuned = run_training(
            model,
            train,
            epochs=self.epochs,
            optimiser=Adam(lr=self.lr),
            schedule=Schedule(),
            stream="finetune",
            **common,
        )
        later = [row | {"epoch": row["epoch"] + self.probe_epochs} for row in tuned]
        return Fitted(curves=[*probe, *later])
