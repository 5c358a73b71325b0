"""The models that an evaluation is scored on: which there are, and how each is built from its name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, TypeAlias

import torch

from advtransfer.testing.canaries.catalogue import CANARIES
from advtransfer.testing.canaries.honest_models import Subject, honest_subject
from advtransfer.testing.canaries.oracle import plane_subject
from advtransfer.toolkit.datasets import SampleSubset
from advtransfer.toolkit.kernel_batch import KERNEL_BATCH
from advtransfer.worker.verification import ThreatModel
from advtransfer.worker.verification.config import Norm

ModelKind: TypeAlias = Literal["canary", "honest", "exact"]
Base: TypeAlias = Literal["natural", "robust"]

DEPTH = 2
"""Convolutions of the networks: with a third one a score takes nearly twice as long."""

FEW_IMAGES = KERNEL_BATCH
"""Images of a costly evaluation: as many as a kernel takes, since fewer would cost the same."""

MAX_PASSES = 200
"""Passes of the model for each image above which an evaluation is costly.

At this number the passes take as long as all batteries.
"""


@dataclass(frozen=True, slots=True)
class ModelName:
    """One model, as plain data that any process builds it from.

    Args:
        kind: ``canary``, ``honest``, or ``exact`` for the model of known robust accuracy.
        base: The network, or the one that the canary is made of; None for the exact model.
        canary: Its name in `CANARIES`; empty for other kinds.
        strength: Its strength; None for other kinds.
        images: The number of test images, the first ones; None for all.
    """

    kind: ModelKind
    base: Base | None = None
    canary: str = ""
    strength: float | None = None
    images: int | None = None

    @property
    def text(self) -> str:
        """The name as tables show it."""
        if self.kind == "exact":
            return "two classes, a plane"
        return f"{self.canary} ({self.base})" if self.canary else f"{self.base} network"


def honest_model(base: Base, *, images: int | None = None) -> ModelName:
    """Return the name of an honest network."""
    return ModelName("honest", base, images=images)


def scored_models(norm: Norm, *, is_costly: bool) -> list[ModelName]:
    """Return the honest models, the exact one, then every canary of a norm at every strength.

    For a costly evaluation only the weakest of each canary on the natural network, on few images.
    """
    images = FEW_IMAGES if is_costly else None
    fair = [honest_model("natural", images=images), honest_model("robust", images=images)]
    return [*fair, ModelName("exact", images=images), *_canaries(norm, is_costly=is_costly)]


def _canaries(norm: Norm, *, is_costly: bool) -> Iterator[ModelName]:
    bases: tuple[Base, ...] = ("natural",) if is_costly else ("natural", "robust")
    for name, canary in CANARIES.items():
        if norm not in canary.norms:
            continue
        images = FEW_IMAGES if is_costly else canary.images
        for strength in canary.strengths[-1:] if is_costly else canary.strengths:
            for base in bases:
                yield ModelName("canary", base, name, strength, images)


class ModelBuilder:
    """Builds models by name; each network is trained once.

    Args:
        threat: The ball that the exact model is made for.
        seed: The seed of the networks.
    """

    def __init__(self, threat: ThreatModel, seed: int) -> None:
        self._threat = threat
        self._seed = seed
        self._network = cache(self._train_network)

    def build(self, name: ModelName) -> tuple[Subject, float | None]:
        """Return a model, and its exact robust accuracy where it is known."""
        if name.base is None:
            norm, eps = self._threat.norm, self._threat.eps
            return plane_subject(self._seed, norm=norm, eps=eps, images=name.images)
        subject = self._network(name.base)
        if name.images is not None:
            few = SampleSubset(subject.test, torch.arange(name.images))
            subject = replace(subject, test=few)
        if name.strength is not None:
            subject = CANARIES[name.canary].spoil(subject, name.strength)
        return subject, None

    def _train_network(self, base: Base) -> Subject:
        return honest_subject(self._seed, robust=base == "robust", depth=DEPTH)
