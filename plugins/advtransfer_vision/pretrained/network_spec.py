"""Specification of a source's network before its weights.

Architecture, sizes, normalisation, blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from advtransfer.errors import AdvTransferError
from advtransfer.toolkit.network import Normalize
from advtransfer.toolkit.pgd import clip_to_bounds
from advtransfer.toolkit.rng import build_initialized
from advtransfer.toolkit.wrapped_networks import ChainedNetwork, HookedNetwork
from advtransfer.types import Dataset, Shape, Tensors
from advtransfer_vision.pretrained import torchvision_networks


class DeterministicAvgPool2d(nn.AdaptiveAvgPool2d):
    """torch's on the CPU; elsewhere the same means as products with fixed matrices.

    CUDA adds up the gradients of torch's own in whatever order its threads come.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C, *output_size)``."""
        if inputs.device.type == "cpu":
            return super().forward(inputs)
        wanted = (
            self.output_size
            if isinstance(self.output_size, tuple)
            else (self.output_size, self.output_size)
        )
        rows, columns = (
            _pooling_matrix(size, size if scaled is None else scaled).to(inputs)
            for size, scaled in zip(inputs.shape[-2:], wanted, strict=True)
        )
        return rows @ inputs @ columns.T


def replace_pooling(model: nn.Module) -> nn.Module:
    """The model with `DeterministicAvgPool2d` in place of torch's own, where that pools to more than one mean."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.AdaptiveAvgPool2d and child.output_size not in (1, (1, 1)):
                setattr(module, name, DeterministicAvgPool2d(child.output_size))
    return model


def _pooling_matrix(size: int, scaled: int) -> Tensor:
    """``(scaled, size)``: what each place gives to each of the means, along one side."""
    return functional.adaptive_avg_pool1d(torch.eye(size, dtype=torch.float64)[None], scaled)[0].T


Library: TypeAlias = Literal["torchvision", "timm"]
CutNetwork: TypeAlias = ChainedNetwork | HookedNetwork

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGENET_CLASSES, IMAGENET_PIXELS = 1000, 224
CIFAR_CLASSES, CIFAR_PIXELS = 10, 32


class ClampedNormalize(nn.Module):
    """`Normalize` after a clamp to [0, 1], as the robustness library's ``InputNormalize`` does it."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same shape."""
        return (clip_to_bounds(inputs, (0, 1)) - self.mean) / self.std


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpec:
    """What a network is made from.

    Args:
        name: The architecture.
        library: Where it is from.
        outputs: Logits.
        pixels: The inputs' height and width; they have three channels.
        mean: Of the normalisation, by channel.
        std: Likewise.
        clamp: Clamp the inputs to [0, 1] before they are normalised.
        imagenet_inputs: As in `torchvision_networks.build_model`.
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
            raise ValueError(
                f"found {found}; expected a value for each of 3 channels, std above 0; correct them"
            )

    @property
    def shape(self) -> Shape:
        """Of one input."""
        return 3, self.pixels, self.pixels

    @property
    def normalization_text(self) -> str:
        """What is done to the inputs, in words."""
        mean, std = (
            ", ".join(f"{value:g}" for value in values) for values in (self.mean, self.std)
        )
        said = f"mean {mean}, std {std}"
        return (
            f"the checkpoint's own (else {said}), after a clamp to [0, 1]" if self.clamp else said
        )

    def with_sizes(
        self, data: Dataset | None, *, outputs: int | None, pixels: int | None
    ) -> NetworkSpec:
        """This design with as many outputs and pixels as are asked for, or as the source's own data has.

        Raises:
            ValueError: What is asked for and the data do not agree, or the data are not square colour images.
        """
        card = data.card() if data is not None else None
        if card is not None and (
            len(card.shape) != 3 or card.shape[0] != 3 or card.shape[1] != card.shape[2]
        ):
            next_step = "give the data set `channels: 3` and a `size`"
            raise ValueError(
                f"found data of shape {card.shape}; expected square colour images (3, H, H); {next_step}"
            )
        classes, size = (card.outputs, card.shape[1]) if card is not None else (None, None)
        return replace(
            self,
            outputs=_agreed_size("outputs", outputs, classes) or self.outputs,
            pixels=_agreed_size("pixels", pixels, size) or self.pixels,
        )

    def draw_network(self, source: torch.Generator) -> CutNetwork:
        """The network, its initial weights drawn from `source`."""
        return build_initialized(self.build_network, source)

    def build_network(self) -> CutNetwork:
        """The network, its initial weights from torch's global random state."""
        model = replace_pooling(self._build_model())
        normalise = (ClampedNormalize if self.clamp else Normalize)(self.mean, self.std)
        if self.head is not None:
            return HookedNetwork(model, blocks=self.blocks, head=self.head, normalise=normalise)
        if self.library == "timm":
            from advtransfer_vision.pretrained import timm_networks

            blocks, head = timm_networks.block_paths(model)
            return HookedNetwork(model, blocks=blocks, head=head, normalise=normalise)
        return ChainedNetwork(model, torchvision_networks.forward_steps(model), normalise)

    def current_names(self, tensors: Tensors) -> dict[str, Tensor]:
        """The tensors of a file under the names that the architecture has today."""
        return (
            torchvision_networks.current_names(self.name, tensors)
            if self.library == "torchvision"
            else dict(tensors)
        )

    def _build_model(self) -> nn.Module:
        if self.library == "timm":
            from advtransfer_vision.pretrained import timm_networks

            return timm_networks.build_model(self.name, outputs=self.outputs, pixels=self.pixels)
        return torchvision_networks.build_model(
            self.name,
            outputs=self.outputs,
            pixels=self.pixels,
            imagenet_inputs=self.imagenet_inputs,
        )


def default_spec(name: str, library: Library = "torchvision") -> NetworkSpec:
    """The design of an architecture as it is when nothing more is said: for ImageNet or, by its name, for CIFAR-10."""
    if library == "torchvision" and torchvision_networks.is_for_cifar(name):
        return NetworkSpec(name=name, outputs=CIFAR_CLASSES, pixels=CIFAR_PIXELS)
    return NetworkSpec(name=name, library=library)


def _agreed_size(what: str, asked: int | None, of_data: int | None) -> int | None:
    if None not in (asked, of_data) and asked != of_data:
        raise ValueError(
            f"found {what} {asked} and data that has {of_data}; expected the same; correct one of them"
        )
    return of_data if asked is None else asked


def expect_logits(network: CutNetwork, design: NetworkSpec) -> None:
    """Run the network once, in eval mode; it is left in train mode, its weights as they were.

    Raises:
        AdvTransferError: It does not take inputs of the design's size, or gives something else than logits.
    """
    inputs = torch.zeros(2, *design.shape)
    try:
        with torch.no_grad():
            logits = network.eval()(inputs)
    except (RuntimeError, ValueError, AssertionError, TypeError, IndexError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        found = f"a {design.name} that fails on inputs of shape {design.shape} ({reason})"
        raise AdvTransferError(
            f"found {found}; expected logits; give the data set another `size`"
        ) from error
    finally:
        network.train()
    if logits.shape != (2, design.outputs):
        found = f"outputs of shape {tuple(logits.shape)} from {design.name} for 2 inputs"
        raise AdvTransferError(
            f"found {found}; expected logits (2, {design.outputs}); take another architecture"
        )
