"""A source's network before its weights: an architecture by name, sized, normalised, cut into blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from advtransfer.toolkit.attack import boxed
from advtransfer.toolkit.blocks import ChainedNetwork
from advtransfer.toolkit.hooked import HookedNetwork
from advtransfer.toolkit.network import Normalise
from advtransfer.toolkit.streams import initialised
from advtransfer.types import Dataset, Shape, Tensors
from advtransfer_vision.pretrained import orders, zoo
from advtransfer_vision.pretrained.pooling import fixed_means

Library: TypeAlias = Literal["torchvision", "timm"]
Cut: TypeAlias = ChainedNetwork | HookedNetwork

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGENET_CLASSES, IMAGENET_PIXELS = 1000, 224
CIFAR_CLASSES, CIFAR_PIXELS = 10, 32


class ClampedNormalise(nn.Module):
    """`Normalise` after a clamp to [0, 1], as the robustness library's ``InputNormalize`` does it."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same shape."""
        return (boxed(inputs, (0, 1)) - self.mean) / self.std


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """What a network is made from.

    Args:
        name: The architecture.
        library: Where it is from.
        outputs: Logits.
        pixels: The inputs' height and width; they have three channels.
        mean: Of the normalisation, by channel.
        std: Likewise.
        clamp: Clamp the inputs to [0, 1] before they are normalised.
        imagenet_inputs: As in `zoo.build`.
        blocks: Paths of the modules where blocks begin; empty for those that are known of the architecture.
        head: The path of the module that gives the logits; goes with `blocks`.

    Raises:
        ValueError: `blocks` without `head` or the reverse, or a normalisation that is not for three channels.
    """

    name: str
    library: Library = "torchvision"
    outputs: int = IMAGENET_CLASSES
    pixels: int = IMAGENET_PIXELS
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    clamp: bool = False
    imagenet_inputs: bool = False
    blocks: tuple[str, ...] = ()
    head: str | None = None

    def __post_init__(self) -> None:
        if self.library == "timm":
            import timm  # noqa: F401  # where it is absent, this is told before any work is done
        if bool(self.blocks) != (self.head is not None):
            found = f"blocks {list(self.blocks)} and head {self.head!r}"
            raise ValueError(f"found {found}; expected both or neither; name the modules of both")
        if not len(self.mean) == len(self.std) == 3 or min(self.std) <= 0:
            found = f"mean {self.mean} and std {self.std}"
            raise ValueError(f"found {found}; expected a value for each of 3 channels, std above 0; correct them")

    @property
    def shape(self) -> Shape:
        """Of one input."""
        return 3, self.pixels, self.pixels

    @property
    def normalisation(self) -> str:
        """What is done to the inputs, in words."""
        mean, std = (", ".join(f"{value:g}" for value in values) for values in (self.mean, self.std))
        said = f"mean {mean}, std {std}"
        return f"the checkpoint's own (else {said}), after a clamp to [0, 1]" if self.clamp else said

    def sized(self, data: Dataset | None, *, outputs: int | None, pixels: int | None) -> Design:
        """This design with as many outputs and pixels as are asked for, or as the source's own data has.

        Raises:
            ValueError: What is asked for and the data do not agree, or the data are not square colour images.
        """
        card = data.card() if data is not None else None
        if card is not None and (len(card.shape) != 3 or card.shape[0] != 3 or card.shape[1] != card.shape[2]):
            next_step = "give the data set `channels: 3` and a `size`"
            raise ValueError(f"found data of shape {card.shape}; expected square colour images (3, H, H); {next_step}")
        classes, size = (card.outputs, card.shape[1]) if card is not None else (None, None)
        return replace(
            self,
            outputs=_agreed("outputs", outputs, classes) or self.outputs,
            pixels=_agreed("pixels", pixels, size) or self.pixels,
        )

    def drawn(self, source: torch.Generator) -> Cut:
        """The network, its initial weights drawn from `source`."""
        return initialised(self.built, source)

    def built(self) -> Cut:
        """The network, its initial weights from torch's global random state."""
        model = fixed_means(self._plain())
        normalise = (ClampedNormalise if self.clamp else Normalise)(self.mean, self.std)
        if self.head is not None:
            return HookedNetwork(model, blocks=self.blocks, head=self.head, normalise=normalise)
        if self.library == "timm":
            from advtransfer_vision.pretrained import timm_zoo

            blocks, head = timm_zoo.places(model)
            return HookedNetwork(model, blocks=blocks, head=head, normalise=normalise)
        return ChainedNetwork(model, orders.steps(model), normalise)

    def own_names(self, tensors: Tensors) -> dict[str, Tensor]:
        """The tensors of a file under the names that the architecture has today."""
        return zoo.own_names(self.name, tensors) if self.library == "torchvision" else dict(tensors)

    def _plain(self) -> nn.Module:
        if self.library == "timm":
            from advtransfer_vision.pretrained import timm_zoo

            return timm_zoo.build(self.name, outputs=self.outputs, pixels=self.pixels)
        return zoo.build(self.name, outputs=self.outputs, pixels=self.pixels, imagenet_inputs=self.imagenet_inputs)


def named_design(name: str, library: Library = "torchvision") -> Design:
    """The design of an architecture as it is when nothing more is said: for ImageNet or, by its name, for CIFAR-10."""
    if library == "torchvision" and zoo.for_cifar(name):
        return Design(name=name, outputs=CIFAR_CLASSES, pixels=CIFAR_PIXELS)
    return Design(name=name, library=library)


def _agreed(what: str, asked: int | None, of_data: int | None) -> int | None:
    if None not in (asked, of_data) and asked != of_data:
        raise ValueError(f"found {what} {asked} and data that has {of_data}; expected the same; correct one of them")
    return of_data if asked is None else asked
