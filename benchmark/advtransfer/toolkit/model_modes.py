"""Context managers that change how a model runs: frozen weights, eval mode, double backward."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from advtransfer.errors import Inapplicable


def freeze_weights(module: nn.Module) -> None:
    """Set ``requires_grad`` of every parameter to False, in place."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)


def freeze_batch_statistics(module: nn.Module) -> None:
    """Put every batch normalisation in eval mode, in place: it keeps and uses its running averages.

    A layer that has none uses the statistics of its batch in either mode.
    """
    for layer in module.modules():
        # torch has no public name for the class of all batch normalisations.
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.eval()


@contextmanager
def weights_frozen(model: nn.Module) -> Iterator[None]:
    """Build no gradients of the weights in the block; restore each parameter after it."""
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    freeze_weights(model)
    try:
        yield
    finally:
        for parameter, requires_grad in before:
            parameter.requires_grad_(requires_grad)


NO_SECOND_DERIVATIVE = (
    "is not implemented",
    "not differentiable",
    "does not support double backward",
)
"""Parts of torch's messages about operations that have no second derivative."""


@contextmanager
def allow_double_backward() -> Iterator[None]:
    """Allow second derivatives in the block.

    Raises:
        Inapplicable: An operation has no second derivative.
    """
    try:
        # The fused attention kernels have no second derivative; the step-by-step one does.
        with sdpa_kernel(SDPBackend.MATH):
            yield
    except RuntimeError as error:
        message = str(error)
        if "derivative" in message and any(part in message for part in NO_SECOND_DERIVATIVE):
            raise Inapplicable(
                f"the network has an operation without a second derivative ({error})"
            ) from error
        raise


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Put the model in eval mode for the block; restore the mode of each module after it."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training
