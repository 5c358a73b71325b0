"""Learned maps: a fixed map with a trainable change to it, and a transposed convolution.

The training of the former starts at the fixed map. The parameters describe the difference from it, so that weight
decay pulls towards the fixed map and not towards a black image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.types import Shape
from advtransfer_adapters import shapes
from advtransfer_adapters.options import Form, Full, LowRank, PerChannel

MAX_MATRIX_ENTRIES = 10_000_000
"""Largest number of entries of a full matrix: 40 MB, and as much again for each momentum."""


def learned_map(form: Form, base: nn.Module, *, target: Shape) -> nn.Module:
    """Return the map ``(B, *target) -> (B, *source)`` of this form around `base`, in eval mode.

    Raises:
        Inapplicable: The inputs are too large for the form, or it does not apply to them.
    """
    # In eval mode a random pad is centred, so that its margin is well defined.
    base = base.cpu().eval()
    with torch.inference_mode():
        source = tuple(base(torch.zeros(1, *target)).shape[1:])
    if isinstance(form, LowRank):
        return LowRankMap(base, target, source, rank=form.rank).eval()
    if isinstance(form, Full):
        return FullMap(base, target, source).eval()
    if isinstance(form, PerChannel):
        return ChannelMap(base, target, mixing=form.mixing).eval()
    where = _margin_mask(base, target) if form.where == "margin" else None
    return SpatialMap(base, source, scaled=form.scale, where=where, bound=form.bound).eval()


class FullMap(nn.Module):
    """``base(x) + change x + offset``.

    Raises:
        Inapplicable: The matrix is too large.
    """

    def __init__(self, base: nn.Module, target: Shape, source: Shape) -> None:
        super().__init__()
        rows = math.prod(source)
        columns = math.prod(target)
        if rows * columns > MAX_MATRIX_ENTRIES:
            raise Inapplicable(
                f"a full map from inputs {target} to {source} has {rows} x {columns} entries, "
                f"more than {MAX_MATRIX_ENTRIES}; use the form low_rank, per_channel or spatial"
            )
        self.base = base
        self.change = nn.Parameter(torch.empty(rows, columns))
        self.offset = nn.Parameter(torch.empty(source))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Reset to the fixed map."""
        nn.init.zeros_(self.change)
        nn.init.zeros_(self.offset)

    def forward(self, images: Tensor) -> Tensor:
        """Return the source's inputs, ``(B, *source)``, for ``(B, *target)``."""
        change = functional.linear(images.flatten(1), self.change).view(-1, *self.offset.shape)
        adapted: Tensor = self.base(images) + change + self.offset
        return adapted


class LowRankMap(nn.Module):
    """``base(x) + up (down x) + offset``, as in LoRA (Hu et al., 2022).

    `up` starts at 0 and `down` is drawn.
    """

    def __init__(self, base: nn.Module, target: Shape, source: Shape, *, rank: int) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Parameter(torch.empty(rank, math.prod(target)))
        self.up = nn.Parameter(torch.empty(math.prod(source), rank))
        self.offset = nn.Parameter(torch.empty(source))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Reset to the fixed map, and draw the directions to learn from."""
        # torch initialises its linear layers in this way.
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        nn.init.zeros_(self.up)
        nn.init.zeros_(self.offset)

    def forward(self, images: Tensor) -> Tensor:
        """Return the source's inputs, ``(B, *source)``, for ``(B, *target)``."""
        directions = functional.linear(images.flatten(1), self.down)
        change = functional.linear(directions, self.up)
        adapted: Tensor = self.base(images) + change.view(-1, *self.offset.shape) + self.offset
        return adapted


