"""Checks of a model itself: logits, reproducible outputs, true gradients, continuity.

`check_outputs` and `explain_missing_gradient` raise; the others are checks of a battery.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from advtransfer.errors import ModelError
from advtransfer.toolkit.prediction import KERNEL_BATCH, require_logits
from advtransfer.toolkit.rng import stream_generator
from advtransfer.types import Check, EvaluationInputs, Samples
from advtransfer.worker.verification.ascent import (
    logits_and_gradient,
    logits_of,
    steepest_direction,
)
from advtransfer.worker.verification.config import (
    SUSPICIOUS_SHARE,
    share_lower_bound,
    status_of_share,
)

CHECKED_SAMPLES = 2
"""How many samples are looked at."""

NO_GRADIENT = "the model gives no gradient of its inputs"


def check_outputs(model: nn.Module, samples: Samples, *, device: torch.device) -> None:
    """Look at what a model, in eval mode, gives for a few samples.

    Raises:
        ModelError: Something else than a logit for each sample and class; or it writes into its inputs.
    """
    inputs = _first_inputs(samples, device)
    before = inputs.clone()
    with torch.inference_mode():
        logits = require_logits(model(inputs), len(inputs), samples.card.outputs)
    if logits.dtype != torch.float32:
        kind = str(logits.dtype).removeprefix("torch.")
        raise ModelError(
            f"found {kind} logits from the model; expected float32; let it return logits.float()"
        )
    if not torch.equal(before, inputs):
        found = "a model that writes into its inputs"
        raise ModelError(
            f"found {found}; expected one that leaves them as they are; let it work on inputs.clone()"
        )


@contextmanager
def explain_missing_gradient(
    use: str, given: EvaluationInputs, *, device: torch.device
) -> Iterator[None]:
    """Inside, an error for want of a gradient says so; torch and Foolbox say it in other words, or in none.

    Raises:
        ModelError: The code inside raised, and its model gives no gradient.
    """
    try:
        yield
    except (RuntimeError, AssertionError, TypeError, AttributeError) as error:
        if given.model is None or _has_input_gradient(
            given.model, _first_inputs(given.test, device)
        ):
            raise
        raise ModelError(
            f"{NO_GRADIENT}, which {use} needs ({type(error).__name__}: {str(error) or 'no text'}); "
            "use an attack that needs none, such as foolbox/boundary"
        ) from error


def _has_input_gradient(model: nn.Module, inputs: Tensor) -> bool:
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


def _first_inputs(samples: Samples, device: torch.device) -> Tensor:
    return samples.inputs(torch.arange(min(CHECKED_SAMPLES, len(samples)))).to(device)


RELATIVE_TOLERANCE = 1e-3
"""How far logits in another batch, or a derivative from its finite difference, may differ, relative to its size."""

DIFFERENCE_STEP = 1e-6
"""The finite difference's step, as a length in l2; in float64 what it leaves is far below `RELATIVE_TOLERANCE`."""

COARSE_DIFFERENCE_STEP, COARSE_TOLERANCE = 1e-3, 0.3
"""A step that float32 resolves as well, and how far a derivative may differ there, relative to that of a gradient
spread evenly over the pixels. Of honest networks on the digits none came above 0.02 (one that pools, above 0.3 on 1
image of 32); of those that round to 4 to 1,024 levels half the images came above 0.5."""

FLOAT32_RESOLUTION = 1e-6
"""What float32 resolves of the largest logit, with room for the rounding of its sums."""

OFFSET_SHARE = 0.02
"""How far a sample is moved, in shares of the box, before it is asked for a slope: on a flat background max pooling
ties, and honest networks have no gradient there."""

LINE_STEP, LINE_STEPS, JUMP_RATIO = 1e-3, 16, 20.0
"""A line's step in l2, how many, and how many times their median one may be: honest networks stay below 1.2."""


def share_check(name: str, hits: Tensor, text: str) -> Check:
    """A check of the share of samples that something is wrong with, by its lower bound."""
    value = share_lower_bound(int(hits.sum()), len(hits))
    return Check(name, status_of_share(value), value, SUSPICIOUS_SHARE, len(hits), text)


def suspicious_share_check(name: str, hits: Tensor, text: str) -> Check:
    """The same of something that weakens some attacks and no others: doubted at most, never refused."""
    found = share_check(name, hits, text)
    return replace(found, grade="suspicious") if found.grade == "fail" else found


def zero_count_check(name: str, hits: Tensor, text: str) -> Check:
    """A check of something that no sample may have."""
    value = int(hits.sum())
    return Check(name, "suspicious" if value else "pass", value, 0, len(hits), text)


def eval_mode_check(model: nn.Module) -> Check:
    """Whether every module is in eval mode."""
    training = torch.tensor([module.training for module in model.modules()])
    found = zero_count_check("eval_mode", training, "modules in training mode")
    return Check(
        found.name, "fail" if found.value else "pass", found.value, 0, found.samples, found.text
    )


def box_check(inputs: Tensor, bounds: tuple[float, float] | None) -> Check:
    """Whether the images lie in the box that their card states: elsewhere a radius means something else."""
    low, high = bounds if bounds is not None else (-torch.inf, torch.inf)
    outside = ~((inputs >= low) & (inputs <= high)).flatten(1).all(1)
    value = int(outside.sum())
    return Check(
        "box",
        "fail" if value else "pass",
        value,
        0,
        len(outside),
        "images outside the box on their card",
    )


