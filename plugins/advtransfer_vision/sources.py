"""Source models: an architecture on a data set, trained or left as it was drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import torch

from advtransfer.toolkit.adversary import Adversary, Fast, Free, Trades, expect_within
from advtransfer.toolkit.augment import augmentation
from advtransfer.toolkit.blocks import ChainedNetwork
from advtransfer.toolkit.hooked import HookedNetwork
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.recipe import Augment, Optimiser, Schedule
from advtransfer.toolkit.robust import objective
from advtransfer.toolkit.samples import Picked, every
from advtransfer.toolkit.streams import generator, initialised
from advtransfer.toolkit.subset import draw
from advtransfer.toolkit.training import train
from advtransfer.types import Context, DataCard, Dataset, Samples, SourceCard, Weights
from advtransfer_vision.fewer_images import fewer
from advtransfer_vision.label_noise import relabelled
from advtransfer_vision.networks import Known, Sized, build, build_known
from advtransfer_vision.robust_accuracy import RobustAccuracy

Built: TypeAlias = BlockNetwork | ChainedNetwork | HookedNetwork


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network of some size, for data of the card's shape and outputs."""

    network: Sized | Known
    data: DataCard

    def drawn(self, source: torch.Generator) -> Built:
        """The network, its initial weights drawn from `source`."""
        return initialised(self._built, source)

    def _built(self) -> Built:
        if isinstance(self.network, Known):
            return build_known(self.network, data=self.data)
        return build(self.network, data=self.data)

    def card(self, *, data: str, constraint: str) -> SourceCard:
        """The card of a source with this architecture; its accuracy is not known before it is measured."""
        return SourceCard(
            architecture=str(self.network),
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

    def network(self) -> Built:
        """The architecture; the same weights at every call."""
        return self.architecture.drawn(generator("architecture"))

    def weights(self, context: Context) -> Weights:
        """The weights drawn from the context's ``init`` stream."""
        return Weights(self.architecture.drawn(context.generator("init")).state_dict())


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A network trained on the train part, naturally or against an adversary."""

    architecture: Architecture
    data: Dataset
    adversary: Adversary | Trades | Fast | Free | None
    epochs: int
    batch_size: int
    optimiser: Optimiser
    schedule: Schedule
    augment: Augment = "none"
    label_noise: float = 0.0
    validation: float = 0.0
    images: int | None = None

    def __post_init__(self) -> None:
        expect_within(self.adversary, self.architecture.data)

    def card(self) -> SourceCard:
        """What it claims to be."""
        constraint = "none" if self.adversary is None else str(self.adversary)
        images = f", {self.images} of its images" if self.images is not None else ""
        noise = f", {self.label_noise:.0%} of the labels replaced" if self.label_noise else ""
        return self.architecture.card(data=_described(self.data.card()) + images + noise, constraint=constraint)

    def network(self) -> Built:
        """The architecture; the same weights at every call."""
        return self.architecture.drawn(generator("architecture"))

    def weights(self, context: Context) -> Weights:
        """Train from the context's ``init`` stream on; the curves are of the batches as trained on, attacked or not."""
        network, card = self.architecture.drawn(context.generator("init")), self.architecture.data
        samples, validation = self._parts()
        curves = train(
            network,
            relabelled(samples, share=self.label_noise, generator=context.generator("label_noise")),
            epochs=self._passes,
            batch_size=self.batch_size,
            optimiser=self.optimiser,
            schedule=self.schedule,
            context=context,
            objective=objective(self.adversary, task=card.task, bounds=card.bounds),
            augment=augmentation(self.augment, shape=card.shape, context=context),
            validation=validation,
            watch=self._watch(validation, context),
        )
        return Weights(network.state_dict(), curves)

    @property
    def _passes(self) -> int:
        """Passes over the data: replays count as epochs."""
        return math.ceil(self.epochs / self.adversary.replays) if isinstance(self.adversary, Free) else self.epochs

    def _parts(self) -> tuple[Samples, Samples | None]:
        """What is trained on, and what is held back: the same for every seed, so that replicates are comparable."""
        samples = fewer(self.data.part("train"), count=self.images)
        if not self.validation:
            return samples, None
        labels = samples.labels(every(samples))
        drawn = draw(labels, n=None, validation=self.validation, seed_parts=["validation of a source"])
        return Picked(samples, drawn.train), Picked(samples, drawn.validation)

    def _watch(self, validation: Samples | None, context: Context) -> RobustAccuracy | None:
        if self.adversary is None or validation is None or validation.card.task != "classes":
            return None
        return RobustAccuracy(validation, self.adversary.norm, self.adversary.eps, context)


def _described(data: DataCard) -> str:
    if data.task == "values":
        return f"{data.outputs} values, digest {data.digest[:12]}"
    named = ", ".join(data.names[:10]) + (", ..." if len(data.names) > 10 else "")
    return f"{data.outputs} {data.task} ({named}), digest {data.digest[:12]}"
