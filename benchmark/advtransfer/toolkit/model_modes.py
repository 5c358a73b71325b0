"""Context managers that change how a model runs: frozen weights, eval mode, double backward."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from advtransfer.errors import Inapplicable


def freeze_weights(module: nn.Module) -> None:
    """Take every parameter of the module out of training."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)


@contextmanager
def weights_frozen(model: nn.Module) -> Iterator[None]:
    """Inside, no gradient with respect to the weights is built; afterwards each parameter is as it was."""
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    freeze_weights(model)
    try:
        yield
    finally:
        for parameter, trained in before:
            parameter.requires_grad_(trained)


NO_SECOND_DERIVATIVE = (
    "is not implemented",
    "not differentiable",
    "does not support double backward",
)
"""What torch's errors say of an operation that has no second derivative."""


@contextmanager
def allow_double_backward() -> Iterator[None]:
    """Inside, attention is computed step by step: torch's fused kernels have no second derivative.

    Raises:
        Inapplicable: Another operation has none.
    """
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    except RuntimeError as error:
        if "derivative" in str(error) and any(one in str(error) for one in NO_SECOND_DERIVATIVE):
            raise Inapplicable(
                f"the network has an operation without a second derivative ({error})"
            ) from error
        raise


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in eval mode; afterwards each module is in the mode it was in."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training
