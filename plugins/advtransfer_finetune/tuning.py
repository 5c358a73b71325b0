"""Transfers that train network weights: fine-tuning of a source, and training without one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

import torch
from torch import nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.model_modes import freeze_weights
from advtransfer.types import Context, DataCard, Fitted, Network, Samples, Source
from advtransfer_finetune.options import HeadInit
from advtransfer_finetune.target_model import (
    FrozenSplit,
    TargetModel,
    as_target_model,
    draw_head,
    split_frozen_part,
)
from advtransfer_finetune.training import TrainingRecipe

MAX_ACTIVATION_BYTES = 2**30
"""The most memory that activations at the frozen boundary may take; beyond it they are computed again every epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockTuning:
    """A transfer: the last `blocks` blocks and a new head are trained, the rest keeps its weights.

    Args:
        blocks: How many; ``all`` trains also what a source may have outside its blocks.
        batch_norm: Whether batch normalisation in frozen blocks adapts to the target or stays as it is.
        head_init: Where the head starts.
        recipe: How it is trained.
        once: Compute what comes before the trained blocks once where it stays the same, not in every epoch.
        cached: Share it with other fits then.
    """

    blocks: int | Literal["all"]
    batch_norm: Literal["adapt", "freeze"]
    head_init: HeadInit
    recipe: TrainingRecipe
    extract_once: bool = True
    cached: bool = True

    def model(
        self, *, source: Network | None, adapter: nn.Module | None, target: DataCard
    ) -> nn.Module:
        """The model with its trained parameters unfrozen; the head's weights are drawn by `fit`.

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
        outputs, features = tuned.head.get_parameter("weight").shape
        head = draw_head(features, outputs, init=self.head_init, source=context.generator("head"))
        tuned.head.load_state_dict(head.state_dict())
        tuned.draw_adapter(context)
        cut = self._frozen_split(tuned, train)
        if cut is None:
            fitted = self.recipe.fit(
                tuned,
                train=train,
                validation=validation,
                context=context,
                mode=self._enter_training_mode,
            )
        else:
            known = cut.extractor.extract_samples(train, context)
            unseen = cut.extractor.extract_samples(validation, context) if validation else None
            fitted = self.recipe.fit(
                cut.trainable, train=known, validation=unseen, context=context, whole=tuned
            )
        tuned.eval()
        return fitted

    def _frozen_split(self, model: TargetModel, train: Samples) -> FrozenSplit | None:
        """The frozen boundary, where what lies before it is the same in every epoch and fits in memory."""
        if (
            not self.extract_once
            or self.blocks == "all"
            or self.batch_norm == "adapt"
            or not self.recipe.has_fixed_inputs
        ):
            return None
        cut = split_frozen_part(
            model, images=train.card.shape, trained=self.blocks, shared=self.cached
        )
        return (
            cut if cut and 4 * math.prod(cut.shape) * len(train) <= MAX_ACTIVATION_BYTES else None
        )

    def _enter_training_mode(self, model: nn.Module) -> None:
        tuned = as_target_model(model)
        tuned.train(self.batch_norm == "adapt")
        tuned.adapter.train(tuned.learns_adapter)
        for module in (*self._trained_modules(tuned), tuned.head):
            module.train()

    def _trained_modules(self, model: TargetModel) -> Sequence[nn.Module]:
        """What is trained besides the head."""
        if self.blocks == "all":
            return [cast(nn.Module, model.network)]
        blocks = list(model.network.blocks.values())
        return blocks[len(blocks) - self.blocks :]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScratchTraining:
    """A transfer without a source: all weights of a network are trained on the subset.

    Args:
        network: The architecture and its initial weights.
        recipe: How it is trained.
    """

    network: Source
    recipe: TrainingRecipe

    def model(
        self, *, source: Network | None, adapter: nn.Module | None, target: DataCard
    ) -> nn.Module:
        """The network; `fit` gives it its initial weights.

        Raises:
            Inapplicable: The network is made for other data.
        """
        card = self.network.card()
        if (card.shape, card.outputs) != (target.shape, target.outputs):
            made = f"the network takes inputs {card.shape} and gives {card.outputs} outputs"
            needed = f"the target has inputs {target.shape} and {target.outputs} outputs"
            raise Inapplicable(
                f"{made}; {needed}; name the target's data set in the network's entry"
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
        """Train in place.

        Raises:
            Diverged: A loss is not finite.
        """
        model.load_state_dict(dict(self.network.weights(context).tensors))
        return self.recipe.fit(
            model.to(context.device), train=train, validation=validation, context=context
        )
