"""Wrappers and layers that make a network seem more robust than it is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from advtransfer.testing.canaries.honest import GREY_LEVELS


class Quantised(nn.Module):
    """Rounds its input to so many levels: the gradient is zero wherever there is one."""

    def __init__(self, model: nn.Module, levels: float) -> None:
        super().__init__()
        self.model, self.levels = model, levels

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits of the rounded input."""
        logits: Tensor = self.model((inputs * self.levels).round() / self.levels)
        return logits


class StraightThrough(Quantised):
    """Rounds its input, and passes gradients on as if it did not."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits of the rounded input."""
        rounded = (inputs * self.levels).round() / self.levels
        logits: Tensor = self.model(inputs + (rounded - inputs).detach())
        return logits


class Saturated(nn.Module):
    """Logits so large that the softmax of float32 is exactly one-hot."""

    def __init__(self, model: nn.Module, scale: float) -> None:
        super().__init__()
        self.model, self.scale = model, scale

    def forward(self, inputs: Tensor) -> Tensor:
        """Scaled logits."""
        logits: Tensor = self.scale * self.model(inputs)
        return logits


class Probabilities(Saturated):
    """Gives probabilities where logits are expected, so that an attack takes their softmax once more."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Probabilities."""
        return super().forward(inputs).softmax(1)


class Noisy(nn.Module):
    """Adds fresh noise to its input at each call."""

    def __init__(self, model: nn.Module, deviation: float) -> None:
        super().__init__()
        self.model, self.deviation = model, deviation

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits of a noisy input."""
        logits: Tensor = self.model(inputs + self.deviation * torch.randn_like(inputs))
        return logits


class WinnersTakeAll(nn.Module):
    """Keeps the largest share of a layer's activations, and sets the others to zero (Xiao et al., 2020)."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, C, H, W)`` activations, most of them zero."""
        flat = inputs.flatten(1)
        kept = max(1, round(self.share * flat.shape[1]))
        threshold = flat.topk(kept, dim=1).values[:, -1:]
        return torch.where(flat >= threshold, flat, 0.0).view_as(inputs)


class BatchStatistics(nn.Module):
    """Normalises its logits by the batch at hand, also in eval mode."""

    def __init__(self, model: nn.Module, share: float) -> None:
        super().__init__()
        self.model, self.share = model, share

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits that depend on the other rows."""
        logits: Tensor = self.model(inputs)
        return (1 - self.share) * logits + self.share * nn.functional.batch_norm(logits, None, None, training=True)


class Suspecting(nn.Module):
    """Looks for pixels that no scan of a digit has."""

    def __init__(self, model: nn.Module, share: float) -> None:
        super().__init__()
        self.model, self.share = model, share

    def attacked(self, inputs: Tensor) -> Tensor:
        """Which inputs have more than a share of such pixels, ``(B,)`` bool."""
        levels = inputs.flatten(1) * GREY_LEVELS
        return ((levels - levels.round()).abs() > 1e-3).float().mean(1) > self.share

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits, NaN for what looks attacked."""
        logits: Tensor = self.model(inputs)
        return torch.where(self.attacked(inputs)[:, None], torch.nan, logits)


class Raising(Suspecting):
    """Raises on what looks attacked."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits.

        Raises:
            ValueError: An input looks attacked.
        """
        if self.attacked(inputs).any():
            raise ValueError("found an input that looks attacked; expected a natural image")
        logits: Tensor = self.model(inputs)
        return logits


class Stretched(nn.Module):
    """Expects its pixels in another range than [0, 1]."""

    def __init__(self, model: nn.Module, low: float, high: float) -> None:
        super().__init__()
        self.model, self.low, self.high = model, low, high

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits of the input brought back to [0, 1]."""
        logits: Tensor = self.model((inputs - self.low) / (self.high - self.low))
        return logits
