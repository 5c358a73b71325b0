"""A target model cut where its frozen part ends: what that part gives need be computed once, not every epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advtransfer.toolkit.blocks import ChainedNetwork
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.types import Shape
from advtransfer_finetune.model import TargetModel


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

    front: Callable[[Tensor], Tensor]
    tail: Tail
    shape: Shape


def boundary(model: TargetModel, *, images: Shape, trained: int) -> Boundary | None:
    """Cut before the last `trained` blocks; None when nothing is frozen or the order of the blocks is not certain.

    Args:
        model: In eval mode as far as it is frozen.
        images: The shape of one target image, ``(C, H, W)``.
        trained: How many blocks follow the cut.
    """
    network, names = model.network, list(model.network.blocks)
    # any other Network may do more between its blocks than call them in order
    if not isinstance(network, BlockNetwork | ChainedNetwork) or trained >= len(names):
        return None
    last = names[-trained - 1]

    def front(inputs: Tensor) -> Tensor:
        return network.features(model.adapter(inputs), upto=last)

    with torch.no_grad():
        shape = tuple(front(torch.zeros(1, *images, device=model.device)).shape[1:])
    return Boundary(front, Tail(model, trained=trained), shape)
