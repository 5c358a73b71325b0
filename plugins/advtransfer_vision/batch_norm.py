"""Batch normalisation, its averages measured again on data: what a network needs after its weights were changed."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from advtransfer.toolkit.freezing import weights_frozen
from advtransfer.types import Samples

BATCH = 64


def re_estimate(network: nn.Module, samples: Samples, *, device: torch.device, generator: torch.Generator) -> None:
    """Replace each layer's running mean and variance by the average over batches of all samples, in random order.

    Nothing happens to a network without batch normalisation; the network ends in eval mode on the device.
    """
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
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
        for positions in torch.split(order, BATCH)[: max(1, len(order) // BATCH)]:
            network(samples.inputs(positions).to(device))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    network.eval()
