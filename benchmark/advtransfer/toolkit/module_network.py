"""Networks around a user's own module: its blocks and its head are found, its inputs are rescaled."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from advtransfer.toolkit.network import Normalize, ReadOnlyHead
from advtransfer.toolkit.rng import stream_generator
from advtransfer.toolkit.wrapped_networks import (
    NORMALIZATION_LAYERS,
    ChainedNetwork,
    HookedNetwork,
)
from advtransfer.types import Shape

HEAD_TOLERANCE = 1e-5
"""The allowed difference of the found head's outputs from the logits, relative to the largest."""
FIXED_INPUTS = 64
LOGITS_TOLERANCE = 1e-4
"""The allowed difference of a rebuilt module's logits from the module's, relative to the largest: processors
and threads round differently."""
HOOK_KINDS = {
    "_forward_hooks": "forward hook",
    "_forward_pre_hooks": "forward pre-hook",
    "_backward_hooks": "backward hook",
    "_backward_pre_hooks": "backward pre-hook",
}
"""The attributes in which torch keeps hooks that a pass through a module runs, and their names."""


class WholeNetwork(ReadOnlyHead):
    """A `Network` whose blocks and head are not known: it gives logits, and no features.

    Args:
        model: The architecture; its parameters keep their names, after ``model.``.
        normalise: Applied to the inputs first; None for none.
    """

    def __init__(self, model: nn.Module, normalise: nn.Module | None = None) -> None:
        super().__init__()
        self.model = model
        self.normalise = nn.Identity() if normalise is None else normalise
        # In a tuple, which nn.Module does not register.
        self._head = (nn.Identity(),)

    @property
    def blocks(self) -> Mapping[str, nn.Module]:
        """No blocks."""
        return {}

    @property
    def head(self) -> nn.Module:
        """The identity, since no layer is known to give the logits."""
        return self._head[0]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits ``(B, outputs)`` of inputs ``(B, *shape)``."""
        logits: Tensor = self.model(self.normalise(inputs))
        return logits

    def features(self, inputs: Tensor, *, upto: str | None = None) -> Tensor:
        """Refuse: no layer is known to read features.

        Raises:
            ValueError: Always.
        """
        found = f"no layer of {type(self.model).__name__} that is certain to be its head"
        raise ValueError(
            f"found {found}; expected the layer from features to logits; name `blocks` and `head`"
        )


ModuleNetwork: TypeAlias = ChainedNetwork | HookedNetwork | WholeNetwork


def wrap_module(
    model: nn.Module,
    shape: Shape,
    *,
    blocks: Sequence[str] = (),
    head: str | None = None,
    normalise: nn.Module | None = None,
) -> ModuleNetwork:
    """Return a network around a module from inputs to logits.

    Without `blocks` and `head`, a plain ``nn.Sequential`` is a chain of its layers, and the head of
    any other module is its last linear layer, if that computes the logits.

    Args:
        model: The module; it is not copied.
        shape: The shape of one input.
        blocks: The paths of the modules at which blocks begin; given together with `head`.
        head: The path of the module that returns the logits.
        normalise: Applied to the inputs first; None for none.

    Raises:
        ValueError: `blocks` without `head` or the reverse, or a path does not exist.
    """
    if bool(blocks) != (head is not None):
        found = f"blocks {list(blocks)} and head {head!r}"
        raise ValueError(f"found {found}; expected both or neither; name the modules of both")
    if head is not None:
        return HookedNetwork(model, blocks=blocks, head=head, normalise=normalise)
    network = _detected_network(model, normalise)
    if network is not None and _splits_at_head(network, shape):
        return network
    return WholeNetwork(model, normalise)


def _detected_network(
    model: nn.Module, normalise: nn.Module | None
) -> ChainedNetwork | HookedNetwork | None:
    """Return the network with the blocks and the head that a module seems to have, or None."""
    if type(model) is nn.Sequential:
        steps = [name for name, _ in model.named_children()]
        try:
            return ChainedNetwork(model, steps, normalise)
        except ValueError:  # It has a single layer with weights.
            return None
    linear = [path for path, module in model.named_modules() if isinstance(module, nn.Linear)]
    blocks = block_paths(model, linear[-1]) if linear and linear[-1] else []
    if not blocks:
        return None
    return HookedNetwork(model, blocks=blocks, head=linear[-1], normalise=normalise)


def _splits_at_head(network: ChainedNetwork | HookedNetwork, shape: Shape) -> bool:
    """Return whether the head computes a network's logits from its features."""
    weight = next(network.parameters(), torch.empty(0))
    inputs = torch.full((2, *shape), 0.5, device=weight.device)
    was_training = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            logits = network.model(network.normalise(inputs))
            difference = (network.head(network.features(inputs)) - logits).abs().max().item()
            return bool(difference <= HEAD_TOLERANCE * max(1.0, logits.abs().max().item()))
    # A module that fails on these inputs is reported where it is run for its logits.
    except Exception:
        return False
    finally:
        for module, training in was_training.items():
            module.training = training


