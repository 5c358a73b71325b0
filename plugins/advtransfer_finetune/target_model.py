"""Target model of every fine-tuning, and its split into a frozen and a trained part.

The model consists of an adapter, the source's blocks and a new head.
"""

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
from advtransfer.toolkit.network import BlockNetwork, require_source
from advtransfer.toolkit.prediction import compute_rows, kernel_batches
from advtransfer.toolkit.randomized import is_randomized, keyed_draws
from advtransfer.toolkit.rng import build_initialized, reinitialize
from advtransfer.toolkit.wrapped_networks import ChainedNetwork
from advtransfer.types import Context, DataCard, Network, Samples, Shape
from advtransfer_finetune.options import HeadInit

FEATURE_INPUTS = ("source", "adapter", "subset.data")
"""Inputs of a fit that determine the frozen layers' activations of an image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenExtractor:
    """The frozen, deterministic beginning of a target model.

    Args:
        function: From images ``(B, C, H, W)`` to activations ``(B, ...)``; it treats rows
            independently.
        name: Name of these layers of the source.
        shared: Keep the activations in the cache for other fits.
        randomized: Whether the layers draw at random; each image then has one draw, which its key names.
    """

    function: Callable[[Tensor], Tensor]
    name: str
    shared: bool
    randomized: bool = False

    def __call__(self, samples: Samples, context: Context) -> Tensor:
        """Return the activations of samples of a train part, ``(N, ...)`` on the CPU.

        Raises:
            ValueError: There are no samples, or activations are not finite.
        """
        if self.randomized:
            activations = self._drawn_activations(samples, context.device)
        elif self.shared:
            key = {"part": "train", "layers": self.name}
            activations = context.rows("features", key, samples, self.function, of=FEATURE_INPUTS)
        else:
            activations = compute_rows(samples, self.function, device=context.device)
        is_finite = activations.isfinite().flatten(1).all(1)
        broken = int((~is_finite).sum())
        if broken:
            found = f"activations that are not finite for {broken} of {len(activations)} images"
            raise ValueError(f"found {found}; expected finite values; check the source's weights")
        return activations

    def _drawn_activations(self, samples: Samples, device: torch.device) -> Tensor:
        rows = []
        with torch.no_grad():
            for positions, inputs, _ in kernel_batches(samples):
                keys = [samples.keys[position] for position in positions.tolist()]
                rows.append(keyed_draws(self.function, inputs.to(device), keys).cpu())
        return torch.cat(rows)

    def extract_samples(self, samples: Samples, context: Context) -> ArraySamples:
        """Return samples with the activations in place of the images."""
        activations = self(samples, context)
        card = replace(samples.card, shape=tuple(activations.shape[1:]), bounds=None)
        return ArraySamples(
            card=card,
            inputs=activations,
            labels=samples.labels(all_positions(samples)),
            keys=samples.keys,
        )


def draw_head(features: int, outputs: int, *, init: HeadInit, source: torch.Generator) -> nn.Linear:
    """Return a linear layer from ``(B, features)`` to ``(B, outputs)``.

    Its weights are drawn from `source` alone.
    """

    def build() -> nn.Linear:
        layer = nn.Linear(features, outputs)
        if init == "normal":
            nn.init.normal_(layer.weight)
            nn.init.zeros_(layer.bias)
        return layer

    return build_initialized(build, source)


class TargetModel(nn.Module):
    """Model from target images ``(B, C, H, W)`` to logits ``(B, K)``.

    It contains copies of the source and the adapter. Both are frozen and in eval mode, except a
    learned adapter, whose parameters are trained with the head. The source's own head is not used,
    unless the new one reads its logits.

    Args:
        source: The source network.
        adapter: From target images to the source's; None for none. It is learned where parameters
            require gradients.
        target: Card of the target.
        head: Builds the new head from the numbers of its inputs and outputs.
        reads: Inputs of the head: the source's ``features``, flattened, or its ``logits``.
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
        # Copies, since freezing and training must not change the caller's objects.
        self.adapter = nn.Identity() if adapter is None else copy.deepcopy(adapter)
        self.network = copy.deepcopy(require_source(source))
        self.reads = reads
        freeze_weights(cast(nn.Module, self.network))
        self.eval()
        with torch.inference_mode():
            # Zeros suffice, since only the shape of the features is needed.
            size = self.features(torch.zeros(1, *target.shape, device=self.device)).shape[1]
        self.head = head(size, target.outputs)

    @property
    def learns_adapter(self) -> bool:
        """True if the adapter is trained with the head."""
        return any(parameter.requires_grad for parameter in self.adapter.parameters())

    @property
    def device(self) -> torch.device:
        """Device of the source's weights."""
        return next(self.parameters(), torch.empty(0)).device

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits, ``(B, K)``, of images ``(B, C, H, W)``."""
        logits: Tensor = self.head(self.features(inputs))
        return logits

    def features(self, inputs: Tensor) -> Tensor:
        """Return the inputs of the head, ``(B, D)``."""
        adapted = self.adapter(inputs)
        if self.reads == "logits":
            return self.network(adapted)
        return self.network.features(adapted).flatten(1)

    def frozen_extractor(self, *, shared: bool) -> FrozenExtractor:
        """Return everything before the head."""
        # The name is part of the activations' cache key and must not change.
        return FrozenExtractor(
            function=self.features,
            name=self.reads,
            shared=shared,
            randomized=is_randomized(self),
        )

    def draw_adapter(self, context: Context) -> None:
        """Draw new initial weights of a learned adapter, from a stream of their own.

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
    """Raise an error for an adapter that a method without gradients cannot train.

    Raises:
        Inapplicable: The adapter is learned.
    """
    if adapter is not None and any(parameter.requires_grad for parameter in adapter.parameters()):
        advice = "take finetune/blocks with 0 blocks, or finetune/linear_probe with solver: sgd"
        raise Inapplicable(
            f"the adapter is learned, by gradients that {method} does not follow; {advice}"
        )


