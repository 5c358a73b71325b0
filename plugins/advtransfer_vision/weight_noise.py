"""Sources with noise on their weights, to lower their quality by degrees."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, cast

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from advtransfer.toolkit.model_modes import weights_frozen
from advtransfer.types import Context, Dataset, Network, Samples, Source, SourceCard, Weights

STATISTICS_BATCH = 64

NoiseDistribution: TypeAlias = Literal["normal", "uniform"]
"""Normal with the spread of each parameter's entries, or uniform on [-0.5, 0.5] for all."""


def remeasure_batch_norm(
    network: nn.Module, samples: Samples, *, device: torch.device, generator: torch.Generator
) -> None:
    """Set the running mean and variance of each batch norm to the average over batches of the samples.

    The batches are drawn in random order. The network is left in eval mode on `device`; a network without batch
    normalisation is otherwise unchanged.
    """
    batch_norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    layers = [layer for layer in batch_norms if layer.track_running_stats]
    network.to(device).eval()
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # torch then averages all batches with equal weights
        layer.train()
    order = torch.randperm(len(samples), generator=generator)
    # Every batch has the same weight in the average, so an incomplete last batch is left out,
    # unless it is the only one.
    batch_count = max(1, len(order) // STATISTICS_BATCH)
    with torch.no_grad(), weights_frozen(network):
        for positions in torch.split(order, STATISTICS_BATCH)[:batch_count]:
            network(samples.inputs(positions).to(device))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    network.eval()


@dataclass(frozen=True, slots=True, kw_only=True)
class PerturbedSource:
    """Another source with noise on its weights.

    Args:
        source: The source to perturb.
        data: Data set whose train part batch normalisation measures its statistics on.
        scale: Size of the noise: in standard deviations of each parameter's entries if it is normal, in the width of
            its interval if it is uniform.
        distribution: Distribution of the noise.

    Raises:
        ValueError: The data do not have the shape of the source's inputs.
    """

    source: Source
    data: Dataset
    scale: float
    distribution: NoiseDistribution = "normal"

    def __post_init__(self) -> None:
        data_shape = self.data.card().shape
        source_shape = self.source.card().shape
        if data_shape != source_shape:
            raise ValueError(
                f"found data of shape {data_shape}; expected {source_shape}, the shape of the source's inputs; "
                "name the data set it was trained on, or one of that shape"
            )

    def card(self) -> SourceCard:
        """Return the other source's card without its claims of a constraint and an accuracy."""
        card = self.source.card()
        unit = "standard deviations" if self.distribution == "normal" else "* uniform(-0.5, 0.5)"
        constraint = f"none: weights perturbed by {self.scale:g} {unit} (before: {card.constraint})"
        return replace(card, constraint=constraint, clean_accuracy=None)

    def network(self) -> Network:
        """Return the other source's network."""
        return self.source.network()

    def weights(self, context: Context) -> Weights:
        """Return the other source's weights with noise, after batch norm measured its statistics again.

        Draws from the context's streams ``noise`` and ``batch_norm``.
        """
        network = cast(nn.Module, self.source.network())
        network.load_state_dict(dict(self.source.weights(context).tensors))
        noise = context.generator("noise")
        add_weight_noise(network, scale=self.scale, noise=noise, distribution=self.distribution)
        remeasure_batch_norm(
            network,
            self.data.part("train"),
            device=context.device,
            generator=context.generator("batch_norm"),
        )
        return Weights(network.state_dict())


def add_weight_noise(
    network: nn.Module,
    *,
    scale: float,
    noise: torch.Generator,
    distribution: NoiseDistribution = "normal",
) -> None:
    """Add noise to each entry of each parameter.

    Normal noise is ``scale * std * N(0, 1)``, std being that of the parameter's entries: a parameter with one entry
    gets none. Uniform noise is ``scale * U[-0.5, 0.5]`` for all parameters alike, as in the released synthetic
    experiment of Liang et al. (2021). With the same generator state, a larger scale goes further in the same direction.
    """
    with torch.no_grad():
        for parameter in network.parameters():
            # Drawn on the CPU, so that the noise is the same on every device.
            if distribution == "normal":
                normal = torch.randn(parameter.shape, generator=noise).to(parameter)
                parameter.add_(scale * parameter.std(correction=0) * normal)
            else:
                uniform = torch.rand(parameter.shape, generator=noise) - 0.5
                parameter.add_(scale * uniform.to(parameter))
