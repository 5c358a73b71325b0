"""Layers that the published architectures share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class GlobalMeanPool(nn.Module):
    """Global average pooling, ``(B, C, H, W)`` to ``(B, C)``; for 32 x 32 pixels as in the original code."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the mean over height and width."""
        return inputs.mean([2, 3])


class SamePaddedConv2d(nn.Conv2d):
    """A 3 x 3 convolution with TensorFlow's padding ``SAME``: with stride 2, at the right and the bottom alone."""

    def __init__(self, channels: int, width: int, *, stride: int) -> None:
        super().__init__(channels, width, 3, stride=stride, bias=False)
        # Left, right, top, bottom.
        self.border = [1, 1, 1, 1] if stride == 1 else [0, 1, 0, 1]

    def forward(self, input: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, width, H / stride, W / stride)``."""
        return super().forward(functional.pad(input, self.border))


class ResidualSum(nn.Module):
    """A residual unit that normalises before each convolution, without the names of its layers.

    Subclasses name the layers as the published weights do.
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
        """Return the sum of the residual and the shortcut.

        Args:
            inputs: Inputs of the unit, ``(B, C, H, W)``.
            norms: The two normalisations.
            convolutions: The two convolutions.
            activation: The activation after each normalisation.
            projection: The layer of the shortcut; None to add the inputs unchanged.
            raw: Whether the projection takes the inputs, instead of the activated inputs.
        """
        active = activation(norms[0](inputs))
        shortcut = inputs if projection is None else projection(inputs if raw else active)
        inner = activation(norms[1](convolutions[0](active)))
        return torch.add(shortcut, convolutions[1](inner))
