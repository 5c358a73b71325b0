"""A source around a model of timm."""

from pathlib import Path

import timm
import torch

from advtransfer.toolkit.module_network import wrap_module
from advtransfer.toolkit.network import Normalize
from advtransfer.types import Context, Network, Shape, SourceCard, Weights


class TimmModel:
    """A source."""

    def __init__(self, name: str, file: Path, outputs: int, shape: Shape) -> None:
        self.name, self.file, self.outputs, self.shape = name, file, outputs, shape

    def card(self) -> SourceCard:
        """Return what is known before the weights are read."""
        return SourceCard(self.name, "unknown", "unknown", self.shape, self.outputs)

    def network(self) -> Network:
        """Return the architecture, untrained, with timm's normalisation inside."""
        channels = self.shape[0]
        model = timm.create_model(self.name, num_classes=self.outputs, in_chans=channels)
        mean, std = model.pretrained_cfg["mean"], model.pretrained_cfg["std"]
        if channels != len(mean):
            mean, std = [sum(mean) / len(mean)], [sum(std) / len(std)]
        return wrap_module(model.eval(), self.shape, normalise=Normalize(mean, std))

    def weights(self, context: Context) -> Weights:
        """Return the weights of the file, under the names that they have in the network."""
        network = self.network()
        state = torch.load(self.file, map_location="cpu", weights_only=True)
        network.model.load_state_dict(state)
        return Weights(dict(network.state_dict()))
