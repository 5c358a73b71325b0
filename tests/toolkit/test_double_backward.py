from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.model_modes import allow_double_backward


def _fused(inputs: Tensor) -> Tensor:
    return functional.scaled_dot_product_attention(inputs, inputs, inputs)


def _module(inputs: Tensor) -> Tensor:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    return attention(inputs, inputs, inputs, need_weights=False)[0]  # type: ignore[no-any-return]  # torch leaves it open


@pytest.mark.parametrize(("attend", "shape"), [(_fused, (2, 1, 4, 8)), (_module, (2, 4, 8))])
def test_gradients_of_attention_can_be_differentiated(
    attend: Callable[[Tensor], Tensor], shape: tuple[int, ...]
) -> None:
    inputs = torch.randn(shape, requires_grad=True)
    with allow_double_backward():
        outputs = attend(inputs)
        (gradient,) = torch.autograd.grad(outputs.square().sum(), inputs, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), inputs)

    assert second.isfinite().all()
    assert second.any()


def test_an_operation_without_a_second_derivative_is_inapplicable() -> None:
    inputs = torch.randn(2, 1, 4, 8, requires_grad=True)
    outputs = _fused(inputs)  # outside, with a fused kernel
    (gradient,) = torch.autograd.grad(outputs.square().sum(), inputs, create_graph=True)
    with (
        pytest.raises(Inapplicable, match="an operation without a second derivative"),
        allow_double_backward(),
    ):
        torch.autograd.grad(gradient.square().sum(), inputs)


def test_other_errors_are_raised_unchanged() -> None:
    with pytest.raises(RuntimeError, match="size of tensor"), allow_double_backward():
        torch.ones(2) + torch.ones(3)
