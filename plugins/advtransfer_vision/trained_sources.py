"""Source models: an architecture on a data set, trained or with its initial weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import nn

from advtransfer.toolkit.adversarial_training import training_objective
from advtransfer.toolkit.adversary import Adversary, Fast, Free, Trades, TrainingNorm
from advtransfer.toolkit.augmentation import make_augmentation
from advtransfer.toolkit.datasets import SampleSubset, all_positions
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.option_checks import require_adversary_radius
from advtransfer.toolkit.pgd import pgd
from advtransfer.toolkit.prediction import kernel_batches
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.toolkit.subset import draw_subset
from advtransfer.toolkit.training import train
from advtransfer.toolkit.training_config import Augment, OptimizerConfig, Schedule
from advtransfer.toolkit.wrapped_networks import ChainedNetwork, HookedNetwork
from advtransfer.types import Context, DataCard, Dataset, Samples, SourceCard, Weights
from advtransfer_vision.data_changes import relabel_samples, subsample_images
from advtransfer_vision.networks import (
    LibraryNetwork,
    SizedNetwork,
    build_library_network,
    build_network,
)

PGD_STEPS = 10


@dataclass(frozen=True, slots=True)
class RobustValidationAccuracy:
    """The column ``robust_validation_accuracy``: the share that PGD of 10 steps of eps / 4 leaves right.

    A figure to watch a training by, from the same random starts after every epoch; results come from evaluations.
    """

    samples: Samples
    norm: TrainingNorm
    eps: float
    context: Context

    def __call__(self, model: nn.Module) -> Mapping[str, float]:
        """Attack the model as it is, in eval mode."""
        starts, left = self.context.generator("robust_validation"), 0
        for _, inputs, labels in kernel_batches(self.samples):
            truth = labels.to(self.context.device)
            moved = pgd(
                model,
                inputs.to(self.context.device),
                truth,
                norm=self.norm,
                eps=self.eps,
                steps=PGD_STEPS,
                step_size=2.5 * self.eps / PGD_STEPS,
                random_start=True,
                generator=starts,
                bounds=self.samples.card.bounds,
            )
            with torch.no_grad():
                left += int((model(moved).argmax(1) == truth).sum())
        return {"robust_validation_accuracy": left / len(self.samples)}


SourceNetwork: TypeAlias = BlockNetwork | ChainedNetwork | HookedNetwork


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network of some size, for data of the card's shape and outputs."""

    network: SizedNetwork | LibraryNetwork
    data: DataCard

    def draw_network(self, source: torch.Generator) -> SourceNetwork:
        """The network, its initial weights drawn from `source`."""
        return build_initialized(self._build_network, source)

    def _build_network(self) -> SourceNetwork:
        if isinstance(self.network, LibraryNetwork):
            return build_library_network(self.network, data=self.data)
        return build_network(self.network, data=self.data)

    def source_card(self, *, data: str, constraint: str) -> SourceCard:
        """The card of a source with this architecture; its accuracy is not known before it is measured."""
        return SourceCard(
            architecture=str(self.network),
            data=data,
            constraint=constraint,
            shape=self.data.shape,
            outputs=self.data.outputs,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomInitSource:
    """A network with the weights it was drawn with."""

    architecture: Architecture

    def card(self) -> SourceCard:
        """What it claims to be."""
        return self.architecture.source_card(data="none: untrained", constraint="none")

    def network(self) -> SourceNetwork:
        """The architecture; the same weights at every call."""
        return self.architecture.draw_network(stream_generator("architecture"))

    def weights(self, context: Context) -> Weights:
        """The weights drawn from the context's ``init`` stream."""
        return Weights(self.architecture.draw_network(context.generator("init")).state_dict())


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedSource:
    """A network trained on the train part, naturally or against an adversary."""

    architecture: Architecture
    data: Dataset
    adversary: Adversary | Trades | Fast | Free | None
    epochs: int
    batch_size: int
    optimiser: OptimizerConfig
    schedule: Schedule
    augment: Augment = "none"
    label_noise: float = 0.0
    validation: float = 0.0
    images: int | None = None

    def __post_init__(self) -> None:
        require_adversary_radius(self.adversary, self.architecture.data)

    def card(self) -> SourceCard:
        """What it claims to be."""
        constraint = "none" if self.adversary is None else str(self.adversary)
        images = f", {self.images} of its images" if self.images is not None else ""
        noise = f", {self.label_noise:.0%} of the labels replaced" if self.label_noise else ""
        return self.architecture.source_card(
            data=_describe_data(self.data.card()) + images + noise, constraint=constraint
        )

    def network(self) -> SourceNetwork:
        """The architecture; the same weights at every call."""
        return self.architecture.draw_network(stream_generator("architecture"))

    def weights(self, context: Context) -> Weights:
        """Train from the context's ``init`` stream on; the curves are of the batches as trained on, attacked or not."""
        network, card = (
            self.architecture.draw_network(context.generator("init")),
            self.architecture.data,
        )
        samples, validation = self._split_train_part()
        curves = train(
            network,
            relabel_samples(
                samples, share=self.label_noise, generator=context.generator("label_noise")
            ),
            epochs=self._data_passes,
            batch_size=self.batch_size,
            optimiser=self.optimiser,
            schedule=self.schedule,
            context=context,
            objective=training_objective(self.adversary, task=card.task, bounds=card.bounds),
            augment=make_augmentation(self.augment, shape=card.shape, context=context),
            validation=validation,
            watch=self._validation_watch(validation, context),
        )
        return Weights(network.state_dict(), curves)

    @property
    def _data_passes(self) -> int:
        """Passes over the data: replays count as epochs."""
        return (
            math.ceil(self.epochs / self.adversary.replays)
            if isinstance(self.adversary, Free)
            else self.epochs
        )

    def _split_train_part(self) -> tuple[Samples, Samples | None]:
        """What is trained on, and what is held back: the same for every seed, so that replicates are comparable."""
        samples = subsample_images(self.data.part("train"), count=self.images)
        if not self.validation:
            return samples, None
        labels = samples.labels(all_positions(samples))
        drawn = draw_subset(
            labels, n=None, validation=self.validation, seed_parts=["validation of a source"]
        )
        return SampleSubset(samples, drawn.train), SampleSubset(samples, drawn.validation)

    def _validation_watch(
        self, validation: Samples | None, context: Context
    ) -> RobustValidationAccuracy | None:
        if self.adversary is None or validation is None or validation.card.task != "classes":
            return None
        return RobustValidationAccuracy(
            validation, self.adversary.norm, self.adversary.eps, context
        )


def _describe_data(data: DataCard) -> str:
    if data.task == "values":
        return f"{data.outputs} values, digest {data.digest[:12]}"
    named = ", ".join(data.names[:10]) + (", ..." if len(data.names) > 10 else "")
    return f"{data.outputs} {data.task} ({named}), digest {data.digest[:12]}"
