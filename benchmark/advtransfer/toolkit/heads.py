"""Replace the head of any network."""

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
    """A `Network` with the blocks of another network and a new linear head.

    Args:
        network: Computes the features; its own head is not used. Its modules are used as they are,
            so pass a copy, as `with_head` does.
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
        """Return the logits ``(B, outputs)`` of inputs ``(B, C, H, W)``."""
        logits: Tensor = self.head(self.features(inputs))
        return logits

    def features(self, inputs: Tensor, *, upto: str | None = None) -> Tensor:
        """Return the activations after block `upto`; by default the head's inputs ``(B, D)``."""
        activations = self.network.features(inputs, upto=upto)
        return activations.flatten(1) if upto is None else activations

    def draw_head(self, generator: torch.Generator) -> None:
        """Draw new initial weights for the head, in place, from `generator` alone."""
        reinitialize(self.head, generator, whose="the head")


def with_head(
    network: Network,
    outputs: int,
    *,
    shape: Shape,
    adapter: nn.Module | None = None,
    generator: torch.Generator | None = None,
) -> HeadedNetwork:
    """Return a copy of any network with a new linear head instead of its own.

    The new head's weights come from `generator`, such as ``context.generator("head")``, never from
    torch's global random state. `Transfer.model` has no context and leaves `generator` out: the
    head is then zero until `fit` sets it, or draws it by ``draw_head(context.generator("head"))``.

    Args:
        network: The network, which is not changed. Parameters that are frozen in it are frozen in
            the copy; the copy of its own head is always frozen.
        outputs: The number of logits of the new head, which requires gradients.
        shape: The shape ``(C, H, W)`` of one input, before the adapter.
        adapter: A module in front of the network; None for none.
        generator: The generator that the head's weights are drawn from; None for zeros.
    """
    body = copy.deepcopy(network)
    module = cast(nn.Module, body)
    module.eval()  # batch normalisation in training mode refuses a batch of one
    with torch.no_grad():
        example = torch.zeros(1, *shape, device=next(module.parameters()).device)
        adapted = example if adapter is None else adapter(example)
        features = body.features(adapted).flatten(1)
    body.head.requires_grad_(False)
    _copy_modes(module, cast(nn.Module, network))
    # skip_init, since the constructor would draw from torch's global random state.
    head: nn.Linear = nn.utils.skip_init(nn.Linear, features.shape[1], outputs)  # type: ignore[no-untyped-call]  # torch
    headed = HeadedNetwork(body, head.to(features.device))
    headed.training = head.training = module.training
    for weight in head.parameters():
        nn.init.zeros_(weight)
    if generator is not None:
        headed.draw_head(generator)
    return headed


def _copy_modes(module: nn.Module, like: nn.Module) -> None:
    """Set the training mode of each submodule to that of the same submodule in `like`."""
    for submodule, original in zip(module.modules(), like.modules(), strict=True):
        submodule.training = original.training
