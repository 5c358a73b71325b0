"""Fine-tuning: the last blocks of a source, or all of it, and a new head, trained on the target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

import torch
from torch import nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.freezing import freeze
from advtransfer.types import Context, DataCard, Fitted, Network, Samples
from advtransfer_finetune.boundary import Boundary, boundary
from advtransfer_finetune.fitting import Recipe
from advtransfer_finetune.head import drawn_head
from advtransfer_finetune.model import TargetModel, target_model
from advtransfer_finetune.options import HeadInit

MOST_BYTES = 2**30
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
    recipe: Recipe
    once: bool = True
    cached: bool = True

    def model(self, *, source: Network | None, adapter: nn.Module | None, target: DataCard) -> nn.Module:
        """The model with its trained parameters unfrozen; the head's weights are drawn by `fit`.

        Raises:
            Inapplicable: The source has fewer blocks than are to be trained.
        """
        head = partial(drawn_head, init=self.head_init, source=torch.Generator())
        model = TargetModel(source=source, adapter=adapter, target=target, head=head)
        names = list(model.network.blocks)
        if self.blocks != "all" and self.blocks > len(names):
            raise Inapplicable(f"blocks is {self.blocks}; the source has {len(names)} ({', '.join(names)})")
        for part in self._trained(model):
            part.requires_grad_(True)
        if self.blocks == "all":
            freeze(model.network.head)
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
        tuned = target_model(model.to(context.device).eval())
        outputs, features = tuned.head.get_parameter("weight").shape
        head = drawn_head(features, outputs, init=self.head_init, source=context.generator("head"))
        tuned.head.load_state_dict(head.state_dict())
        tuned.draw_adapter(context)
        cut = self._cut(tuned, train)
        if cut is None:
            fitted = self.recipe.fit(
                tuned, train=train, validation=validation, context=context, mode=self._training_mode
            )
        else:
            known = cut.front.activated(train, context)
            unseen = cut.front.activated(validation, context) if validation else None
            fitted = self.recipe.fit(cut.tail, train=known, validation=unseen, context=context, whole=tuned)
        tuned.eval()
        return fitted

    def _cut(self, model: TargetModel, train: Samples) -> Boundary | None:
        """The frozen boundary, where what lies before it is the same in every epoch and fits in memory."""
        if not self.once or self.blocks == "all" or self.batch_norm == "adapt" or not self.recipe.steady:
            return None
        cut = boundary(model, images=train.card.shape, trained=self.blocks, shared=self.cached)
        return cut if cut and 4 * math.prod(cut.shape) * len(train) <= MOST_BYTES else None

    def _training_mode(self, model: nn.Module) -> None:
        tuned = target_model(model)
        tuned.train(self.batch_norm == "adapt")
        tuned.adapter.train(tuned.learns_adapter)
        for module in (*self._trained(tuned), tuned.head):
            module.train()

    def _trained(self, model: TargetModel) -> Sequence[nn.Module]:
        """What is trained besides the head."""
        if self.blocks == "all":
            return [cast(nn.Module, model.network)]
        blocks = list(model.network.blocks.values())
        return blocks[len(blocks) - self.blocks :]
