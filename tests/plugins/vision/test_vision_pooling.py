"""Adaptive pooling on a GPU: the means and gradients of torch's own, by operations that CUDA repeats bit for bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from advtransfer.testing.pretend_cuda import pretend_cuda
from advtransfer.worker.process import deterministic_algorithms
from advtransfer_vision.pretrained.network_spec import DeterministicAvgPool2d, replace_pooling


def means_and_gradients(module: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """The module's outputs, and the gradients of their sum of squares."""
    inputs = inputs.detach().requires_grad_()
    outputs = module(inputs)
    (gradients,) = torch.autograd.grad(outputs.square().sum(), inputs)
    return outputs.detach().cpu(), gradients.cpu()


@pytest.mark.parametrize("output_size", [(6, 6), 7, (None, 3), (5, 1)])
@pytest.mark.parametrize("shape", [(2, 3, 13, 13), (1, 2, 4, 9), (2, 1, 6, 6)])
def test_a_gpu_gives_the_means_and_gradients_of_the_cpu(
    shape: tuple[int, ...], output_size: object
) -> None:
    own = nn.AdaptiveAvgPool2d(output_size)  # type: ignore[arg-type]  # as torch takes it
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = means_and_gradients(own, inputs)
    model = replace_pooling(nn.Sequential(own))
    with pretend_cuda(), deterministic_algorithms():
        on_gpu = means_and_gradients(model, inputs.cuda())

    assert isinstance(next(model.children()), DeterministicAvgPool2d)
    for actual, wanted in zip(on_gpu, expected, strict=True):
        torch.testing.assert_close(actual, wanted)


def test_gpu_refuses_the_gradients_of_torch_pooling() -> None:
    with (
        pretend_cuda(),
        deterministic_algorithms(),
        pytest.raises(RuntimeError, match="deterministic"),
    ):
        means_and_gradients(nn.AdaptiveAvgPool2d(6), torch.randn(1, 1, 9, 9).cuda())


def test_pooling_to_a_single_mean_is_not_replaced() -> None:
    model = replace_pooling(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.AdaptiveAvgPool2d((1, 1))))

    assert {nn.AdaptiveAvgPool2d} == {type(module) for module in model.children()}
