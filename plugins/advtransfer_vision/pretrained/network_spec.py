"""Specification of a source's network before it has weights: architecture, sizes, normalisation, blocks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from advtransfer.errors import AdvTransferError
from advtransfer.toolkit.module_network import ModuleNetwork
from advtransfer.toolkit.network import Normalize
from advtransfer.toolkit.rng import build_redrawable
from advtransfer.toolkit.wrapped_networks import ChainedNetwork, HookedNetwork
from advtransfer.types import Dataset, Shape, Tensors
from advtransfer_vision.pretrained import torchvision_networks


class DeterministicAvgPool2d(nn.AdaptiveAvgPool2d):
    """Adaptive average pooling whose gradients are deterministic on every device.

    On the CPU this is torch's own. Elsewhere the means are products with fixed matrices, since CUDA adds up the
    gradients of torch's pooling in an order that differs between runs.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Pool ``(B, C, H, W)`` to ``(B, C, *output_size)``."""
        if inputs.device.type == "cpu":
            return super().forward(inputs)
        output_size = self.output_size
        if not isinstance(output_size, tuple):
            output_size = (output_size, output_size)
        height, width = inputs.shape[-2:]
        # A size of None keeps the inputs' size.
        rows = _pooling_matrix(height, output_size[0] or height).to(inputs)
        columns = _pooling_matrix(width, output_size[1] or width).to(inputs)
        return rows @ inputs @ columns.T


def replace_pooling(model: nn.Module) -> nn.Module:
    """Replace adaptive average pooling by `DeterministicAvgPool2d` in a model, and return the model.

    Pooling to a single mean is deterministic already, and stays.
    """
    for module in list(model.modules()):
        for name, child in module.named_children():
            # The exact type, since a subclass may compute something else.
            if type(child) is nn.AdaptiveAvgPool2d and child.output_size not in (1, (1, 1)):
                setattr(module, name, DeterministicAvgPool2d(child.output_size))
    return model


def _pooling_matrix(size: int, means: int) -> Tensor:
    """Return the weight of each of `size` inputs in each of the means, ``(means, size)``."""
    # In float64, so that the matrix is rounded once, to the dtype of the inputs.
    identity = torch.eye(size, dtype=torch.float64)
    return functional.adaptive_avg_pool1d(identity[None], means)[0].T


Library: TypeAlias = Literal["torchvision", "timm"]
CutNetwork: TypeAlias = ModuleNetwork

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
IMAGENET_CLASSES = 1000
IMAGENET_PIXELS = 224
CIFAR_CLASSES = 10
CIFAR_PIXELS = 32


