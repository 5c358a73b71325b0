"""Maps between colour and grey."""

from __future__ import annotations

from torch import Tensor, nn


class ChannelMean(nn.Module):
    """The mean over the channels, ``(B, C, H, W)`` to ``(B, 1, H, W)``: each channel gets 1 / C of the gradient."""

    def forward(self, images: Tensor) -> Tensor:
        """One channel."""
        return images.mean(1, keepdim=True)


class ChannelRepeat(nn.Module):
    """One channel as several equal ones, ``(B, 1, H, W)`` to ``(B, channels, H, W)``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, images: Tensor) -> Tensor:
        """The channel, repeated."""
        return images.repeat(1, self.channels, 1, 1)
