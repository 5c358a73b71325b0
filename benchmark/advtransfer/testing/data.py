"""A tiny data set that a linear model learns in a few steps."""

from __future__ import annotations

import torch

from advtransfer.toolkit.datasets import ArrayDataset
from advtransfer.toolkit.rng import stream_generator
from advtransfer.types import Shape


def toy(
    *,
    classes: int = 3,
    train: int = 60,
    test: int = 30,
    shape: Shape = (1, 4, 4),
    noise: float = 0.1,
    seed: int = 0,
) -> ArrayDataset:
    """Return linearly separable images in [0, 1]: a black-and-white pattern per class, plus noise.

    Args:
        classes: The number of classes; image ``i`` of a part is of class ``i % classes``.
        train: The number of images in the train part.
        test: The number of images in the test part.
        shape: The shape ``(C, H, W)`` of one image.
        noise: The largest difference of a pixel from its pattern. Two patterns differ by 1 in at
            least two pixels.
        seed: The seed of patterns and noise.
    """
    source = stream_generator("toy", seed)
    patterns = torch.randint(2, (classes, *shape), generator=source).to(torch.get_default_dtype())
    # Pixel k marks class k, so that no two patterns are equal.
    patterns.view(classes, -1)[:, :classes] = torch.eye(classes)

    def part(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.arange(count) % classes
        deviations = noise * (2 * torch.rand((count, *shape), generator=source) - 1)
        return (patterns[labels] + deviations).clamp(0, 1), labels

    names = [f"pattern {label}" for label in range(classes)]
    return ArrayDataset({"train": part(train), "test": part(test)}, names=names)
