"""Adapter that enlarges images by a learned transposed convolution."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advtransfer.toolkit.rng import build_initialized
from advtransfer.types import Shape
from advtransfer_adapters import shapes


class Upsampling(nn.Module):
    """One transposed convolution, ``(B, *target)`` to ``(B, *source)``: each side grows by its stride.

    Pixels that the kernel lays beyond the source's frame are cut off, of an odd number the larger half below and to the
    right: the padding ``SAME`` of TensorFlow, with which Chan et al. (2020) worked.
    """

    def __init__(self, target: Shape, source: Shape, *, kernel: int, bias: bool) -> None:
        super().__init__()
        self.size = source[1:]
        tall, wide = (outer // inner for outer, inner in zip(source[1:], target[1:], strict=True))
        self.convolution = nn.ConvTranspose2d(
            target[0],
            source[0],
            kernel,
            stride=(tall, wide),
            padding=(max(kernel - tall, 0) // 2, max(kernel - wide, 0) // 2),
            output_padding=(max(tall - kernel, 0), max(wide - kernel, 0)),
            bias=bias,
        )

    def forward(self, images: Tensor) -> Tensor:
        """The images on the source's frame."""
        height, width = self.size
        laid: Tensor = self.convolution(images)
        return laid[..., :height, :width]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransposedConvolution:
    """An adapter of one layer, trained by the transfer that uses it.

    Args:
        kernel: The sides of its kernel.
        bias: Whether each output channel has an offset.
    """

    kernel: int
    bias: bool

    @property
    def learned(self) -> bool:
        """It is."""
        return True

    def shape(self, *, target: Shape, source: Shape) -> Shape:
        """The source's.

        Raises:
            Inapplicable: The source's height or width is no whole multiple of the target's.
        """
        return shapes.after_transposed_convolution(target, source)

    def module(self, *, target: Shape, source: Shape) -> nn.Module:
        """The untrained map ``(B, *target) -> (B, *source)``; its weights are the same at every call.

        Raises:
            Inapplicable: As `shape`.
        """
        given = self.shape(target=target, source=source)
        return build_initialized(
            lambda: Upsampling(target, given, kernel=self.kernel, bias=self.bias), torch.Generator()
        )