class ChannelMap(nn.Module):
    """``base(x + change x + offset)`` with a matrix over channels, or a factor for each.

    Raises:
        Inapplicable: The inputs are not images.
    """

    def __init__(self, base: nn.Module, target: Shape, *, mixing: bool) -> None:
        super().__init__()
        if len(target) != 3:
            raise Inapplicable(
                f"found inputs {target}; the form per_channel works on images (C, H, W); use low_rank"
            )
        channels = target[0]
        self.base = base
        self.mixing = mixing
        self.change = nn.Parameter(torch.empty((channels, channels) if mixing else (channels,)))
        self.offset = nn.Parameter(torch.empty(channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Reset to the fixed map."""
        nn.init.zeros_(self.change)
        nn.init.zeros_(self.offset)

    def forward(self, images: Tensor) -> Tensor:
        """Return the source's inputs, ``(B, *source)``, for ``(B, C, H, W)``."""
        matrix = self.change if self.mixing else self.change.diag()
        change = functional.conv2d(images, matrix[:, :, None, None], self.offset)
        adapted: Tensor = self.base(images + change)
        return adapted


class SpatialMap(nn.Module):
    """``(1 + stretch) * base(x) + program``, with one number for each entry of the source's input.

    Args:
        base: The fixed map.
        source: Output shape of the fixed map.
        scaled: Train the stretch.
        where: Mask of the entries with a program; None for all.
        bound: Largest absolute value of the program; None for no limit.
    """

    where: Tensor | None

    def __init__(
        self,
        base: nn.Module,
        source: Shape,
        *,
        scaled: bool,
        where: Tensor | None,
        bound: float | None,
    ) -> None:
        super().__init__()
        self.base = base
        self.bound = bound
        self.stretch = nn.Parameter(torch.empty(source)) if scaled else None
        self.raw = nn.Parameter(torch.empty(source))
        # The fixed map determines the mask, so saved weights need not contain it.
        self.register_buffer("where", where, persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Reset to the fixed map."""
        nn.init.zeros_(self.raw)
        if self.stretch is not None:
            nn.init.zeros_(self.stretch)

    def program(self) -> Tensor:
        """Return the offset added to every image, of the source's shape."""
        # tanh bounds the program and keeps a gradient everywhere, where a clamp would lose it.
        program = self.raw if self.bound is None else self.bound * self.raw.tanh()
        return program if self.where is None else program * self.where

    def forward(self, images: Tensor) -> Tensor:
        """Return the source's inputs, ``(B, *source)``, for ``(B, *target)``."""
        adapted: Tensor = self.base(images)
        scaled = adapted if self.stretch is None else adapted + self.stretch * adapted
        return scaled + self.program()


def _margin_mask(base: nn.Module, target: Shape) -> Tensor:
    """Return the mask, 0 or 1, of the fixed map's outputs that do not depend on its input.

    Raises:
        Inapplicable: There are none.
    """
    # An entry that depends on the input is equal at 0 and at a random input with probability 0.
    images = torch.rand(1, *target, generator=stream_generator("adapters", "margin"))
    with torch.inference_mode():
        margin: Tensor = base(images)[0] == base(torch.zeros(1, *target))[0]
    if not margin.any():
        raise Inapplicable(
            "the adapter leaves no margin around the image; use adapters/pad, or where: everywhere"
        )
    return margin.float().clone()


class Upsampling(nn.Module):
    """One transposed convolution, ``(B, *target)`` to ``(B, *source)``.

    Each side grows by its stride. Pixels beyond the source's size are cut off, of an odd number the
    larger half below and to the right: the padding ``SAME`` of TensorFlow, which Chan et al. (2020)
    used.
    """

    def __init__(self, target: Shape, source: Shape, *, kernel: int, bias: bool) -> None:
        super().__init__()
        self.size = source[1:]
        vertical = source[1] // target[1]
        horizontal = source[2] // target[2]
        self.convolution = nn.ConvTranspose2d(
            target[0],
            source[0],
            kernel,
            stride=(vertical, horizontal),
            # The larger half of an odd padding is cut off in `forward`.
            padding=(max(kernel - vertical, 0) // 2, max(kernel - horizontal, 0) // 2),
            # A stride larger than the kernel leaves pixels that no kernel covers.
            output_padding=(max(vertical - kernel, 0), max(horizontal - kernel, 0)),
            bias=bias,
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the enlarged images, ``(B, *source)``."""
        height, width = self.size
        enlarged: Tensor = self.convolution(images)
        return enlarged[..., :height, :width]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransposedConvolution:
    """Adapter of one layer, trained by the transfer that uses it.

    Args:
        kernel: Side of the kernel.
        bias: Give each output channel an offset.
    """

    kernel: int
    bias: bool

    @property
    def learned(self) -> bool:
        """True: its layer is trained."""
        return True

    def shape(self, *, target: Shape, source: Shape) -> Shape:
        """Return the source's shape.

        Raises:
            Inapplicable: The source's height or width is no whole multiple of the target's.
        """
        return shapes.after_transposed_convolution(target, source)

    def module(self, *, target: Shape, source: Shape) -> nn.Module:
        """Return the untrained map ``(B, *target) -> (B, *source)``, always with the same weights.

        Raises:
            Inapplicable: The source's height or width is no whole multiple of the target's.
        """
        output_shape = self.shape(target=target, source=source)
        return build_initialized(
            lambda: Upsampling(target, output_shape, kernel=self.kernel, bias=self.bias),
            torch.Generator(),
        )
