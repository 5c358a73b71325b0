"""Training recipe of all fine-tunings and baselines, and the weight snapshots it records."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.adversarial_training import training_objective
from advtransfer.toolkit.adversary import Free, TrainingMethod
from advtransfer.toolkit.augmentation import make_augmentation
from advtransfer.toolkit.checkpoint import strip_prefix
from advtransfer.toolkit.losses import Objective
from advtransfer.toolkit.option_checks import NEEDS_VALIDATION, require_adversary_radius
from advtransfer.toolkit.training import best_epoch
from advtransfer.toolkit.training import train as minimise
from advtransfer.toolkit.training_config import (
    Augment,
    Averaging,
    KeptEpoch,
    OptimizerConfig,
    Schedule,
)
from advtransfer.toolkit.validation import monitor_robust_accuracy
from advtransfer.types import Context, Fitted, Json, Samples, Tensors

EPOCHS_SEEN = "epochs seen"
"""Key of the number of ended epochs in the training's state."""


@dataclass(frozen=True, slots=True)
class SnapshotRecorder:
    """Recorder of a model's weights during training, in the state that the training saves.

    Args:
        model: The recorded model.
        epochs: Epochs after which it is recorded.
        state: State that the training saves and restores beside its weights: its objective's state.
    """

    model: nn.Module
    epochs: Collection[int]
    state: dict[str, Tensor]

    def after_epoch(self, _: nn.Module) -> Mapping[str, float]:
        """Record the weights if this epoch asks for it; add no column to the curves."""
        epoch = int(self.state.get(EPOCHS_SEEN, torch.tensor(0))) + 1
        # The count lies in the saved state, so that a resumed training goes on counting.
        self.state[EPOCHS_SEEN] = torch.tensor(epoch)
        if epoch in self.epochs:
            prefix = _snapshot_prefix(epoch)
            for name, tensor in self._copy_trained_state().items():
                self.state[prefix + name] = tensor
        return {}

    def recorded_states(self) -> dict[int, Tensors]:
        """Return the model's whole state by epoch, on the CPU."""
        # Frozen tensors are the same at every epoch, so the final state supplies them.
        final = {name: tensor.detach().cpu() for name, tensor in self.model.state_dict().items()}
        return {
            epoch: final | strip_prefix(self.state, _snapshot_prefix(epoch))
            for epoch in sorted(self.epochs)
        }

    def _copy_trained_state(self) -> dict[str, Tensor]:
        """Return copies of all tensors that training may change."""
        parameters = self.model.named_parameters()
        frozen = {name for name, parameter in parameters if not parameter.requires_grad}
        return {
            name: tensor.detach().cpu().clone()
            for name, tensor in self.model.state_dict().items()
            if name not in frozen
        }


