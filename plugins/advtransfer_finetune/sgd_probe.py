"""The linear probe trained by gradient descent for a fixed time, by the recipe of Utrera et al., 2021."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from advtransfer.toolkit.samples import every
from advtransfer.types import Context, DataCard, Fitted, Network, Samples
from advtransfer_finetune.fitting import Recipe
from advtransfer_finetune.head import drawn_head
from advtransfer_finetune.model import TargetModel, target_model
from advtransfer_finetune.options import HeadInit
from advtransfer_finetune.probe import StandardisedLinear
from advtransfer_finetune.regression import Scaling


@dataclass(frozen=True, slots=True, kw_only=True)
class SgdProbe:
    """A transfer: the source's features stay, a linear classifier on them is trained.

    Args:
        recipe: How it is trained.
        head_init: Where its weights start.
        cached: Share the features with other fits.
    """

    recipe: Recipe
    head_init: HeadInit
    cached: bool = True

    def model(self, *, source: Network | None, adapter: nn.Module | None, target: DataCard) -> nn.Module:
        """The untrained model, the same as that of `LinearProbe`."""
        return TargetModel(source=source, adapter=adapter, target=target, head=StandardisedLinear).eval()

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
        """Compute the features once, draw the head and train it; where the adapter is learned, train both.

        The features are standardised as they are before training.

        Raises:
            Diverged: A loss is not finite.
        """
        probed = target_model(model.to(context.device).eval())
        probed.draw_adapter(context)
        front = probed.front(shared=self.cached and not probed.learns_adapter)
        known = front.activated(train, context)
        unseen = front.activated(validation, context) if validation else None
        scaling = Scaling.of(known.inputs(every(known)).double().numpy())
        outputs, features = probed.head.get_parameter("weight").shape
        start = drawn_head(features, outputs, init=self.head_init, source=context.generator("head"))
        standards = {"mean": torch.from_numpy(scaling.mean), "scale": torch.from_numpy(scaling.scale)}
        probed.head.load_state_dict(standards | start.state_dict())
        if probed.learns_adapter:
            return self.recipe.fit(probed, train=train, validation=validation, context=context, mode=_training_mode)
        return self.recipe.fit(probed.head, train=known, validation=unseen, context=context, whole=probed)


def _training_mode(model: nn.Module) -> None:
    """The source stays as in evaluation."""
    probed = target_model(model).eval()
    probed.adapter.train()
    probed.head.train()