def block_paths(model: nn.Module, head: str) -> list[str]:
    """Return the paths where the blocks of a module begin, without the first if there are several.

    The first module with weights then belongs to the block ``stem``, which `HookedNetwork` needs no
    path for.

    Args:
        model: The module.
        head: The path of its head.
    """
    modules = _block_modules(model, "", head)
    starts = [path for path, module in modules if path != head and _begins_block(module)]
    return starts[1:] or starts


def _block_modules(module: nn.Module, path: str, head: str) -> Iterator[tuple[str, nn.Module]]:
    """Yield the parts of a model with their paths, down to residual blocks and single layers."""
    children = dict(module.named_children())
    first = next(iter(children.values()), None)
    # A sequence that begins with a normalisation is one block, such as ConvNeXt's downsampling.
    is_row = type(module) in (nn.Sequential, nn.ModuleList)
    is_row = is_row and not isinstance(first, NORMALIZATION_LAYERS)
    if not path or is_row or "blocks" in children or head.startswith(f"{path}."):
        for name, child in children.items():
            yield from _block_modules(child, f"{path}.{name}" if path else name, head)
    else:
        yield path, module


def _begins_block(module: nn.Module) -> bool:
    # A normalisation before the head is no block of its own.
    if isinstance(module, NORMALIZATION_LAYERS):
        return False
    return any(True for _ in module.parameters())


def unit_normalization(
    bounds: tuple[float, float], mean: Sequence[float], std: Sequence[float]
) -> Normalize | None:
    """Return the map from images in [0, 1] to what a module was trained on, or None for the identity.

    Images are first moved to the module's `bounds`, then normalised there: ``((hi - lo) x + lo -
    mean) / std``. One `Normalize` does both.

    Args:
        bounds: The smallest and the largest pixel that the module knows.
        mean: One value for each channel, or one for all; empty for 0.
        std: The same for the standard deviation; empty for 1.

    Raises:
        ValueError: Only one of `mean` and `std` is given, or a size is not above 0.
    """
    low, high = bounds
    if bool(mean) != bool(std) or not high > low or min(std, default=1.0) <= 0:
        found = f"bounds {bounds}, mean {tuple(mean)} and std {tuple(std)}"
        expected = "bounds in order, and a mean and a positive std for each channel, or neither"
        raise ValueError(f"found {found}; expected {expected}; correct them")
    if (low, high) == (0, 1) and not mean:
        return None
    size = high - low
    # Without a move the values stay as they are, so that rounding changes no logits.
    if (low, high) == (0, 1):
        return Normalize(mean, std)
    return Normalize(
        [(value - low) / size for value in mean or (0.0,)],
        [value / size for value in std or (1.0,)],
    )


def fixed_logits(model: nn.Module, shape: Shape) -> Tensor:
    """Return a module's logits ``(64, outputs)`` for inputs that are the same on every machine.

    Equal modules give equal bits on one machine: the module runs in eval mode, on one thread.

    Args:
        model: The module, on the CPU; its modes are left as found.
        shape: The shape of one input.
    """
    inputs = torch.rand(FIXED_INPUTS, *shape, generator=stream_generator("rebuild"))
    was_training = {module: module.training for module in model.modules()}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            logits: Tensor = model.eval()(inputs)
            return logits
    finally:
        torch.set_num_threads(threads)
        for module, training in was_training.items():
            module.training = training


def logits_difference(logits: Tensor, expected: Tensor) -> float:
    """Return the largest difference of logits from the expected, relative to the largest of these.

    Infinite where their shapes differ, or where logits are NaN.
    """
    if logits.shape != expected.shape:
        return math.inf
    scale = expected.abs().max().clamp(min=torch.finfo(expected.dtype).tiny)
    difference = ((logits - expected).abs().max() / scale).item()
    return math.inf if math.isnan(difference) else difference


def hook_texts(module: nn.Module) -> list[str]:
    """Return a text for each hook that a pass through a module would run: its kind and its place.

    A hook may change what the module computes, and no state dict holds it.
    """
    texts: list[str] = []
    for path, part in module.named_modules():
        where = f"on {path!r}" if path else "on the module itself"
        texts += [f"a {kind} {where}" for name, kind in HOOK_KINDS.items() if getattr(part, name)]
    return texts
