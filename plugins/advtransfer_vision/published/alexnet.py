"""AlexNet (Krizhevsky et al., 2012) for images of 32 x 32 pixels: five convolutions and one linear layer."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from advtransfer.toolkit.wrapped_networks import ForwardStep

ALEXNET_WIDTH = 64


class CifarAlexNet(nn.Module):
    """The convolutions of torchvision's AlexNet, the first one padded by 5, with 2 x 2 pooling, and a head.

    Args:
        width: Channels of the first convolution; usually 64, for 64, 192, 384, 256 and 256 channels.
        outputs: Number of logits.
    """

    def __init__(self, *, width: int, outputs: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, width, 11, stride=4, padding=5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 3 * width, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(3 * width, 6 * width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(6 * width, 4 * width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(4 * width, 4 * width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(4 * width, outputs)

    def forward_steps(self) -> Iterator[ForwardStep]:
        """Yield the steps of the forward pass."""
        yield from ("features", "flatten", "classifier")

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``(B, 3, 32, 32)`` normalised pixels to ``(B, outputs)`` logits."""
        logits: Tensor = self.classifier(self.flatten(self.features(inputs)))
        return logits
