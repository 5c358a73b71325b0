"""Networks by name and size. Does not import torch before a network is built.

To add a network, write a module with a function `build` in `architectures` and add its name to `NetworkName`, to
`build_network` and, if it can be scaled, to `PAPER_WIDTHS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from advtransfer.toolkit.tagged_union import UnionByFirstField
from advtransfer.types import DataCard

if TYPE_CHECKING:
    from advtransfer.toolkit.network import BlockNetwork
    from advtransfer_vision.pretrained.network_spec import CutNetwork

NetworkName: TypeAlias = Literal[
    "small_cnn",
    "mnist_2conv",
    "lenet5",
    "fcnet",
    "resnet18",
    "resnet50",
    "wide_resnet",
    "one_hidden",
]

Library: TypeAlias = Literal["torchvision", "timm"]

PAPER_WIDTHS: Mapping[NetworkName, int] = {
    "small_cnn": 16,
    "mnist_2conv": 32,
    "resnet18": 64,
    "resnet50": 64,
    "wide_resnet": 10,
    "one_hidden": 100,
}
"""Widths in the papers. The networks that are not listed have one size only."""

PAPER_DEPTH = 32
CENTERED_PIXELS = (0.5, 0.5, 0.5)
"""Mean and standard deviation that map pixels to [-1, 1], as the networks of this plugin do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SizedNetwork:
    """A network of this plugin and its size.

    Args:
        name: The architecture.
        width: Channels of the first block (small_cnn, mnist_2conv, resnet18, resnet50), the widening factor
            (wide_resnet) or hidden units (one_hidden); by default the paper's.
        depth: Depth of wide_resnet, two more than a multiple of 6; by default 32. Other networks have none.
    """

    name: NetworkName
    width: int | None = None
    depth: int | None = None

    def __post_init__(self) -> None:
        if self.width is not None:
            self._check_width(self.width)
        if self.depth is not None:
            self._check_depth(self.depth)

    def _check_width(self, width: int) -> None:
        if self.name not in PAPER_WIDTHS:
            raise ValueError(f"width: none: {self.name} has one size, not {width}")
        if width < 1:
            raise ValueError(f"width: at least 1, not {width}")

    def _check_depth(self, depth: int) -> None:
        if self.name != "wide_resnet":
            raise ValueError(f"depth: none: {self.name} has no option depth, not {depth}")
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"depth: 8, 14, 20, ..., not {depth}")

    def __str__(self) -> str:
        """Return the name and sizes as source cards show them."""
        parts: list[str] = [self.name]
        width = PAPER_WIDTHS.get(self.name) if self.width is None else self.width
        if width is not None:
            parts.append(f"width {width}")
        if self.name == "wide_resnet":
            parts.append(f"depth {self.depth or PAPER_DEPTH}")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryNetwork:
    """An architecture of a library or of a published CIFAR checkpoint; its inputs have 3 channels.

    Args:
        architecture: Name of the architecture as in ``vision/checkpoint``: ``resnet18``, ``wide_resnet_28_10``,
            ``vit_tiny_patch16_224``.
        library: Library of the architecture; ``timm`` needs the extra ``hub``.
    """

    architecture: str
    library: Library = "torchvision"

    def __str__(self) -> str:
        """Return the name as source cards show it."""
        if self.library == "torchvision":
            return self.architecture
        return f"{self.architecture} of {self.library}"


# A mapping with `name` is a `SizedNetwork`, one with `architecture` a `LibraryNetwork`.
NetworkOption: TypeAlias = Annotated[SizedNetwork | LibraryNetwork, UnionByFirstField()]


def chosen_network(
    network: NetworkName | SizedNetwork | LibraryNetwork, *, width: int
) -> SizedNetwork | LibraryNetwork:
    """Return the network that the options `network` and `width` choose, from a library or of this plugin.

    Raises:
        ValueError: `width` was given together with a network that has its own option for it.
    """
    if not isinstance(network, LibraryNetwork):
        return sized_network(network, width=width)
    # A default that was written out cannot be told from one that was left out, and does no harm.
    if width != PAPER_WIDTHS["small_cnn"]:
        found = f"width {width} beside the architecture {network.architecture!r}"
        raise ValueError(f"found {found}; expected it beside small_cnn alone; leave `width` out")
    return network


def sized_network(network: NetworkName | SizedNetwork, *, width: int) -> SizedNetwork:
    """Return the network of this plugin that the options `network` and `width` choose.

    Raises:
        ValueError: `width` was given together with a network that has its own option for it.
    """
    if network == "small_cnn":
        return SizedNetwork(name=network, width=width)
    if width != PAPER_WIDTHS["small_cnn"]:
        name = network.name if isinstance(network, SizedNetwork) else network
        expected = f"it beside small_cnn alone; write network: {{name: {name}, width: {width}}}"
        raise ValueError(f"found width {width} beside the network {name!r}; expected {expected}")
    return network if isinstance(network, SizedNetwork) else SizedNetwork(name=network)


def build_library_network(network: LibraryNetwork, *, data: DataCard) -> CutNetwork:
    """Build an architecture of a library for the shape and outputs of a data set.

    The initial weights are drawn from torch's global random state.

    Raises:
        ValueError: The data are not square colour images, or the architecture does not take inputs of their size.
        UnknownName: The library has no such architecture.
    """
    from advtransfer_vision.pretrained.network_spec import (
        default_spec,
        expect_logits,
        require_square_rgb,
    )

    require_square_rgb(data.shape, found=f"inputs of shape {data.shape} for {network}")
    spec = replace(
        default_spec(network.architecture, network.library),
        outputs=data.outputs,
        pixels=data.shape[1],
        mean=CENTERED_PIXELS,
        std=CENTERED_PIXELS,
    )
    built = spec.build_network()
    expect_logits(built, spec)
    return built


def build_network(network: SizedNetwork, *, data: DataCard) -> BlockNetwork:
    """Build a network of this plugin for the shape and outputs of a data set.

    The initial weights are drawn from torch's global random state.

    Raises:
        ValueError: The architecture does not take inputs of this shape.
    """
    # Imported here, since a plan checks networks without building any.
    from advtransfer_vision.architectures import (
        fcnet,
        lenet5,
        mnist_2conv,
        one_hidden,
        resnet,
        small_cnn,
        wide_resnet,
    )

    shape = data.shape
    outputs = data.outputs
    width = network.width or PAPER_WIDTHS.get(network.name, 0)
    match network.name:
        case "small_cnn":
            return small_cnn.build(shape=shape, outputs=outputs, width=width)
        case "mnist_2conv":
            return mnist_2conv.build(shape=shape, outputs=outputs, width=width)
        case "lenet5":
            return lenet5.build(shape=shape, outputs=outputs)
        case "fcnet":
            return fcnet.build(shape=shape, outputs=outputs)
        case "resnet18" | "resnet50":
            depth = int(network.name.removeprefix("resnet"))
            return resnet.build(shape=shape, outputs=outputs, width=width, depth=depth)
        case "wide_resnet":
            depth = network.depth or PAPER_DEPTH
            return wide_resnet.build(shape=shape, outputs=outputs, width=width, depth=depth)
        case "one_hidden":
            return one_hidden.build(shape=shape, outputs=outputs, width=width)
