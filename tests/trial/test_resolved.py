from __future__ import annotations

from torch import nn

from advtransfer.node import Node
from advtransfer.trial.fit import described


def test_the_record_says_what_an_automatic_adapter_became() -> None:
    auto = Node("adapter", "adapters/auto")
    became = nn.Sequential(nn.AvgPool2d(2), nn.Flatten())
    steps = "AvgPool2d(kernel_size=2, stride=2, padding=0) -> Flatten(start_dim=1, end_dim=-1)"

    assert f"adapters/auto: {steps}" == described(auto, became)
    assert "adapters/auto: Identity()" == described(auto, nn.Identity())


def test_other_adapters_are_told_by_their_component() -> None:
    assert "adapters/resize" == described(Node("adapter", "adapters/resize"), nn.AvgPool2d(2))
    assert "identity" == described(None, None)
