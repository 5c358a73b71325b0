"""A tiny data set that a linear model learns in a moment."""

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
    """Linearly separable images in [0, 1]: one random black-and-white pattern a class, plus noise.

    Args:
        classes: How many; image ``i`` of a part is of class ``i % classes``.
        train: Images in the train part.
        test: Images in the test part.
        shape: Of one image, ``(C, H, W)``.
        noise: How far a pixel may lie from its pattern; two patterns lie 1 apart in at least two pixels.
        seed: Draws the patterns and the noise.
    """
    source = stream_generator("toy", seed)
    patterns = torch.randint(2, (classes, *shape), generator=source).to(torch.get_default_dtype())
    # pixel k marks class k, so that no two patterns are alike
    patterns.view(classes, -1)[:, :classes] = torch.eye(classes)

    def part(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.arange(count) % classes
        drift = noise * (2 * torch.rand((count, *shape), generator=source) - 1)
        return (patterns[labels] + drift).clamp(0, 1), labels

    return ArrayDataset(
        {"train": part(train), "test": part(test)}, names=[f"pattern {k}" for k in range(classes)]
    )