def as_target_model(model: nn.Module) -> TargetModel:
    """Return the model as the transfer's `model` made it, or raise an error."""
    if not isinstance(model, TargetModel):
        found = f"a {type(model).__name__}"
        raise TypeError(
            f"found {found}; expected the transfer's own model; pass what model() returned"
        )
    return model


def trained_parameter_count(model: nn.Module) -> dict[str, float]:
    """Return the fact ``trained_parameters``: how many numbers the training may change."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return {"trained_parameters": float(sum(parameter.numel() for parameter in trained))}


MAX_SHARED_BYTES = 2**16
"""Largest size of one image's activations kept for other fits: 60,000 images then take 4 GB."""


class TrainablePart(nn.Module):
    """Last blocks and head of a `TargetModel`, from activations to logits ``(B, K)``."""

    def __init__(self, model: TargetModel, *, trained: int) -> None:
        super().__init__()
        blocks = list(model.network.blocks.values())
        self.blocks = nn.Sequential(*blocks[len(blocks) - trained :])
        self.head = model.head

    def forward(self, activations: Tensor) -> Tensor:
        """Return the whole model's logits for the images behind the activations."""
        logits: Tensor = self.head(self.blocks(activations).flatten(1))
        return logits


@dataclass(frozen=True, slots=True)
class FrozenSplit:
    """The frozen and the trained part of a target model.

    Attributes:
        extractor: From images to activations.
        trainable: From activations to logits.
        shape: Shape of one image's activations.
    """

    extractor: FrozenExtractor
    trainable: TrainablePart
    shape: Shape


def split_frozen_part(
    model: TargetModel, *, images: Shape, trained: int, shared: bool
) -> FrozenSplit | None:
    """Split the model before the last `trained` blocks.

    None where nothing is frozen, the order of the blocks is not certain, or the model is randomised, which draws
    anew for each batch. Activations larger than `MAX_SHARED_BYTES` are not shared.

    Args:
        model: In eval mode as far as it is frozen.
        images: Shape of one target image, ``(C, H, W)``.
        trained: Number of blocks after the split.
        shared: Keep the activations in the cache for other fits.
    """
    network = model.network
    names = list(network.blocks)
    # Any other Network may do more between its blocks than call them in order.
    if not isinstance(network, BlockNetwork | ChainedNetwork):
        return None
    if trained >= len(names) or model.learns_adapter or is_randomized(model):
        return None
    extractor = _extractor_up_to(model, upto=names[-trained - 1] if trained else None)
    with torch.no_grad():
        activations = extractor.function(torch.zeros(1, *images, device=model.device))
    shape = tuple(activations.shape[1:])
    # Large activations would fill the cache.
    is_small = 4 * math.prod(shape) <= MAX_SHARED_BYTES
    return FrozenSplit(
        extractor=replace(extractor, shared=shared and is_small),
        trainable=TrainablePart(model, trained=trained),
        shape=shape,
    )


def _extractor_up_to(model: TargetModel, *, upto: str | None) -> FrozenExtractor:
    """Return everything up to a block; for None up to the head, as probes do."""
    if upto is None:
        return model.frozen_extractor(shared=True)
    return FrozenExtractor(
        function=lambda images: model.network.features(model.adapter(images), upto=upto),
        name=f"features upto {upto}",
        shared=True,
    )
