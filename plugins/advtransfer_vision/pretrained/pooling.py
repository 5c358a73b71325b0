"""Adaptive pooling whose gradients CUDA gives with the same bits again."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class FixedMeans(nn.AdaptiveAvgPool2d):
    """torch's on the CPU; elsewhere the same means as products with fixed matrices.

    CUDA adds up the gradients of torch's own in whatever order its threads come.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C, *output_size)``."""
        if inputs.device.type == "cpu":
            return super().forward(inputs)
        wanted = self.output_size if isinstance(self.output_size, tuple) else (self.output_size, self.output_size)
        rows, columns = (
            _shares(size, size if scaled is None else scaled).to(inputs)
            for size, scaled in zip(inputs.shape[-2:], wanted, strict=True)
        )
        return rows @ inputs @ columns.T


def fixed_means(model: nn.Module) -> nn.Module:
    """The model with `FixedMeans` in place of torch's own, where that pools to more than one mean."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.AdaptiveAvgPool2d and child.output_size not in (1, (1, 1)):
                setattr(module, name, FixedMeans(child.output_size))
    return model


def _shares(size: int, scaled: int) -> Tensor:
    """``(scaled, size)``: what each place gives to each of the means, along one side."""
    return functional.adaptive_avg_pool1d(torch.eye(size, dtype=torch.float64)[None], scaled)[0].T