class SourceSpec(Protocol):
    """A network before it has weights: its sizes, its normalisation, and a way to draw it."""

    @property
    def name(self) -> str:
        """The architecture."""

    @property
    def shape(self) -> Shape:
        """Shape of one input."""

    @property
    def outputs(self) -> int:
        """Number of logits."""

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel, for the normalisation."""

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of each channel, for the normalisation."""

    @property
    def clamp(self) -> bool:
        """Whether the file gives the normalisation, after a clamp to [0, 1]."""

    @property
    def normalization_text(self) -> str:
        """Description of the normalisation for the source's card."""

    def draw_network(self, source: torch.Generator) -> CutNetwork:
        """Build the network with initial weights drawn from `source`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpec:
    """The specification of a network.

    Args:
        name: The architecture.
        library: The library of the architecture.
        outputs: Number of logits.
        pixels: Height and width of the inputs, which have three channels.
        mean: Mean of each channel, for the normalisation.
        std: Standard deviation of each channel, for the normalisation.
        clamp: Whether to clamp the inputs to [0, 1] before they are normalised.
        imagenet_inputs: As in `torchvision_networks.build_model`.
        blocks: Paths of the modules where blocks begin; empty for the known ones of the architecture.
        head: Path of the module that gives the logits; required with `blocks`.

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
            import timm  # noqa: F401  # if it is not installed, this fails before any work is done
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
        """Shape of one input."""
        return 3, self.pixels, self.pixels

    @property
    def normalization_text(self) -> str:
        """Description of the normalisation for the source's card."""
        mean = ", ".join(f"{value:g}" for value in self.mean)
        std = ", ".join(f"{value:g}" for value in self.std)
        text = f"mean {mean}, std {std}"
        if self.clamp:
            return f"the checkpoint's own (else {text}), after a clamp to [0, 1]"
        return text

    def with_sizes(
        self, data: Dataset | None, *, outputs: int | None, pixels: int | None
    ) -> NetworkSpec:
        """Return this specification with the given sizes, or with those of the source's own data.

        Args:
            data: The source's own data, if known.
            outputs: Number of logits; None for that of the data, or else the present one.
            pixels: Height and width of the inputs; likewise.

        Raises:
            ValueError: A given size differs from that of the data, or the data are not square colour images.
        """
        data_outputs: int | None = None
        data_pixels: int | None = None
        if data is not None:
            card = data.card()
            require_square_rgb(card.shape, found=f"data of shape {card.shape}")
            data_outputs = card.outputs
            data_pixels = card.shape[1]
        return replace(
            self,
            outputs=_agreed_size("outputs", outputs, data_outputs) or self.outputs,
            pixels=_agreed_size("pixels", pixels, data_pixels) or self.pixels,
        )

    def draw_network(self, source: torch.Generator) -> CutNetwork:
        """Build the network with initial weights drawn from `source`."""
        return build_redrawable(self.build_network, source)

    def build_network(self) -> CutNetwork:
        """Build the network with initial weights from torch's global random state."""
        model = replace_pooling(self._build_model())
        normalise = Normalize(self.mean, self.std, clamp=self.clamp)
        # The forward pass is known step by step for torchvision's families alone: a
        # `ChainedNetwork` can compute frozen blocks once, a `HookedNetwork` cannot.
        if self.head is not None:
            return HookedNetwork(model, blocks=self.blocks, head=self.head, normalise=normalise)
        if self.library == "timm":
            from advtransfer_vision.pretrained import timm_networks

            blocks, head = timm_networks.block_paths(model)
            return HookedNetwork(model, blocks=blocks, head=head, normalise=normalise)
        return ChainedNetwork(model, torchvision_networks.forward_steps(model), normalise)

    def current_names(self, tensors: Tensors) -> dict[str, Tensor]:
        """Return the tensors of a file under the names that the architecture has today."""
        if self.library == "torchvision":
            return torchvision_networks.current_names(self.name, tensors)
        return dict(tensors)

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
    """Return the specification of an architecture for ImageNet or, for names of CIFAR architectures, for CIFAR-10."""
    if library == "torchvision" and torchvision_networks.is_for_cifar(name):
        return NetworkSpec(name=name, outputs=CIFAR_CLASSES, pixels=CIFAR_PIXELS)
    return NetworkSpec(name=name, library=library)


def require_square_rgb(shape: Shape, *, found: str) -> None:
    """Raise a ValueError unless inputs are square colour images ``(3, H, H)``; `found` begins its message."""
    if len(shape) == 3 and shape[0] == 3 and shape[1] == shape[2]:
        return
    next_step = "give the data set `channels: 3` and a `size`"
    raise ValueError(f"found {found}; expected square colour images (3, H, H); {next_step}")


def _agreed_size(option: str, requested: int | None, of_data: int | None) -> int | None:
    """Return the size that an option and the data agree on, either of which may be unknown."""
    if None not in (requested, of_data) and requested != of_data:
        raise ValueError(
            f"found {option} {requested} and data that has {of_data}; expected the same; correct one of them"
        )
    return of_data if requested is None else requested


def expect_logits(network: CutNetwork, spec: NetworkSpec) -> None:
    """Run a network once in eval mode; it is left in train mode with its weights unchanged.

    Raises:
        AdvTransferError: The network fails on inputs of the specified size, or does not return logits.
    """
    inputs = torch.zeros(2, *spec.shape)
    try:
        with torch.no_grad():
            logits = network.eval()(inputs)
    except (RuntimeError, ValueError, AssertionError, TypeError, IndexError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        found = f"a {spec.name} that fails on inputs of shape {spec.shape} ({reason})"
        raise AdvTransferError(
            f"found {found}; expected logits; give the data set another `size`"
        ) from error
    finally:
        network.train()
    if logits.shape != (2, spec.outputs):
        found = f"outputs of shape {tuple(logits.shape)} from {spec.name} for 2 inputs"
        raise AdvTransferError(
            f"found {found}; expected logits (2, {spec.outputs}); choose another architecture"
        )
