"""Sources with an architecture for a data set, trained or with initial weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import torch

from advtransfer.toolkit.adversarial_training import training_objective
from advtransfer.toolkit.adversary import Free, TrainingMethod
from advtransfer.toolkit.augmentation import make_augmentation
from advtransfer.toolkit.datasets import SampleSubset, all_positions
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.option_checks import require_adversary_radius
from advtransfer.toolkit.rng import build_redrawable, stream_generator
from advtransfer.toolkit.subset import draw_subset
from advtransfer.toolkit.training import best_epoch, train
from advtransfer.toolkit.training_config import (
    Augment,
    Averaging,
    KeptEpoch,
    OptimizerConfig,
    Schedule,
)
from advtransfer.toolkit.validation import monitor_robust_accuracy
from advtransfer.types import Context, DataCard, Dataset, Samples, SourceCard, Weights
from advtransfer_vision.data_changes import relabel_samples, subsample_images
from advtransfer_vision.networks import (
    LibraryNetwork,
    SizedNetwork,
    build_library_network,
    build_network,
)
from advtransfer_vision.pretrained.network_spec import CutNetwork

CARD_NAMES = 10
"""Number of class names that a source's card lists."""


SourceNetwork: TypeAlias = BlockNetwork | CutNetwork


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network and the card of the data that it is built for."""

    network: SizedNetwork | LibraryNetwork
    data: DataCard

    def draw_network(self, source: torch.Generator) -> SourceNetwork:
        """Build the network with initial weights drawn from `source`."""
        return build_redrawable(self._build_network, source)

    def _build_network(self) -> SourceNetwork:
        if isinstance(self.network, LibraryNetwork):
            return build_library_network(self.network, data=self.data)
        return build_network(self.network, data=self.data)

    def source_card(self, *, data: str, constraint: str) -> SourceCard:
        """Return the card of a source with this architecture, without a claimed accuracy."""
        return SourceCard(
            architecture=str(self.network),
            data=data,
            constraint=constraint,
            shape=self.data.shape,
            outputs=self.data.outputs,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomInitSource:
    """A network with its initial weights."""

    architecture: Architecture

    def card(self) -> SourceCard:
        """Return the card of the source."""
        return self.architecture.source_card(data="none: untrained", constraint="none")

    def network(self) -> SourceNetwork:
        """Return the architecture, with the same initial weights at every call."""
        return self.architecture.draw_network(stream_generator("architecture"))

    def weights(self, context: Context) -> Weights:
        """Return weights drawn from the context's ``init`` stream."""
        return Weights(self.architecture.draw_network(context.generator("init")).state_dict())


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedSource:
    """A network trained on the train part of a data set, naturally or against an adversary.

    The fields are the options of `advtransfer_vision.components.training.trained`.

    Raises:
        ValueError: The radius of the adversary is too large for the data.
    """

    architecture: Architecture
    data: Dataset
    adversary: TrainingMethod | None
    epochs: int
    batch_size: int
    optimiser: OptimizerConfig
    schedule: Schedule
    augment: Augment = "none"
    label_noise: float = 0.0
    validation: float = 0.0
    images: int | None = None
    kept_epoch: KeptEpoch = "last"
    averaging: Averaging | None = None
    cutmix: float | None = None

    def __post_init__(self) -> None:
        require_adversary_radius(self.adversary, self.architecture.data)

    def card(self) -> SourceCard:
        """Return the card of the source."""
        constraint = "none" if self.adversary is None else str(self.adversary)
        images = f", {self.images} of its images" if self.images is not None else ""
        noise = f", {self.label_noise:.0%} of the labels replaced" if self.label_noise else ""
        return self.architecture.source_card(
            data=_describe_data(self.data.card()) + images + noise, constraint=constraint
        )

    def network(self) -> SourceNetwork:
        """Return the architecture, with the same initial weights at every call."""
        return self.architecture.draw_network(stream_generator("architecture"))

    def weights(self, context: Context) -> Weights:
        """Train a network with initial weights from the context's ``init`` stream.

        Training losses and accuracies in the curves are those of the batches after any attack.
        """
        card = self.architecture.data
        network = self.architecture.draw_network(context.generator("init"))
        samples, validation = self._split_train_part()
        # The validation part keeps its true labels.
        samples = relabel_samples(
            samples, share=self.label_noise, generator=context.generator("label_noise")
        )
        curves = train(
            network,
            samples,
            epochs=self._data_passes,
            batch_size=self.batch_size,
            optimiser=self.optimiser,
            schedule=self.schedule,
            context=context,
            objective=training_objective(
                self.adversary,
                task=card.task,
                bounds=card.bounds,
                steps=self._data_passes * math.ceil(len(samples) / self.batch_size),
            ),
            augment=make_augmentation(self.augment, shape=card.shape, context=context),
            validation=validation,
            watch=None
            if validation is None
            else monitor_robust_accuracy(self.adversary, validation, context),
            kept_epoch=self.kept_epoch,
            averaging=self.averaging,
            cutmix=self.cutmix,
        )
        facts = {"epoch": float(best_epoch(curves))} if self.kept_epoch == "best" else {}
        return Weights(network.state_dict(), curves, facts)

    @property
    def _data_passes(self) -> int:
        """Number of passes over the data; each replay of free adversarial training counts as an epoch."""
        if isinstance(self.adversary, Free):
            # Rounded up, since a pass replays every batch the full number of times.
            return math.ceil(self.epochs / self.adversary.replays)
        return self.epochs

    def _split_train_part(self) -> tuple[Samples, Samples | None]:
        """Return the samples to train on and those held out.

        They are the same for every seed, so that replicates are comparable.
        """
        samples = subsample_images(self.data.part("train"), count=self.images)
        if not self.validation:
            return samples, None
        labels = samples.labels(all_positions(samples))
        split = draw_subset(
            labels, n=None, validation=self.validation, seed_parts=["validation of a source"]
        )
        return SampleSubset(samples, split.train), SampleSubset(samples, split.validation)


def _describe_data(data: DataCard) -> str:
    """Return the description of the training data for a source's card."""
    if data.task == "values":
        return f"{data.outputs} values, digest {data.digest[:12]}"
    names = ", ".join(data.names[:CARD_NAMES])
    if len(data.names) > CARD_NAMES:
        names += ", ..."
    return f"{data.outputs} {data.task} ({names}), digest {data.digest[:12]}"
