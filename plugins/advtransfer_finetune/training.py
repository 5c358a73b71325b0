"""Training recipe shared by all fine-tunings and baselines, and the weight snapshots it keeps."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advtransfer.toolkit.adversarial_training import training_objective
from advtransfer.toolkit.adversary import Adversary, Fast, Free, Trades
from advtransfer.toolkit.augmentation import make_augmentation
from advtransfer.toolkit.option_checks import require_adversary_radius
from advtransfer.toolkit.training import train as minimise
from advtransfer.toolkit.training_config import Augment, OptimizerConfig, Schedule
from advtransfer.types import Context, Fitted, Samples, Tensors

EPOCHS_SEEN = "epochs seen"


@dataclass(frozen=True, slots=True)
class SnapshotRecorder:
    """Takes them while a model is trained, and keeps them in what the training saves.

    Args:
        model: What they are taken of.
        epochs: After which epochs.
        state: What the training saves and restores beside its weights: its objective's state.
    """

    model: nn.Module
    epochs: Collection[int]
    state: dict[str, Tensor]

    def after_epoch(self, _: nn.Module) -> Mapping[str, float]:
        """To be called after each epoch; adds no column to the curves."""
        epoch = int(self.state.get(EPOCHS_SEEN, torch.tensor(0))) + 1
        self.state[EPOCHS_SEEN] = torch.tensor(epoch)
        if epoch in self.epochs:
            self.state.update(
                {
                    f"{_snapshot_prefix(epoch)}{name}": tensor
                    for name, tensor in self._copy_trained_state().items()
                }
            )
        return {}

    def recorded_states(self) -> dict[int, Tensors]:
        """By epoch, the whole state that the model had; on the CPU."""
        fixed = {name: tensor.detach().cpu() for name, tensor in self.model.state_dict().items()}
        return {epoch: fixed | self._saved_state(epoch) for epoch in sorted(self.epochs)}

    def _copy_trained_state(self) -> dict[str, Tensor]:
        """Copies of all that training may change: frozen weights are the same at every epoch."""
        frozen = {
            name for name, parameter in self.model.named_parameters() if not parameter.requires_grad
        }
        state = self.model.state_dict()
        return {
            name: tensor.detach().cpu().clone()
            for name, tensor in state.items()
            if name not in frozen
        }

    def _saved_state(self, epoch: int) -> dict[str, Tensor]:
        prefix = _snapshot_prefix(epoch)
        return {
            name.removeprefix(prefix): one
            for name, one in self.state.items()
            if name.startswith(prefix)
        }


def _snapshot_prefix(epoch: int) -> str:
    return f"snapshot {epoch}/"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecipe:
    """How a model is trained.

    Args:
        epochs: How often each image is seen; each replay of free adversarial training counts.
        batch_size: Images in a step.
        optimiser: The optimiser and its largest learning rate.
        schedule: The learning rate over the training.
        augment: Changes to each image.
        adversary: Against whom to train; None for natural training.
        snapshots: Epochs after which the weights are kept.

    Raises:
        ValueError: There is no such epoch to keep the weights of.
    """

    epochs: int
    batch_size: int
    optimiser: OptimizerConfig
    schedule: Schedule
    augment: Augment = "none"
    adversary: Adversary | Trades | Fast | Free | None = None
    snapshots: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        beyond = [epoch for epoch in self.snapshots if epoch > self.data_passes]
        if beyond:
            found = f"found snapshots after epochs {beyond} of {self.data_passes}"
            raise ValueError(
                f"{found}; expected none beyond the last epoch; lower them, or raise epochs"
            )

    @property
    def data_passes(self) -> int:
        """Passes over the data, the epochs of the curves."""
        return (
            math.ceil(self.epochs / self.adversary.replays)
            if isinstance(self.adversary, Free)
            else self.epochs
        )

    @property
    def has_fixed_inputs(self) -> bool:
        """Whether the model is given the same images in every epoch."""
        return self.augment == "none" and self.adversary is None

    def fit(
        self,
        model: nn.Module,
        *,
        train: Samples,
        validation: Samples | None,
        context: Context,
        mode: Callable[[nn.Module], object] = nn.Module.train,
        whole: nn.Module | None = None,
    ) -> Fitted:
        """Train in place; the validation part is only measured.

        Args:
            model: What is trained; it ends in eval mode.
            train: What it is trained on.
            validation: Measured after each epoch.
            context: What the host lends.
            mode: Puts the model in the mode it is trained in.
            whole: What snapshots are taken of, where `model` is a part of it.

        Raises:
            Diverged: A loss is not finite.
            ValueError: The adversary's radius is beyond the inputs' longest change.
        """
        card = train.card
        require_adversary_radius(self.adversary, card)
        minimised = training_objective(self.adversary, task=card.task, bounds=card.bounds)
        snapshots = SnapshotRecorder(whole or model, self.snapshots, minimised.state)
        curves = minimise(
            model,
            train,
            epochs=self.data_passes,
            batch_size=self.batch_size,
            optimiser=self.optimiser,
            schedule=self.schedule,
            context=context,
            objective=minimised,
            augment=make_augmentation(self.augment, shape=card.shape, context=context),
            validation=validation,
            watch=snapshots.after_epoch if self.snapshots else None,
            mode=mode,
            save_every=max(1, self.data_passes // 10),
        )
        return Fitted(curves=curves, snapshots=snapshots.recorded_states())
