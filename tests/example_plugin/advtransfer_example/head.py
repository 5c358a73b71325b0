"""Logits ``f . mu_k - |mu_k|^2 / 2``: largest for the class whose mean is nearest to the features f."""

from typing import cast

import torch
from torch import nn

from advtransfer.toolkit.heads import HeadedNetwork, with_head
from advtransfer.types import Context, DataCard, Fitted, Network, Samples


class NearestMean:
    """A transfer method."""

    def __init__(self, *, shrink: float) -> None:
        self.shrink = shrink

    def model(
        self, *, source: Network | None, adapter: nn.Module | None, target: DataCard
    ) -> nn.Module:
        """The adapter, and a copy of the source with a head of the target's classes; it is zero until it is fitted."""
        network = with_head(
            cast(Network, source), target.outputs, shape=target.shape, adapter=adapter
        )
        return nn.Sequential(adapter or nn.Identity(), network)

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
        """Set the head from the class means; nothing is trained."""
        adapt, network = cast("tuple[nn.Module, HeadedNetwork]", tuple(cast(nn.Sequential, model)))
        positions = torch.arange(len(train))
        with torch.no_grad():
            features = network.eval().features(adapt(train.inputs(positions).to(context.device)))
            labels = train.labels(positions).to(context.device)
            means = torch.stack([features[labels == k].mean(0) for k in range(train.card.outputs)])
            means = (1 - self.shrink) * means + self.shrink * features.mean(0)
            network.head.weight.copy_(means)
            network.head.bias.copy_(-means.square().sum(1) / 2)
        return Fitted(facts={"shrink": self.shrink})
