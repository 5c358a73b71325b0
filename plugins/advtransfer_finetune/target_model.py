"""Target model of every fine-tuning (adapter, source blocks, new head), and its split into frozen and trained part."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.datasets import ArraySamples, all_positions
from advtransfer.toolkit.model_modes import freeze_weights
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.prediction import compute_rows
from advtransfer.toolkit.rng import build_initialized, reinitialize
from advtransfer.toolkit.wrapped_networks import ChainedNetwork
from advtransfer.types import Context, DataCard, Network, Samples, Shape
from advtransfer_finetune.options import HeadInit

FEATURE_INPUTS = ("source", "adapter", "subset.data")
"""The inputs of a fit that decide what its frozen layers give for an image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenExtractor:
    """The frozen, deterministic beginning of a target model.

    Args:
        function: From images ``(B, C, H, W)`` to activations ``(B, ...)``; it treats rows independently.
        name: Which layers of the source these are.
        shared: Keep the activations where other fits find them.
    """

    function: Callable[[Tensor], Tensor]
    name: str
    shared: bool

    def __call__(self, samples: Samples, context: Context) -> Tensor:
        """The activations of samples of a train part, ``(N, ...)`` on the CPU.

        Raises:
            ValueError: There are no samples, or the layers give a number that is not finite.
        """
        if self.shared:
            key = {"part": "train", "layers": self.name}
            found = context.rows("features", key, samples, self.function, of=FEATURE_INPUTS)
        else:
            found = compute_rows(samples, self.function, device=context.device)
        broken = int((~found.isfinite().flatten(1).all(1)).sum())
        if broken:
            expected = "finite ones; check the source's weights"
            raise ValueError(
                f"found activations that are not finite for {broken} of {len(found)} images; expected {expected}"
            )
        return found

    def extract_samples(self, samples: Samples, context: Context) -> ArraySamples:
        """Samples that hold the activations in place of the images."""
        found = self(samples, context)
        card = replace(samples.card, shape=tuple(found.shape[1:]), bounds=None)
        return ArraySamples(
            card=card,
            inputs=found,
            labels=samples.labels(all_positions(samples)),
            keys=samples.keys,
        )


def draw_head(features: int, outputs: int, *, init: HeadInit, source: torch.Generator) -> nn.Linear:
    """A linear layer from ``(B, features)`` to ``(B, outputs)``, its weights drawn from `source` alone."""

    def build() -> nn.Linear:
        layer = nn.Linear(features, outputs)
        if init == "normal":
            nn.init.normal_(layer.weight)
            nn.init.zeros_(layer.bias)
        return layer

    return build_initialized(build, source)


