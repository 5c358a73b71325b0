"""Weight noise: sources made worse step by step, with batch-norm statistics measured again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from advtransfer.toolkit.model_modes import weights_frozen
from advtransfer.types import Context, Dataset, Network, Samples, Source, SourceCard, Weights

STATISTICS_BATCH = 64


def remeasure_batch_norm(
    network: nn.Module, samples: Samples, *, device: torch.device, generator: torch.Generator
) -> None:
    """Replace each layer's running mean and variance by the average over batches of all samples, in random order.

    Nothing happens to a network without batch normalisation; the network ends in eval mode on the device.
    """
    layers = [
        module
        for module in network.modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
    ]
    network.to(device).eval()
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain average over batches
        layer.train()
    order = torch.randperm(len(samples), generator=generator)
    with torch.no_grad(), weights_frozen(network):
        # a rest would count as much as a whole batch, so it is left out where there is a whole one
        for positions in torch.split(order, STATISTICS_BATCH)[
            : max(1, len(order) // STATISTICS_BATCH)
        ]:
            network(samples.inputs(positions).to(device))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    network.eval()


@dataclass(frozen=True, slots=True, kw_only=True)
class PerturbedSource:
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
        add_weight_noise(network, scale=self.scale, noise=context.generator("noise"))
        order = context.generator("batch_norm")
        remeasure_batch_norm(
            network, self.data.part("train"), device=context.device, generator=order
        )
        return Weights(network.state_dict())


def add_weight_noise(network: nn.Module, *, scale: float, noise: torch.Generator) -> None:
    """Add to each parameter ``scale * std * N(0, 1)``, std that of the parameter's own entries; one entry has none.

    A larger scale goes further in the same direction.
    """
    with torch.no_grad():
        for parameter in network.parameters():
            drawn = torch.randn(parameter.shape, generator=noise).to(parameter)
            parameter.add_(scale * parameter.std(correction=0) * drawn)
