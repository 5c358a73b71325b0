"""Freezing weights: for good, or while something else is differentiated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


def freeze(module: nn.Module) -> None:
    """Take every parameter of the module out of training."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)


@contextmanager
def weights_frozen(model: nn.Module) -> Iterator[None]:
    """Inside, no gradient with respect to the weights is built; afterwards each parameter is as it was."""
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    freeze(model)
    try:
        yield
    finally:
        for parameter, trained in before:
            parameter.requires_grad_(trained)
