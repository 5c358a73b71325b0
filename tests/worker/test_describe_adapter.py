from __future__ import annotations

from torch import nn

from advtransfer.worker.fit import describe_adapter


def test_automatic_adapter_is_recorded_with_its_steps() -> None:
    became = nn.Sequential(nn.AvgPool2d(2), nn.Flatten())
    steps = "AvgPool2d(kernel_size=2, stride=2, padding=0) -> Flatten(start_dim=1, end_dim=-1)"

    assert f"adapters/auto: {steps}" == describe_adapter("adapters/auto", became, suits=True)
    assert "adapters/auto: Identity()" == describe_adapter(
        "adapters/auto", nn.Identity(), suits=True
    )


def test_other_adapters_are_recorded_by_component() -> None:
    assert "adapters/resize" == describe_adapter("adapters/resize", nn.AvgPool2d(2), suits=False)
