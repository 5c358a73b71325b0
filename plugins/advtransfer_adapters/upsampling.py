"""Adapter that enlarges images by a learned transposed convolution."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advtransfer.toolkit.rng import build_initialized
from advtransfer.types import Shape
from advtransfer_adapters import shapes


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
