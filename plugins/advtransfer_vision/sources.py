"""Source models: an architecture on a data set, trained or left as it was drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from advtransfer.toolkit.attack import adversarial
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.recipe import Adversary, Optimiser, Schedule
from advtransfer.toolkit.streams import generator, initialised
from advtransfer.toolkit.training import train
from advtransfer.types import Context, DataCard, Dataset, SourceCard, Weights
from advtransfer_vision.networks import NetworkName, build


@dataclass(frozen=True, slots=True)
class Architecture:
    """A named network of some width, for data of the card's shape and classes."""

    name: NetworkName
    width: int
    data: DataCard

    def drawn(self, source: torch.Generator) -> BlockNetwork:
        """The network, its initial weights drawn from `source`."""
        return initialised(lambda: build(self.name, data=self.data, width=self.width), source)

    def card(self, *, data: str, constraint: str) -> SourceCard:
        """The card of a source with this architecture; its accuracy is not known before it is measured."""
        return SourceCard(
            architecture=f"{self.name}, width {self.width}",
            data=data,
            constraint=constraint,
            shape=self.data.shape,
            outputs=self.data.outputs,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomInit:
    """A network with the weights it was drawn with."""

    architecture: Architecture

    def card(self) -> SourceCard:
        """What it claims to be."""
        return self.architecture.card(data="none: untrained", constraint="none")

    def network(self) -> BlockNetwork:
        """The architecture; the same weights at every call."""
        return self.architecture.drawn(generator("architecture"))

    def weights(self, context: Context) -> Weights:
        """The weights drawn from the context's ``init`` stream."""
        return Weights(self.architecture.drawn(context.generator("init")).state_dict())


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A network trained on the whole train part, naturally or against an adversary."""

    architecture: Architecture
    data: Dataset
    adversary: Adversary | None
    epochs: int
    batch_size: int
    optimiser: Optimiser
    schedule: Schedule

    def __post_init__(self) -> None:
        longest = math.sqrt(math.prod(self.architecture.data.shape))
        if self.adversary is not None and self.adversary.norm == "l2" and self.adversary.eps > longest:
            expected = f"at most {longest:g}, the length of an input's longest change"
            raise ValueError(f"found l2 eps {self.adversary.eps:g}; expected {expected}; lower eps")

    def card(self) -> SourceCard:
        """What it claims to be."""
        constraint = "none" if self.adversary is None else str(self.adversary)
        return self.architecture.card(data=_described(self.data.card()), constraint=constraint)

    def network(self) -> BlockNetwork:
        """The architecture; the same weights at every call."""
        return self.architecture.drawn(generator("architecture"))

    def weights(self, context: Context) -> Weights:
        """Train from the context's ``init`` stream on; the curves are of the batches as trained on, attacked or not."""
        network = self.architecture.drawn(context.generator("init"))
        curves = train(
            network,
            self.data.part("train"),
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimiser=self.optimiser,
            schedule=self.schedule,
            context=context,
            perturb=None if self.adversary is None else adversarial(self.adversary),
        )
        return Weights(network.state_dict(), curves)


def _described(data: DataCard) -> str:
    named = ", ".join(data.names[:10]) + (", ..." if len(data.names) > 10 else "")
    return f"{data.outputs} classes ({named}), digest {data.digest[:12]}"
