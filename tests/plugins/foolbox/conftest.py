"""Linear models, of which the exact answer is known."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.types import DataCard

COUNT = 200


@pytest.fixture(scope="session")
def linear_digits() -> tuple[nn.Sequential, ArraySamples]:
    """Logistic regression on scikit-learn's digits, and 200 that it was not trained on."""
    pixels, labels = load_digits(return_X_y=True)
    found = LogisticRegression(max_iter=2000).fit(pixels[COUNT:] / 16, labels[COUNT:])
    inputs = torch.tensor(pixels[:COUNT] / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    card = DataCard((1, 8, 8), (0.0, 1.0), "classes", 10, tuple(map(str, range(10))), "")
    test = ArraySamples(
        card=card, inputs=inputs, labels=torch.tensor(labels[:COUNT], dtype=torch.int64)
    )
    return _linear(torch.tensor(found.coef_), torch.tensor(found.intercept_)), test


@pytest.fixture(scope="session")
def two_linear_classes() -> tuple[nn.Sequential, ArraySamples]:
    """A plane whose weights come in ties; a fifth of the pixels lie on the box, and every tenth label is wrong."""
    source = torch.Generator().manual_seed(0)
    along = torch.randn(64, generator=source).mul(3).round().div(3)
    model = _linear(torch.stack([-along, along]), torch.stack([along.sum() / 2, -along.sum() / 2]))
    inputs = (1.4 * torch.rand((COUNT, 1, 8, 8), generator=source) - 0.2).clamp(0, 1)
    labels = model(inputs).argmax(1)
    labels[::10] = 1 - labels[::10]
    card = DataCard((1, 8, 8), (0.0, 1.0), "classes", 2, ("below", "above"), "")
    return model, ArraySamples(card=card, inputs=inputs, labels=labels)


def _linear(weight: Tensor, bias: Tensor) -> nn.Sequential:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return nn.Sequential(nn.Flatten(), layer).eval()