def output_checks(model: nn.Module, inputs: Tensor, logits: Tensor) -> list[Check]:
    """Whether the model says the same again, and in other company; and whether what it says are logits.

    Args:
        model: In eval mode.
        inputs: ``(B, ...)``.
        logits: What the model said of them, ``(B, K)``.
    """
    again = logits_of(model, inputs)
    first = inputs[:KERNEL_BATCH]
    # halves of the first chunk, each filled up with copies: every row has other neighbours
    apart = torch.cat([logits_of(model, half) for half in torch.split(first, KERNEL_BATCH // 2)])
    scale = logits.abs().amax().clamp_min(torch.finfo(logits.dtype).tiny)
    moved = (apart - logits[: len(first)]).abs().amax(1) > RELATIVE_TOLERANCE * scale
    probable = (logits >= 0).all(1) & ((logits.sum(1) - 1).abs() < RELATIVE_TOLERANCE)
    rows = Check(
        "logits",
        "suspicious" if bool(probable.all()) else "pass",
        float(probable.double().mean()),
        1,
        len(logits),
        "share of outputs that are probabilities; attacks need logits",
    )
    return [
        zero_count_check(
            "stochastic", (again != logits).any(1), "outputs that differ between two passes"
        ),
        zero_count_check("batch", moved, "outputs that depend on the other images of the batch"),
        rows,
    ]


def smoothness_checks(
    model: nn.Module, inputs: Tensor, *, bounds: tuple[float, float] | None, keys: list[int]
) -> list[Check]:
    """Whether gradients are true and small steps small, in float64 on a copy of the model.

    A model that rounds, and passes gradients through as if it did not, disagrees with finite differences; one that
    drops or swaps activations jumps along a line that a network of continuous layers follows evenly. An honest model
    may compute in float32 all the same, so nothing counts that float32 does not resolve.

    Args:
        model: In eval mode.
        inputs: ``(B, ...)``.
        bounds: The box that they lie in.
        keys: The samples' keys, which the directions are drawn by.
    """
    try:
        twin = copy.deepcopy(model).double()
        inputs = _offset_inputs(inputs.double(), bounds, keys)
        drawn = [
            torch.randn(inputs.shape[1:], generator=stream_generator("battery", "line", key))
            for key in keys
        ]
        along = steepest_direction(torch.stack(drawn).to(inputs), "l2")
        return [_derivative_check(twin, inputs, along), _continuity_check(twin, inputs, along)]
    except torch.OutOfMemoryError:  # a RuntimeError, and none that says anything of the model
        raise
    except (RuntimeError, TypeError) as error:
        text = f"does not run in float64: {str(error)[:80]}"
        return [
            Check(name, "not applicable", 0, SUSPICIOUS_SHARE, 0, text)
            for name in ("derivatives", "continuity")
        ]


def _offset_inputs(inputs: Tensor, bounds: tuple[float, float] | None, keys: list[int]) -> Tensor:
    """The inputs, each with a little noise of its own, still in the box."""
    drawn = [
        torch.rand(inputs.shape[1:], generator=stream_generator("battery", "aside", key))
        for key in keys
    ]
    low, high = bounds or (0.0, 1.0)
    noise = low + (high - low) * torch.stack(drawn).to(inputs)
    return (1 - OFFSET_SHARE) * inputs + OFFSET_SHARE * noise


def _derivative_check(twin: nn.Module, inputs: Tensor, along: Tensor) -> Check:
    labels = torch.zeros(len(inputs), dtype=torch.int64, device=inputs.device)
    logits, gradient = logits_and_gradient(twin, inputs, labels, _weighted_logit_sum)
    told, size = (gradient * along).flatten(1).sum(1), gradient.flatten(1).norm(dim=1)
    scale = logits.abs().amax().clamp_min(1)

    def contradicted(step: float, allowed: Tensor) -> Tensor:
        after, before = (
            _weighted_logit_sum(logits_of(twin, inputs + way * step * along), labels)
            for way in (1, -1)
        )
        return ~(((after - before) / (2 * step) - told).abs() <= allowed)  # a NaN contradicts too

    wrong = contradicted(DIFFERENCE_STEP, RELATIVE_TOLERANCE * size + 1e-6 * scale)
    even = size / math.sqrt(inputs[0].numel())
    wrong &= contradicted(
        COARSE_DIFFERENCE_STEP,
        COARSE_TOLERANCE * even + FLOAT32_RESOLUTION / COARSE_DIFFERENCE_STEP * scale,
    )
    return share_check(
        "derivatives", wrong, "gradients that finite differences contradict, in float64"
    )


def _continuity_check(twin: nn.Module, inputs: Tensor, along: Tensor) -> Check:
    """Steps along a line are about as long as each other; one far above their median is a jump."""
    logits = torch.stack(
        [logits_of(twin, inputs + number * LINE_STEP * along) for number in range(LINE_STEPS + 1)],
        dim=1,
    )
    lengths = (logits[:, 1:] - logits[:, :-1]).norm(dim=2)
    # by sorting: torch has no median with places on CUDA that gives the same bits again
    usual = lengths.sort(dim=1).values[:, (lengths.shape[1] - 1) // 2]
    jumped = lengths.amax(
        1
    ) > JUMP_RATIO * usual + FLOAT32_RESOLUTION * logits.abs().amax().clamp_min(1)
    return share_check(
        "continuity",
        jumped,
        f"lines of {LINE_STEPS} steps of {LINE_STEP:g} along which the output jumps, in float64",
    )


def _weighted_logit_sum(logits: Tensor, labels: Tensor) -> Tensor:
    """All logits in one number, none with the weight of another; there is no label in it."""
    count = logits.shape[1]
    signs = 1 - 2 * (torch.arange(count, device=logits.device) % 2)
    return (
        logits * signs * torch.linspace(1, 2, count, dtype=logits.dtype, device=logits.device)
    ).sum(1)
