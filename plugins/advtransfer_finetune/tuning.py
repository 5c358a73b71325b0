"""Transfers that train a network's weights: fine-tuning of a source, and training without one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

import torch
from torch import nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.losses import Objective
from advtransfer.toolkit.model_modes import freeze_batch_statistics, freeze_weights
from advtransfer.types import Context, DataCard, Fitted, Network, Samples, Source
from advtransfer_finetune.options import BatchNorm, HeadInit
from advtransfer_finetune.target_model import (
    FrozenSplit,
    TargetModel,
    as_target_model,
    draw_head,
    split_frozen_part,
)
from advtransfer_finetune.training import TrainingRecipe

MAX_ACTIVATION_BYTES = 2**30
"""Largest size of the frozen part's activations; larger ones are computed anew in every epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockTuning:
    """Transfer that trains the source's last blocks and a new head, and leaves the rest unchanged.

    Args:
        blocks: Number of trained blocks; ``all`` also trains what a source has outside its blocks.
        batch_norm: Whether batch normalisation uses and learns the target's statistics, or those
            of the source: in the frozen blocks; in all of them where all are trained.
        head_init: Initial weights of the head.
        recipe: Training recipe.
        extract_once: Compute the frozen blocks' activations once where they stay the same.
        cached: Share these activations with other fits.
    """

    blocks: int | Literal["all"]
    batch_norm: BatchNorm
    head_init: HeadInit
    recipe: TrainingRecipe
    extract_once: bool = True
    cached: bool = True

    def model(
        self, *, source: Network | None, adapter: nn.Module | None, target: DataCard
    ) -> nn.Module:
        """Return the model with its trained parameters unfrozen; `fit` draws the head's weights.

        Raises:
            Inapplicable: The source has fewer blocks than are to be trained.
        """
        head = partial(draw_head, init=self.head_init, source=torch.Generator())
        model = TargetModel(source=source, adapter=adapter, target=target, head=head)
        names = list(model.network.blocks)
        if self.blocks != "all" and self.blocks > len(names):
            raise Inapplicable(
                f"blocks is {self.blocks}; the source has {len(names)} ({', '.join(names)})"
            )
        for part in self._trained_modules(model):
            part.requires_grad_(True)
        if self.blocks == "all":
            # The target model has its own head; the source's is not used.
            freeze_weights(model.network.head)
        return model.eval()

    def fit(
        self,
        model: nn.Module,
        *,
        source: Network | None,
        adapter: nn.Module | None,
        train: Samples,
        validation: Samples | None,
        context: Context,
    ) -> Fitted:
        """Draw the head and train; the validation part is only measured.

        Raises:
            Diverged: A loss is not finite.
        """
        tuned = as_target_model(model.to(context.device).eval())
        self.draw_new_layers(tuned, context)
        return self.train(tuned, train=train, validation=validation, context=context)

    def draw_new_layers(self, tuned: TargetModel, context: Context) -> None:
        """Draw the initial weights of the head and of a learned adapter, in place."""
        outputs, features = tuned.head.get_parameter("weight").shape
        # `model` builds the head from a fixed generator; the fit's own stream draws it here.
        head = draw_head(features, outputs, init=self.head_init, source=context.generator("head"))
        tuned.head.load_state_dict(head.state_dict())
        tuned.draw_adapter(context)

    def train(
        self,
        tuned: TargetModel,
        *,
        train: Samples,
        validation: Samples | None,
        context: Context,
        objective: Objective | None = None,
    ) -> Fitted:
        """Train the model in place from the weights that it has; it ends in eval mode.

        Args:
            tuned: The model, on the context's device.
            train: Training samples.
            validation: Samples measured after each epoch.
            context: Random streams, device, progress and storage.
            objective: Replaces the recipe's own. It may ask for more than outputs, so that the
                frozen blocks run on every batch.

        Raises:
            Diverged: A loss is not finite.
        """
        split = None if objective is not None else self._frozen_split(tuned, train)
        if split is None:
            fitted = self.recipe.fit(
                tuned,
                train=train,
                validation=validation,
                context=context,
                mode=self._enter_training_mode,
                objective=objective,
            )
        else:
            extractor = split.extractor
            fitted = self.recipe.fit(
                split.trainable,
                train=extractor.extract_samples(train, context),
                validation=extractor.extract_samples(validation, context) if validation else None,
                context=context,
                whole=tuned,
            )
        tuned.eval()
        return fitted

    def _frozen_split(self, model: TargetModel, train: Samples) -> FrozenSplit | None:
        """Return the split, where the frozen part's activations never change and fit in memory."""
        if not self.extract_once or self.blocks == "all":
            return None
        # Adapting batch normalisation and changing images give other activations every epoch.
        if self.batch_norm == "adapt" or not self.recipe.has_fixed_inputs:
            return None
        split = split_frozen_part(
            model, images=train.card.shape, trained=self.blocks, shared=self.cached
        )
        if split is None or 4 * math.prod(split.shape) * len(train) > MAX_ACTIVATION_BYTES:
            return None
        return split

    def _enter_training_mode(self, model: nn.Module) -> None:
        tuned = as_target_model(model)
        # Adapting batch normalisation needs training mode in the frozen blocks too.
        tuned.train(self.batch_norm == "adapt")
        tuned.adapter.train(tuned.learns_adapter)
        for module in (*self._trained_modules(tuned), tuned.head):
            module.train()
        if self.blocks == "all" and self.batch_norm == "freeze":
            freeze_batch_statistics(cast(nn.Module, tuned.network))

    def _trained_modules(self, model: TargetModel) -> Sequence[nn.Module]:
        """Return the trained modules besides the head."""
        if self.blocks == "all":
            return [cast(nn.Module, model.network)]
        blocks = list(model.network.blocks.values())
        return blocks[len(blocks) - self.blocks :]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScratchTraining:
    """Transfer without a source, which trains all weights of a network on the subset.

    Args:
        network: The architecture and its initial weights.
        recipe: Training recipe.
    """

    network: Source
    recipe: TrainingRecipe

    def model(
        self, *, source: Network | None, adapter: nn.Module | None, target: DataCard
    ) -> nn.Module:
        """Return the network; `fit` gives it its initial weights.

        Raises:
            Inapplicable: The network is made for other data.
        """
        card = self.network.card()
        if (card.shape, card.outputs) != (target.shape, target.outputs):
            found = f"the network takes inputs {card.shape} and gives {card.outputs} outputs"
            expected = f"the target has inputs {target.shape} and {target.outputs} outputs"
            raise Inapplicable(
                f"{found}; {expected}; name the target's data set in the network's entry"
            )
        model = cast(nn.Module, self.network.network())
        return model.requires_grad_(True).eval()

    def fit(
        self,
        model: nn.Module,
        *,
        source: Network | None,
        adapter: nn.Module | None,
        train: Samples,
        validation: Samples | None,
        context: Context,
    ) -> Fitted:
        """Train the network in place.

        Raises:
            Diverged: A loss is not finite.
        """
        model.load_state_dict(dict(self.network.weights(context).tensors))
        return self.recipe.fit(
            model.to(context.device), train=train, validation=validation, context=context
        )
