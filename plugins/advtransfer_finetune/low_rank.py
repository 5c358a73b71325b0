"""Low-rank updates of the weights of convolutions, linear layers and attention (Hu et al., 2022)."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from advtransfer.types import Tensors

WEIGHT_NAMES = ("weight", "in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
"""Names of the updated matrices: of layers, and of torch's attention."""

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, nn.MultiheadAttention)


class LowRankUpdate(nn.Module):
    """``W -> W + (alpha / r) B A`` for a weight W whose first dimension is that of the outputs.

    Hu et al. (2022), section 4.1: A is drawn and B is 0, so that training starts from W. A
    convolution's kernel counts as a matrix of ``outputs`` rows.

    Args:
        shape: The shape of W, ``(outputs, ...)``.
        rank: r, at least 1.
        alpha: The scale of the update is alpha / r.
    """

    def __init__(self, shape: torch.Size, *, rank: int, alpha: float) -> None:
        super().__init__()
        self.scale = alpha / rank
        self.A = nn.Parameter(torch.zeros(rank, math.prod(shape[1:])))
        self.B = nn.Parameter(torch.zeros(shape[0], rank))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the updated weight, in the shape of W."""
        return weight + self.scale * (self.B @ self.A).view_as(weight)

    def draw(self, generator: torch.Generator) -> None:
        """Draw A as torch draws a linear layer's weight, which is what the paper's code does."""
        bound = 1 / math.sqrt(self.A.shape[1])
        # On the CPU, so that every device starts from the same weights.
        uniform = torch.rand(self.A.shape, generator=generator)
        with torch.no_grad():
            self.A.copy_((2 * uniform - 1) * bound)
            self.B.zero_()


def add_updates(
    network: nn.Module,
    *,
    rank: int,
    alpha: float,
    generator: torch.Generator,
    without: Collection[nn.Module] = (),
) -> list[LowRankUpdate]:
    """Give each weight of a network's layers a low-rank update, in place; return the updates.

    Args:
        network: The network; its own parameters should not require gradients.
        rank: The rank of each update, at least 1.
        alpha: The scale of the updates, times the rank.
        generator: The CPU generator that they are drawn from, in the order of the layers.
        without: Layers that are left as they are.
    """
    updates: list[LowRankUpdate] = []
    for layer, name in list(_weights(network)):
        if layer in without:
            continue
        weight = layer.get_parameter(name)
        update = LowRankUpdate(weight.shape, rank=rank, alpha=alpha)
        update.draw(generator)
        parametrize.register_parametrization(layer, name, update.to(weight.device))
        updates.append(update)
    return updates


def _weights(network: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Yield each layer and the name of each of its matrices."""
    for layer in network.modules():
        if not isinstance(layer, LAYERS):
            continue
        for name in WEIGHT_NAMES:
            if isinstance(getattr(layer, name, None), nn.Parameter):
                yield layer, name


def merge_updates(network: nn.Module) -> None:
    """Replace each weight by its updated value, in place: the network is a plain one again."""
    for layer in list(network.modules()):
        if not parametrize.is_parametrized(layer):
            continue
        for name in list(cast(nn.ModuleDict, layer.parametrizations)):
            parametrize.remove_parametrizations(layer, name, leave_parametrized=True)


def merged_state(state: Tensors, *, scale: float) -> dict[str, Tensor]:
    """Return the state of a network after `merge_updates`, from its state before.

    Args:
        state: The tensors by name.
        scale: alpha / r of the updates.
    """
    merged = dict(state)
    for name in state:
        layer, separator, parametrized = name.partition("parametrizations.")
        if not separator or not name.endswith(".original"):
            continue
        prefix = f"{layer}{separator}{parametrized.removesuffix('.original')}"
        weight = merged.pop(name)
        update = merged.pop(f"{prefix}.0.B") @ merged.pop(f"{prefix}.0.A")
        merged[layer + parametrized.removesuffix(".original")] = weight + scale * update.view_as(
            weight
        )
    return merged
