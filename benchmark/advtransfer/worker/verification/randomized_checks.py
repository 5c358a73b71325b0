"""Checks of a randomised model's outputs: that its draws can be repeated, and do not tell the batch they are for."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from advtransfer.toolkit.kernel_batch import default_rows
from advtransfer.toolkit.randomized import EXPECTATION_DRAWS, FixedDraw
from advtransfer.types import Check
from advtransfer.worker.verification.ascent import logits_of
from advtransfer.worker.verification.model_checks import (
    RELATIVE_TOLERANCE,
    output_checks,
    zero_count_check,
)

STANDARD_ERRORS = 8.0
"""Distance of two means over draws that chance does not explain: by Student's t under 1e-6 a logit."""


def randomized_output_checks(model: nn.Module, inputs: Tensor) -> list[Check]:
    """Check the outputs of a randomised model as `output_checks` does those of others.

    They have to be reproducible at one draw, which the host seeds: what is drawn from elsewhere is not.

    Args:
        model: In eval mode.
        inputs: ``(B, ...)``.
    """
    at_draw = FixedDraw(model)
    checks = {
        check.name: check for check in output_checks(at_draw, inputs, logits_of(at_draw, inputs))
    }
    stochastic = checks["stochastic"]
    checks["stochastic"] = replace(
        stochastic, text=f"{stochastic.text} at one draw; the model is randomised"
    )
    checks["batch"] = _batch_check(model, inputs[: default_rows()])
    return list(checks.values())


def _batch_check(model: nn.Module, inputs: Tensor) -> Check:
    """Check that the mean answer is the same alone and in a batch.

    Attacks see images in batches and are judged on images alone, so a model that tells the two apart could hide.
    """
    alone = _draws_of(model, inputs, rows=1)
    beside_others = _draws_of(model, inputs, rows=len(inputs))
    distances = (alone.mean(0) - beside_others.mean(0)).abs()
    errors = ((alone.var(0) + beside_others.var(0)) / EXPECTATION_DRAWS).sqrt()
    tolerance = STANDARD_ERRORS * errors + RELATIVE_TOLERANCE * alone.abs().amax()
    return zero_count_check(
        "batch",
        (distances > tolerance).any(1),
        "mean outputs over draws that depend on the other images of the batch",
    )


def _draws_of(model: nn.Module, inputs: Tensor, *, rows: int) -> Tensor:
    """Return the logits at several draws, `rows` images at a time, ``(draws, B, K)``."""
    with torch.inference_mode():
        draws = [
            torch.cat([model(chunk) for chunk in torch.split(inputs, rows)])
            for _ in range(EXPECTATION_DRAWS)
        ]
    return torch.stack(draws)
