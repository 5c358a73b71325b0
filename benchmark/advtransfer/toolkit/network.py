"""Networks of ordered blocks and a head that take pixels in [0, 1] and normalise them inside."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from advtransfer.deprecation import deprecated_names
from advtransfer.toolkit.model_modes import freeze_weights
from advtransfer.toolkit.pgd import clip_to_bounds
from advtransfer.types import Context, Network, Source


class Normalize(nn.Module):
    """``(x - mean) / std`` for each channel.

    Args:
        mean: One value for each channel, or one for all channels.
        std: The same for the standard deviation.
        clamp: Clip the inputs to [0, 1] first, as ``InputNormalize`` of the robustness library
            does.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], *, clamp: bool = False) -> None:
        super().__init__()
        self.clamp = clamp
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the normalised inputs ``(B, C, H, W)``."""
        if self.clamp:
            inputs = clip_to_bounds(inputs, (0, 1))
        return (inputs - self.mean) / self.std


def require_source(source: Network | None) -> Network:
    """Return the source network that a component was given.

    Raises:
        ValueError: There is none.
    """
    if source is None:
        raise ValueError(
            "found no source; expected a network; declare needs=('source',) on the factory"
        )
    return source


def load_source(source: Source, context: Context) -> Network:
    """Return the network of a source that is an option, with its weights.

    It is frozen, in eval mode, on the context's device.
    """
    network = source.network()
    module = cast(nn.Module, network)
    module.load_state_dict(dict(source.weights(context).tensors))
    freeze_weights(module.to(context.device).eval())
    return network


def require_block(name: str | None, block_names: Iterable[str]) -> None:
    """Check that a network has the named block; None stands for the last block.

    Raises:
        ValueError: The name is not one of `block_names`.
    """
    names = list(block_names)
    if name is not None and name not in names:
        raise ValueError(f"found block {name!r}; expected one of {names}; name one of these")


class ReadOnlyHead(nn.Module):
    """A module whose ``head`` cannot be assigned.

    In subclasses `head` is a property that finds a layer inside another module. `nn.Module` would
    silently register an assigned layer under a name that the property hides, so that the layer
    would neither be used nor trained.
    """

    def __setattr__(self, name: str, value: Tensor | nn.Module) -> None:
        if name == "head":
            found = f"found an assignment to the head of a {type(self).__name__}"
            raise AttributeError(
                f"{found}; expected none, since its parts are read only; "
                "make a copy with another head by "
                "advtransfer.toolkit.heads.with_head(network, outputs, shape=...)"
            )
        super().__setattr__(name, value)


class BlockNetwork(ReadOnlyHead):
    """A `Network` that runs normalisation, then blocks in order, then the head.

    Args:
        blocks: The blocks by name, from the input on; the last one returns features ``(B, D)``.
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
        """Return the logits ``(B, outputs)`` of pixels ``(B, C, H, W)``."""
        logits: Tensor = self.head(self.features(inputs))
        return logits

    def features(self, inputs: Tensor, *, upto: str | None = None) -> Tensor:
        """Return the activations after the block `upto`; by default the inputs of the head.

        Raises:
            ValueError: There is no such block.
        """
        activations: Tensor = self.normalise(inputs)
        if upto is None:
            features: Tensor = self.body(activations)
            return features
        blocks = self.blocks
        require_block(upto, blocks)
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
