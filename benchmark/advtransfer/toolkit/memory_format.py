"""The order in which the numbers of images and convolutions lie in memory while training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def prefers_channels_last(model: nn.Module, device: torch.device) -> bool:
    """Return True if the model trains faster with the channels of a pixel side by side.

    On a CPU convolutions do, by about a fifth for many input channels and by a factor of 5 for one,
    where oneDNN has no kernel for the other order. On a GPU those do that compute in bfloat16:
    float32 without TF32 has no kernel for it.

    Args:
        model: The model.
        device: The device of the training.
    """
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    if device.type != "cpu":
        return bool(convolutions) and torch.is_autocast_enabled(device.type)
    return bool(convolutions) and all(map(_is_safe_on_cpu, convolutions))


def _is_safe_on_cpu(convolution: nn.Conv2d) -> bool:
    """Return False for convolutions that oneDNN may compute wrongly in channels-last order.

    The backward pass of strided 1 x 1 convolutions, such as the shortcuts of a ResNet, writes
    beyond its memory (torch 2.14 with AVX2, channels that are no multiple of 8). Dilated and
    grouped ones were not tried.
    """
    is_strided_pixel = convolution.kernel_size == (1, 1) and convolution.stride != (1, 1)
    is_plain = convolution.groups == 1 and convolution.dilation == (1, 1)
    return is_plain and not is_strided_pixel


@contextmanager
def channels_last_weights(model: nn.Module, *, enabled: bool) -> Iterator[None]:
    """Keep the weights of convolutions channels-last in the block, and in torch's order after it.

    Convolutions give images of that order, whatever the order of their inputs. Values, names and
    shapes stay the same, and so do the parameters' objects.
    """
    if not enabled:
        yield
        return
    _reorder(model, torch.channels_last)
    yield
    # Not after an error, which leaves no model that is used.
    _reorder(model, torch.contiguous_format)


def _reorder(model: nn.Module, order: torch.memory_format) -> None:
    """Give all four-dimensional parameters and buffers of the model an order in memory."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.ndim == 4:
            tensor.data = _ordered(tensor.data, order)


def _ordered(tensor: Tensor, order: torch.memory_format) -> Tensor:
    """Return the tensor ``(A, B, C, D)`` with exactly the strides of the order.

    `Tensor.contiguous` keeps other strides where a dimension has size 1, and torch then takes a
    convolution of one input channel for one in the other order.
    """
    ordered = torch.empty_like(tensor, memory_format=order)
    return tensor if ordered.stride() == tensor.stride() else ordered.copy_(tensor)
