"""Networks as ordered blocks and a head, with the normalisation inside, so that they take pixels in [0, 1]."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from advtransfer.deprecation import deprecated_names


class Normalize(nn.Module):
    """``(x - mean) / std`` by channel; `mean` and `std` hold one value a channel, or one for all."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same shape."""
        return (inputs - self.mean) / self.std


class ReadOnlyHead(nn.Module):
    """A module whose ``head`` cannot be assigned.

    Where `head` is found by its path in another module, `nn.Module` would keep an assigned layer aside, under a name
    that the property hides: it would neither be used nor trained, without a word.
    """

    def __setattr__(self, name: str, value: Tensor | nn.Module) -> None:
        if name == "head":
            found = f"found an assignment to the head of a {type(self).__name__}"
            raise AttributeError(
                f"{found}; expected none, since its parts are read only; "
                "make a copy with another head by advtransfer.toolkit.heads.with_head(network, outputs, shape=...)"
            )
        super().__setattr__(name, value)


class BlockNetwork(ReadOnlyHead):
    """A `Network`: normalisation, then blocks in order, then the head.

    Args:
        blocks: The blocks by name, from the input on; the last one gives what the head receives, ``(B, features)``.
        head: From features to logits.
        normalise: Applied to the inputs first; None for none.
    """

    head: nn.Module

    def __init__(
        self, blocks: Mapping[str, nn.Module], head: nn.Module, normalise: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.normalise = nn.Identity() if normalise is None else normalise
        self.body = nn.Sequential(OrderedDict(blocks))
        self.add_module("head", head)

    @property
    def blocks(self) -> Mapping[str, nn.Module]:
        """The blocks by name, from the input to the head."""
        return dict(self.body.named_children())

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, C, H, W)`` pixels to ``(B, outputs)`` logits."""
        logits: Tensor = self.head(self.features(inputs))
        return logits

    def features(self, inputs: Tensor, *, upto: str | None = None) -> Tensor:
        """The activations after the block `upto`; by default what the head receives."""
        blocks = self.blocks
        if upto is not None and upto not in blocks:
            raise ValueError(
                f"found block {upto!r}; expected one of {list(blocks)}; name one of these"
            )
        activations: Tensor = self.normalise(inputs)
        for name, block in blocks.items():
            activations = block(activations)
            if name == upto:
                break
        return activations


if not TYPE_CHECKING:  # mypy then reports an old name, as it should
    __getattr__ = deprecated_names(
        __name__,
        {
            "Normalise": "advtransfer.toolkit.network:Normalize",
        },
    )
