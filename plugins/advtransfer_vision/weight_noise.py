"""Weight noise: a source made worse step by step, as a control of what transfer measures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import nn

from advtransfer.types import Context, Dataset, Network, Source, SourceCard, Weights
from advtransfer_vision.batch_norm import re_estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Perturbed:
    """Another source with noise on its weights."""

    source: Source
    data: Dataset
    scale: float

    def __post_init__(self) -> None:
        gives, takes = self.data.card().shape, self.source.card().shape
        if gives != takes:
            expected = f"{takes}, what the source takes; name the data set it was trained on, or one of that shape"
            raise ValueError(f"found data of shape {gives}; expected {expected}")

    def card(self) -> SourceCard:
        """The other source's card, its constraint and accuracy no longer claimed."""
        card = self.source.card()
        constraint = f"none: weights perturbed by {self.scale:g} standard deviations (before: {card.constraint})"
        return replace(card, constraint=constraint, clean_accuracy=None)

    def network(self) -> Network:
        """The other source's network."""
        return self.source.network()

    def weights(self, context: Context) -> Weights:
        """The other source's weights with noise from the context's ``noise`` stream, batch norm measured again."""
        network = cast(nn.Module, self.source.network())
        network.load_state_dict(dict(self.source.weights(context).tensors))
        perturb(network, scale=self.scale, noise=context.generator("noise"))
        order = context.generator("batch_norm")
        re_estimate(network, self.data.part("train"), device=context.device, generator=order)
        return Weights(network.state_dict())


def perturb(network: nn.Module, *, scale: float, noise: torch.Generator) -> None:
    """Add to each parameter ``scale * std * N(0, 1)``, std that of the parameter's own entries; one entry has none.

    A larger scale goes further in the same direction.
    """
    with torch.no_grad():
        for parameter in network.parameters():
            drawn = torch.randn(parameter.shape, generator=noise).to(parameter)
            parameter.add_(scale * parameter.std(correction=0) * drawn)