class TargetModel(nn.Module):
    """From target images ``(B, C, H, W)`` to logits ``(B, K)``, around copies of the source and the adapter.

    Both are frozen and in eval mode, but for a learned adapter: its parameters stay to be trained with the head. The
    source's own head is not used, unless the new one reads its logits.

    Args:
        source: The source network.
        adapter: From target images to the source's; None for none. It is learned where parameters require gradients.
        target: The target's card.
        head: Builds the new head from the number of what it reads and of outputs.
        reads: What the head receives: the source's ``features``, flattened, or its ``logits``.
    """

    network: Network

    def __init__(
        self,
        *,
        source: Network | None,
        adapter: nn.Module | None,
        target: DataCard,
        head: Callable[[int, int], nn.Module],
        reads: Literal["features", "logits"] = "features",
    ) -> None:
        super().__init__()
        if source is None:
            raise ValueError(
                "found no source; expected a network; declare needs=('source',) on the factory"
            )
        self.adapter = nn.Identity() if adapter is None else copy.deepcopy(adapter)
        self.network = copy.deepcopy(source)
        self.reads = reads
        freeze_weights(cast(nn.Module, self.network))
        self.eval()
        with torch.inference_mode():
            size = self.features(torch.zeros(1, *target.shape, device=self.device)).shape[1]
        self.head = head(size, target.outputs)

    @property
    def learns_adapter(self) -> bool:
        """Whether the adapter is trained with the head."""
        return any(parameter.requires_grad for parameter in self.adapter.parameters())

    @property
    def device(self) -> torch.device:
        """Where the source's weights are."""
        return next(self.parameters(), torch.empty(0)).device

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, K)``."""
        logits: Tensor = self.head(self.features(inputs))
        return logits

    def features(self, inputs: Tensor) -> Tensor:
        """What the head receives: ``(B, D)``."""
        adapted = self.adapter(inputs)
        return (
            self.network(adapted)
            if self.reads == "logits"
            else self.network.features(adapted).flatten(1)
        )

    def frozen_extractor(self, *, shared: bool) -> FrozenExtractor:
        """All that comes before the head."""
        return FrozenExtractor(function=self.features, name=self.reads, shared=shared)

    def draw_adapter(self, context: Context) -> None:
        """Give a learned adapter new initial weights; nothing else depends on them, and they on nothing else.

        Raises:
            Inapplicable: A part of it has weights of its own, but no ``reset_parameters``.
        """
        reinitialize(
            self.adapter,
            context.generator("adapter"),
            whose="the learned adapter",
            trained_only=True,
        )


def refuse_learned_adapter(adapter: nn.Module | None, *, method: str) -> None:
    """Refuse an adapter that a method without gradients cannot train.

    Raises:
        Inapplicable: With what to use instead.
    """
    if adapter is not None and any(parameter.requires_grad for parameter in adapter.parameters()):
        advice = "take finetune/blocks with 0 blocks, or finetune/linear_probe with solver: sgd"
        raise Inapplicable(
            f"the adapter is learned, by gradients that {method} does not follow; {advice}"
        )


def as_target_model(model: nn.Module) -> TargetModel:
    """The model handed to a fit, as what `Transfer.model` made it."""
    if not isinstance(model, TargetModel):
        raise TypeError(
            f"found a {type(model).__name__}; expected the transfer's own model; pass what model() returned"
        )
    return model


MAX_SHARED_BYTES = 2**16
"""The most bytes of one image's activations that are kept for other fits: 60,000 images then take 4 GB."""


class TrainablePart(nn.Module):
    """The last blocks and the head of a `TargetModel`: from activations ``(B, ...)`` to logits ``(B, K)``."""

    def __init__(self, model: TargetModel, *, trained: int) -> None:
        super().__init__()
        blocks = list(model.network.blocks.values())
        self.blocks = nn.Sequential(*blocks[len(blocks) - trained :])
        self.head = model.head

    def forward(self, activations: Tensor) -> Tensor:
        """What the whole model gives for the images behind the activations."""
        logits: Tensor = self.head(self.blocks(activations).flatten(1))
        return logits


@dataclass(frozen=True, slots=True)
class FrozenSplit:
    """The two sides: images to activations of one image's `shape`, and activations to logits."""

    extractor: FrozenExtractor
    trainable: TrainablePart
    shape: Shape


def split_frozen_part(
    model: TargetModel, *, images: Shape, trained: int, shared: bool
) -> FrozenSplit | None:
    """Cut before the last `trained` blocks; None when nothing is frozen or the order of the blocks is not certain.

    Activations larger than `MAX_SHARED_BYTES` are not shared.

    Args:
        model: In eval mode as far as it is frozen.
        images: The shape of one target image, ``(C, H, W)``.
        trained: How many blocks follow the cut.
        shared: Keep the activations where other fits find them.
    """
    network, names = model.network, list(model.network.blocks)
    # any other Network may do more between its blocks than call them in order
    if (
        not isinstance(network, BlockNetwork | ChainedNetwork)
        or trained >= len(names)
        or model.learns_adapter
    ):
        return None
    front = _extractor_up_to(model, upto=names[-trained - 1] if trained else None)
    with torch.no_grad():
        shape = tuple(front.function(torch.zeros(1, *images, device=model.device)).shape[1:])
    small = 4 * math.prod(shape) <= MAX_SHARED_BYTES
    return FrozenSplit(
        replace(front, shared=shared and small), TrainablePart(model, trained=trained), shape
    )


def _extractor_up_to(model: TargetModel, *, upto: str | None) -> FrozenExtractor:
    """Everything up to a block; by default up to the head, as probes have it."""
    if upto is None:
        return model.frozen_extractor(shared=True)
    return FrozenExtractor(
        function=lambda images: model.network.features(model.adapter(images), upto=upto),
        name=f"features upto {upto}",
        shared=True,
    )
