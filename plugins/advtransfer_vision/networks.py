"""Networks by name and size. Light: torch is imported when one is built.

To add one, write its module in `architectures` with a `build` like its neighbours', and name it in `NetworkName`, in
`PAPER_WIDTHS` where it can be scaled, and in `build_network`.
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

PAPER_WIDTHS: Mapping[NetworkName, int] = {
    "small_cnn": 16,
    "mnist_2conv": 32,
    "resnet18": 64,
    "resnet50": 64,
    "wide_resnet": 10,
    "one_hidden": 100,
}
"""The widths that the papers use; the networks that are not here have one size only."""

PAPER_DEPTH = 32
CENTERED_PIXELS = (0.5, 0.5, 0.5)
"""Pixels are normalised to [-1, 1], as for the networks of this plugin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SizedNetwork:
    """A network of another size than its paper's.

    Args:
        name: The architecture.
        width: Channels of the first block (small_cnn, mnist_2conv, resnet18, resnet50), the widening factor
            (wide_resnet) or hidden units (one_hidden); the paper's when left out.
        depth: Of wide_resnet alone: two more than a multiple of 6; 32 when left out.
    """

    name: NetworkName
    width: int | None = None
    depth: int | None = None

    def __post_init__(self) -> None:
        if self.width is not None and (self.width < 1 or self.name not in PAPER_WIDTHS):
            expected = (
                "at least 1" if self.name in PAPER_WIDTHS else f"none: {self.name} has one size"
            )
            raise ValueError(f"width: {expected}, not {self.width}")
        if self.depth is not None and (
            self.name != "wide_resnet" or self.depth < 8 or self.depth % 6 != 2
        ):
            expected = (
                "8, 14, 20, ..."
                if self.name == "wide_resnet"
                else f"none: {self.name} has no option depth"
            )
            raise ValueError(f"depth: {expected}, not {self.depth}")

    def __str__(self) -> str:
        width = PAPER_WIDTHS.get(self.name) if self.width is None else self.width
        depth = (self.depth or PAPER_DEPTH) if self.name == "wide_resnet" else None
        sizes = {"width": width, "depth": depth}
        return ", ".join(
            [self.name, *(f"{name} {size}" for name, size in sizes.items() if size is not None)]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryNetwork:
    """An architecture of a library, or of a published CIFAR checkpoint, by its name there; its inputs have 3 channels.

    Args:
        architecture: As in ``vision/checkpoint``: ``resnet18``, ``wide_resnet_28_10``, ``vit_tiny_patch16_224``.
        library: Where it is from; ``timm`` needs the extra ``hub``.
    """

    architecture: str
    library: Literal["torchvision", "timm"] = "torchvision"

    def __str__(self) -> str:
        return (
            self.architecture
            if self.library == "torchvision"
            else f"{self.architecture} of {self.library}"
        )


NetworkOption: TypeAlias = Annotated[SizedNetwork | LibraryNetwork, UnionByFirstField()]


def chosen_network(
    network: NetworkName | SizedNetwork | LibraryNetwork, *, width: int
) -> SizedNetwork | LibraryNetwork:
    """The network that the options `network` and `width` ask for.

    Raises:
        ValueError: A width was given beside a network that does not take it from there.
    """
    if not isinstance(network, LibraryNetwork):
        return sized_network(network, width=width)
    if width != PAPER_WIDTHS["small_cnn"]:
        found = f"width {width} beside the architecture {network.architecture!r}"
        raise ValueError(f"found {found}; expected it beside small_cnn alone; leave `width` out")
    return network


def sized_network(network: NetworkName | SizedNetwork, *, width: int) -> SizedNetwork:
    """The network of this plugin that the options `network` and `width` ask for.

    Raises:
        ValueError: A width was given beside a network that does not take it from there.
    """
    if network == "small_cnn":
        return SizedNetwork(name=network, width=width)
    if width != PAPER_WIDTHS["small_cnn"]:
        name = network.name if isinstance(network, SizedNetwork) else network
        expected = f"it beside small_cnn alone; write network: {{name: {name}, width: {width}}}"
        raise ValueError(f"found width {width} beside the network {name!r}; expected {expected}")
    return network if isinstance(network, SizedNetwork) else SizedNetwork(name=network)


def build_library_network(network: LibraryNetwork, *, data: DataCard) -> CutNetwork:
    """The architecture for data of this shape and these outputs; its weights from torch's global random state.

    Raises:
        ValueError: The data are not square colour images, or the architecture does not take inputs of their size.
        UnknownName: The library has no such architecture.
    """
    from advtransfer_vision.pretrained.network_spec import default_spec, expect_logits

    if len(data.shape) != 3 or data.shape[0] != 3 or data.shape[1] != data.shape[2]:
        next_step = "give the data set `channels: 3` and a `size`"
        raise ValueError(
            f"found inputs of shape {data.shape} for {network}; expected (3, H, H); {next_step}"
        )
    plain = default_spec(network.architecture, network.library)
    design = replace(
        plain, outputs=data.outputs, pixels=data.shape[1], mean=CENTERED_PIXELS, std=CENTERED_PIXELS
    )
    built = design.build_network()
    expect_logits(built, design)
    return built


def build_network(network: SizedNetwork, *, data: DataCard) -> BlockNetwork:
    """The network for data of this shape and these outputs; its weights from torch's global random state.

    Raises:
        ValueError: The architecture does not take inputs of this shape.
    """
    from advtransfer_vision.architectures import (
        fcnet,
        lenet5,
        mnist_2conv,
        one_hidden,
        resnet,
        small_cnn,
        wide_resnet,
    )

    shape, outputs = data.shape, data.outputs
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
            return resnet.build(
                shape=shape, outputs=outputs, width=width, depth=int(network.name[-2:])
            )
        case "wide_resnet":
            return wide_resnet.build(
                shape=shape, outputs=outputs, width=width, depth=network.depth or PAPER_DEPTH
            )
        case "one_hidden":
            return one_hidden.build(shape=shape, outputs=outputs, width=width)
