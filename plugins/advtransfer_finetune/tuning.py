"""Block fine-tuning: the last blocks of a source and a new head, trained on the target."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.recipe import Optimiser, Schedule
from advtransfer.toolkit.streams import initialised
from advtransfer.toolkit.training import train as minimise
from advtransfer.types import Context, DataCard, Fitted, Network, Samples
from advtransfer_finetune.activations import activated
from advtransfer_finetune.boundary import Boundary, boundary
from advtransfer_finetune.model import TargetModel, target_model

MOST_BYTES = 2**30
"""The most memory that activations at the frozen boundary may take; beyond it they are computed again every epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockTuning:
    """A transfer: the last `blocks` blocks and a new head are trained, the rest keeps its weights."""

    blocks: int
    epochs: int
    batch_size: int
    optimiser: Optimiser
    schedule: Schedule
    batch_norm: Literal["adapt", "freeze"]

    def model(self, *, source: Network | None, adapter: nn.Module | None, target: DataCard) -> nn.Module:
        """The model with its trained parameters unfrozen; the head's weights are drawn by `fit`.

        Raises:
            Inapplicable: The source has fewer blocks than are to be trained.
        """
        head = partial(_head, source=torch.Generator())
        model = TargetModel(source=source, adapter=adapter, target=target, head=head)
        names = list(model.network.blocks)
        if self.blocks > len(names):
            raise Inapplicable(f"blocks is {self.blocks}; the source has {len(names)} ({', '.join(names)})")
        for block in self._trained(model):
            block.requires_grad_(True)
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
        classes, features = tuned.head.state_dict()["weight"].shape
        head = _head(features, classes, source=context.generator("head"))
        tuned.head.load_state_dict(head.state_dict())
        cut = self._cut(tuned, train)
        if cut is None:
            curves = self._minimise(tuned, train, validation, context, mode=self._training_mode)
        else:
            known = activated(cut.front, train, device=context.device)
            unseen = activated(cut.front, validation, device=context.device) if validation else None
            curves = self._minimise(cut.tail, known, unseen, context, mode=nn.Module.train)
        tuned.eval()
        return Fitted(curves=curves)

    def _cut(self, model: TargetModel, train: Samples) -> Boundary | None:
        """The frozen boundary, where what lies before it is the same in every epoch and fits in memory."""
        if self.batch_norm == "adapt":
            return None
        cut = boundary(model, images=train.card.shape, trained=self.blocks)
        return cut if cut and 4 * math.prod(cut.shape) * len(train) <= MOST_BYTES else None

    def _minimise(
        self,
        model: nn.Module,
        train: Samples,
        validation: Samples | None,
        context: Context,
        *,
        mode: Callable[[nn.Module], object],
    ) -> list[dict[str, float]]:
        return minimise(
            model,
            train,
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimiser=self.optimiser,
            schedule=self.schedule,
            context=context,
            validation=validation,
            mode=mode,
            save_every=max(1, self.epochs // 10),
        )

    def _training_mode(self, model: nn.Module) -> None:
        tuned = target_model(model)
        tuned.train(self.batch_norm == "adapt")
        tuned.adapter.eval()
        for module in (*self._trained(tuned), tuned.head):
            module.train()

    def _trained(self, model: TargetModel) -> list[nn.Module]:
        """The last blocks, those that are trained."""
        blocks = list(model.network.blocks.values())
        return blocks[len(blocks) - self.blocks :]


def _head(features: int, classes: int, *, source: torch.Generator) -> nn.Module:
    return initialised(lambda: nn.Linear(features, classes), source)
