"""Another head for a network of any kind."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from advtransfer.toolkit.network import ReadOnlyHead
from advtransfer.toolkit.rng import reinitialize
from advtransfer.types import Network, Shape


class HeadedNetwork(ReadOnlyHead):
    """A `Network` with the blocks of another one and a linear head of its own; the other one's head is not used.

    Args:
        network: Gives the features; its parts are used as they are, so hand over a copy (as `with_head` does).
        head: From the flattened features ``(B, D)`` to logits.
    """

    network: Network
    head: nn.Linear

    def __init__(self, network: Network, head: nn.Linear) -> None:
        super().__init__()
        self.network = network
        self.add_module("head", head)

    @property
    def blocks(self) -> Mapping[str, nn.Module]:
        """The blocks by name, from the input to the head."""
        return self.network.blocks

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, outputs)`` logits."""
        logits: Tensor = self.head(self.features(inputs))
        return logits

    def features(self, inputs: Tensor, *, upto: str | None = None) -> Tensor:
        """The activations after the block `upto`; by default what the head receives, ``(B, D)``."""
        activations = self.network.features(inputs, upto=upto)
        return activations.flatten(1) if upto is None else activations

    def draw_head(self, generator: torch.Generator) -> None:
        """Give the head new initial weights, in place, drawn from `generator` alone."""
        reinitialize(self.head, generator, whose="the head")


def with_head(
    network: Network,
    outputs: int,
    *,
    shape: Shape,
    adapter: nn.Module | None = None,
    generator: torch.Generator | None = None,
) -> HeadedNetwork:
    """Copy a network, of whatever kind it is, with a new linear head in place of its own.

    The new head's weights come from `generator`, as from ``context.generator("head")``, never from torch's global
    random state. `Transfer.model`, which has no context, leaves `generator` out: the head is then zero until `fit` sets
    it, or draws it by ``draw_head(context.generator("head"))``.

    Args:
        network: The network; left as it is. What is frozen in it is so in the copy; its own head is frozen there.
        outputs: How many logits the new head gives; it requires gradients.
        shape: Of one input ``(C, H, W)``, before the adapter.
        adapter: What stands before the network; None for nothing.
        generator: What the head's weights are drawn from; None for zeros.
    """
    body = copy.deepcopy(network)
    module = cast(nn.Module, body)
    module.eval()  # one example is no batch for layers that normalise over it
    with torch.no_grad():
        example = torch.zeros(1, *shape, device=next(module.parameters()).device)
        features = body.features(example if adapter is None else adapter(example)).flatten(1)
    body.head.requires_grad_(False)
    _copy_modes(module, cast(nn.Module, network))
    head: nn.Linear = nn.utils.skip_init(nn.Linear, features.shape[1], outputs)  # type: ignore[no-untyped-call]  # torch
    headed = HeadedNetwork(body, head.to(features.device))
    headed.training = head.training = module.training
    for weight in head.parameters():
        nn.init.zeros_(weight)
    if generator is not None:
        headed.draw_head(generator)
    return headed


def _copy_modes(module: nn.Module, like: nn.Module) -> None:
    """Put the parts of a copy back into the modes that they have in the original."""
    for one, other in zip(module.modules(), like.modules(), strict=True):
        one.training = other.training
