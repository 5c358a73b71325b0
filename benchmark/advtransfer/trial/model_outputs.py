"""Whether a fitted model gives what evaluations need: logits, and a gradient of its inputs where one is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from advtransfer.errors import ModelError
from advtransfer.toolkit.prediction import checked_logits
from advtransfer.types import Given, Samples

ROWS = 2
"""How many samples are looked at."""

NO_GRADIENT = "the model gives no gradient of its inputs"


def check_outputs(model: nn.Module, samples: Samples, *, device: torch.device) -> None:
    """Look at what a model, in eval mode, gives for a few samples.

    Raises:
        ModelError: Something else than a logit for each sample and class; or it writes into its inputs.
    """
    inputs = _first(samples, device)
    before = inputs.clone()
    with torch.inference_mode():
        logits = checked_logits(model(inputs), len(inputs), samples.card.outputs)
    if logits.dtype != torch.float32:
        kind = str(logits.dtype).removeprefix("torch.")
        raise ModelError(f"found {kind} logits from the model; expected float32; let it return logits.float()")
    if not torch.equal(before, inputs):
        found = "a model that writes into its inputs"
        raise ModelError(f"found {found}; expected one that leaves them as they are; let it work on inputs.clone()")


@contextmanager
def explained(use: str, given: Given, *, device: torch.device) -> Iterator[None]:
    """Inside, an error for want of a gradient says so; torch and Foolbox say it in other words, or in none.

    Raises:
        ModelError: The code inside raised, and its model gives no gradient.
    """
    try:
        yield
    except (RuntimeError, AssertionError, TypeError, AttributeError) as error:
        if given.model is None or _differentiable(given.model, _first(given.test, device)):
            raise
        raise ModelError(
            f"{NO_GRADIENT}, which {use} needs ({type(error).__name__}: {str(error) or 'no text'}); "
            "use an attack that needs none, such as foolbox/boundary"
        ) from error


def _differentiable(model: nn.Module, inputs: Tensor) -> bool:
    """Whether a gradient leads from a model's outputs to its inputs."""
    with torch.enable_grad():
        rows = inputs.clone().requires_grad_()
        try:
            outputs = model(rows)
            if not outputs.requires_grad:
                return False
            (gradient,) = torch.autograd.grad(outputs.sum(), rows, allow_unused=True)
        except RuntimeError:  # an operation that has no gradient
            return False
    return gradient is not None


def _first(samples: Samples, device: torch.device) -> Tensor:
    return samples.inputs(torch.arange(min(ROWS, len(samples)))).to(device)
