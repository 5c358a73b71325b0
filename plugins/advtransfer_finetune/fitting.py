"""The training that all fine-tunings and baselines share: a recipe, carried out on a model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from advtransfer.toolkit.adversary import Adversary, Fast, Free, Trades, expect_within
from advtransfer.toolkit.augment import augmentation
from advtransfer.toolkit.recipe import Augment, Optimiser, Schedule
from advtransfer.toolkit.robust import objective
from advtransfer.toolkit.training import train as minimise
from advtransfer.types import Context, Fitted, Samples
from advtransfer_finetune.snapshots import Snapshots


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
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
    optimiser: Optimiser
    schedule: Schedule
    augment: Augment = "none"
    adversary: Adversary | Trades | Fast | Free | None = None
    snapshots: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        beyond = [epoch for epoch in self.snapshots if epoch > self.passes]
        if beyond:
            found = f"found snapshots after epochs {beyond} of {self.passes}"
            raise ValueError(f"{found}; expected none beyond the last epoch; lower them, or raise epochs")

    @property
    def passes(self) -> int:
        """Passes over the data, the epochs of the curves."""
        return math.ceil(self.epochs / self.adversary.replays) if isinstance(self.adversary, Free) else self.epochs

    @property
    def steady(self) -> bool:
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
        expect_within(self.adversary, card)
        minimised = objective(self.adversary, task=card.task, bounds=card.bounds)
        snapshots = Snapshots(whole or model, self.snapshots, minimised.state)
        curves = minimise(
            model,
            train,
            epochs=self.passes,
            batch_size=self.batch_size,
            optimiser=self.optimiser,
            schedule=self.schedule,
            context=context,
            objective=minimised,
            augment=augmentation(self.augment, shape=card.shape, context=context),
            validation=validation,
            watch=snapshots.watch if self.snapshots else None,
            mode=mode,
            save_every=max(1, self.passes // 10),
        )
        return Fitted(curves=curves, snapshots=snapshots.taken())
