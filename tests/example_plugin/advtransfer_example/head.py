"""Logits ``f . mu_k - |mu_k|^2 / 2``: largest for the class whose mean is nearest to the features f."""

from copy import deepcopy
from typing import cast

import torch
from torch import nn

from advtransfer.types import Context, DataCard, Fitted, Network, Samples


class NearestMean:
    """A transfer method."""

    def __init__(self, *, shrink: float) -> None:
        self.shrink = shrink

    def model(self, *, source: Network | None, adapter: nn.Module | None, target: DataCard) -> nn.Module:
        """The adapter, a copy of the source, and a head of the target's classes."""
        adapt, body = adapter or nn.Identity(), deepcopy(cast(nn.Module, source))
        features = cast(Network, body).features(adapt(torch.zeros(1, *target.shape)))
        body.head = nn.Linear(features.shape[1], target.outputs)
        return nn.Sequential(adapt, body)

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
        adapt, body = cast(nn.Sequential, model)
        positions = torch.arange(len(train))
        with torch.no_grad():
            features = cast(Network, body.eval()).features(adapt(train.inputs(positions).to(context.device)))
            labels = train.labels(positions).to(context.device)
            means = torch.stack([features[labels == k].mean(0) for k in range(train.card.outputs)])
            means = (1 - self.shrink) * means + self.shrink * features.mean(0)
            head = cast(nn.Linear, body.head)
            head.weight.copy_(means)
            head.bias.copy_(-means.square().sum(1) / 2)
        return Fitted(facts={"shrink": self.shrink})
