"""Training on the target alone, from a network's initial weights on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import nn

from advtransfer.errors import Inapplicable
from advtransfer.types import Context, DataCard, Fitted, Network, Samples, Source
from advtransfer_finetune.fitting import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A transfer without a source: all weights of a network are trained on the subset.

    Args:
        network: The architecture and its initial weights.
        recipe: How it is trained.
    """

    network: Source
    recipe: Recipe

    def model(self, *, source: Network | None, adapter: nn.Module | None, target: DataCard) -> nn.Module:
        """The network; `fit` gives it its initial weights.

        Raises:
            Inapplicable: The network is made for other data.
        """
        card = self.network.card()
        if (card.shape, card.outputs) != (target.shape, target.outputs):
            made = f"the network takes inputs {card.shape} and gives {card.outputs} outputs"
            needed = f"the target has inputs {target.shape} and {target.outputs} outputs"
            raise Inapplicable(f"{made}; {needed}; name the target's data set in the network's entry")
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
        return self.recipe.fit(model.to(context.device), train=train, validation=validation, context=context)
