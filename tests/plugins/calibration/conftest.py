"""Models whose logits are a part of the image, so that every confidence is chosen by the test."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.types import DataCard, EvaluationInputs


class ScaledPixels(nn.Module):
    """A model whose logits are the pixels times a factor."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.factor * inputs.flatten(1)
        return logits


def inputs_of(pixels: Tensor, labels: Tensor, factor: float = 1.0) -> EvaluationInputs:
    """Return a model and images ``(N, K)`` of one row, whose logits are their pixels times the factor."""
    count, classes = pixels.shape
    names = tuple(map(str, range(classes)))
    card = DataCard((1, 1, classes), (0.0, 1.0), "classes", classes, names, "")
    images = pixels.float().reshape(count, 1, 1, classes)
    test = ArraySamples(card=card, inputs=images, labels=labels)
    return EvaluationInputs(test=test, model=ScaledPixels(factor).eval())


@pytest.fixture
def pixel_inputs() -> Callable[..., EvaluationInputs]:
    return inputs_of
