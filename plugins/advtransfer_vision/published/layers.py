"""Layers that the published architectures share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class GlobalMeanPool(nn.Module):
    """Global average pooling: ``(B, C, H, W)`` to ``(B, C)``; at 32 x 32 pixels what the original code does."""

    def forward(self, inputs: Tensor) -> Tensor:
        """The mean over height and width."""
        return inputs.mean([2, 3])


class SamePaddedConv2d(nn.Conv2d):
    """A 3 x 3 convolution padded as TensorFlow's ``SAME``: with stride 2, to the right and at the bottom alone."""

    def __init__(self, channels: int, width: int, *, stride: int) -> None:
        super().__init__(channels, width, 3, stride=stride, bias=False)
        self.border = [1, 1, 1, 1] if stride == 1 else [0, 1, 0, 1]

    def forward(self, input: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, width, H / stride, W / stride)``."""
        return super().forward(functional.pad(input, self.border))


class ResidualSum(nn.Module):
    """A residual unit that normalises before each convolution; how its layers are called is left to those below.

    With `raw`, the shortcut starts from the inputs as they are, else from behind the first activation. A unit without
    `projection` adds the inputs as they are.
    """

    def residual_sum(
        self,
        inputs: Tensor,
        *,
        norms: tuple[nn.Module, nn.Module],
        convolutions: tuple[nn.Module, nn.Module],
        activation: nn.Module,
        projection: nn.Module | None,
        raw: bool = False,
    ) -> Tensor:
        """The residual and the shortcut, added."""
        active = activation(norms[0](inputs))
        shortcut = inputs if projection is None else projection(inputs if raw else active)
        inner = activation(norms[1](convolutions[0](active)))
        return torch.add(shortcut, convolutions[1](inner))