def _snapshot_prefix(epoch: int) -> str:
    return f"snapshot {epoch}/"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecipe:
    """Options of a training.

    Args:
        epochs: Number of times that each image is seen; each replay of free adversarial training
            counts.
        batch_size: Images per step.
        optimiser: The optimizer and its largest learning rate.
        schedule: The learning rate over the training.
        augment: Changes to each image.
        adversary: Adversary of adversarial training; None for natural training.
        snapshots: Epochs after which the weights are recorded.
        kept_epoch: Epoch whose weights are returned: the last, or the best on the validation part.
        averaging: Average of the weights that takes their place.
        cutmix: Parameter of CutMix; None for none.

    Raises:
        ValueError: A snapshot is beyond the last epoch.
    """

    epochs: int
    batch_size: int
    optimiser: OptimizerConfig
    schedule: Schedule
    augment: Augment = "none"
    adversary: TrainingMethod | None = None
    snapshots: tuple[int, ...] = ()
    kept_epoch: KeptEpoch = "last"
    averaging: Averaging | None = None
    cutmix: float | None = None

    def __post_init__(self) -> None:
        beyond = [epoch for epoch in self.snapshots if epoch > self.data_passes]
        if beyond:
            found = f"found snapshots after epochs {beyond} of {self.data_passes}"
            raise ValueError(
                f"{found}; expected none beyond the last epoch; lower them, or raise epochs"
            )

    @property
    def data_passes(self) -> int:
        """Number of passes over the data, which are the epochs of the curves."""
        if isinstance(self.adversary, Free):
            # Free adversarial training trains `replays` times on each batch of a pass.
            return math.ceil(self.epochs / self.adversary.replays)
        return self.epochs

    def step_count(self, train: Samples) -> int:
        """Return the number of batches in the whole training."""
        return self.data_passes * math.ceil(len(train) / self.batch_size)

    @property
    def has_fixed_inputs(self) -> bool:
        """True if the model gets the same images in every epoch."""
        return self.augment == "none" and self.adversary is None and self.cutmix is None

    def make_objective(self, train: Samples) -> Objective:
        """Return the objective of natural training, or of training against the adversary.

        Args:
            train: The training samples.

        Raises:
            ValueError: The adversary's radius exceeds the largest distance of two inputs.
        """
        card = train.card
        require_adversary_radius(self.adversary, card)
        return training_objective(
            self.adversary,
            task=card.task,
            bounds=card.bounds,
            steps=self.step_count(train),
        )

    def fit(
        self,
        model: nn.Module,
        *,
        train: Samples,
        validation: Samples | None,
        context: Context,
        mode: Callable[[nn.Module], object] = nn.Module.train,
        whole: nn.Module | None = None,
        objective: Objective | None = None,
    ) -> Fitted:
        """Train the model in place; the validation part is measured, and may choose the epoch.

        Args:
            model: The trained model; it ends in eval mode.
            train: Training samples.
            validation: Samples measured after each epoch.
            context: Random streams, device, progress and storage.
            mode: Puts the model in its training mode.
            whole: The model that snapshots record, where `model` is a part of it.
            objective: Replaces that of `make_objective`, which it may build on.

        Raises:
            Diverged: A loss is not finite.
            Inapplicable: The best epoch is to be kept, and there is no validation part.
            ValueError: The adversary's radius exceeds the largest distance of two inputs.
        """
        card = train.card
        objective = objective or self.make_objective(train)
        snapshots = SnapshotRecorder(whole or model, self.snapshots, objective.state)
        if self.kept_epoch == "best" and validation is None:
            raise Inapplicable(f"`checkpoint: best` {NEEDS_VALIDATION}")
        curves = minimise(
            model,
            train,
            epochs=self.data_passes,
            batch_size=self.batch_size,
            optimiser=self.optimiser,
            schedule=self.schedule,
            context=context,
            objective=objective,
            augment=make_augmentation(self.augment, shape=card.shape, context=context),
            validation=validation,
            watch=self._epoch_watch(snapshots, validation, context),
            mode=mode,
            save_every=max(1, self.data_passes // 10),
            kept_epoch=self.kept_epoch,
            averaging=self.averaging,
            cutmix=self.cutmix,
        )
        chosen: dict[str, Json] = {}
        if self.kept_epoch == "best":
            chosen["epoch"] = best_epoch(curves)
        return Fitted(curves=curves, chosen=chosen, snapshots=snapshots.recorded_states())

    def _epoch_watch(
        self, snapshots: SnapshotRecorder, validation: Samples | None, context: Context
    ) -> Callable[[nn.Module], Mapping[str, float]] | None:
        """Return what is done after each epoch besides the measurement of the validation part."""
        robust = None
        if self.kept_epoch == "best" and validation is not None:
            robust = monitor_robust_accuracy(self.adversary, validation, context)
        if not self.snapshots:
            return robust

        def watch(model: nn.Module) -> Mapping[str, float]:
            return {**snapshots.after_epoch(model), **(robust(model) if robust else {})}

        return watch
