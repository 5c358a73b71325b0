"""A target model cut where its frozen part ends: what that part gives need be computed once, not every epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from advtransfer.toolkit.blocks import ChainedNetwork
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.types import Shape
from advtransfer_finetune.activations import Front
from advtransfer_finetune.model import TargetModel

MOST_SHARED = 2**16
"""The most bytes of one image's activations that are kept for other fits: 60,000 images then take 4 GB."""


class Tail(nn.Module):
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
class Boundary:
    """The two sides: images to activations of one image's `shape`, and activations to logits."""

    front: Front
    tail: Tail
    shape: Shape


def boundary(model: TargetModel, *, images: Shape, trained: int, shared: bool) -> Boundary | None:
    """Cut before the last `trained` blocks; None when nothing is frozen or the order of the blocks is not certain.

    Activations larger than `MOST_SHARED` are not shared.

    Args:
        model: In eval mode as far as it is frozen.
        images: The shape of one target image, ``(C, H, W)``.
        trained: How many blocks follow the cut.
        shared: Keep the activations where other fits find them.
    """
    network, names = model.network, list(model.network.blocks)
    # any other Network may do more between its blocks than call them in order
    if not isinstance(network, BlockNetwork | ChainedNetwork) or trained >= len(names) or model.learns_adapter:
        return None
    front = _front(model, upto=names[-trained - 1] if trained else None)
    with torch.no_grad():
        shape = tuple(front.function(torch.zeros(1, *images, device=model.device)).shape[1:])
    small = 4 * math.prod(shape) <= MOST_SHARED
    return Boundary(replace(front, shared=shared and small), Tail(model, trained=trained), shape)


def _front(model: TargetModel, *, upto: str | None) -> Front:
    """Everything up to a block; by default up to the head, as probes have it."""
    if upto is None:
        return model.front(shared=True)
    return Front(
        function=lambda images: model.network.features(model.adapter(images), upto=upto),
        name=f"features upto {upto}",
        shared=True,
    )
