"""Checks of a model itself: logits, reproducible outputs, true gradients, continuity.

`check_outputs` and `explain_missing_gradient` raise; the others are checks of a battery.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from advtransfer.errors import ModelError
from advtransfer.result.comparison import (
    SATURATED_SHARE,
    SUSPICIOUS_SHARE,
    share_lower_bound,
    status_of_share,
)
from advtransfer.toolkit.kernel_batch import default_rows
from advtransfer.toolkit.prediction import require_logits
from advtransfer.toolkit.rng import stream_generator
from advtransfer.types import Check, CheckStatus, EvaluationInputs, Samples
from advtransfer.worker.verification.ascent import logits_and_gradient, logits_of
from advtransfer.worker.verification.ball import steepest_direction

CHECKED_SAMPLES = 2
"""Number of samples that `check_outputs` and `explain_missing_gradient` look at."""

NO_GRADIENT = "the model gives no gradient of its inputs"


def check_outputs(model: nn.Module, samples: Samples, *, device: torch.device) -> None:
    """Validate the outputs of a model, in eval mode, on a few samples.

    Raises:
        ModelError: The outputs are not one float32 logit per sample and class, or the model writes
            into its inputs.
    """
    inputs = _first_inputs(samples, device)
    before = inputs.clone()
    with torch.inference_mode():
        logits = require_logits(model(inputs), len(inputs), samples.card.outputs)
    if logits.dtype != torch.float32:
        dtype = str(logits.dtype).removeprefix("torch.")
        raise ModelError(
            f"found {dtype} logits from the model; expected float32; let it return logits.float()"
        )
    if not torch.equal(before, inputs):
        raise ModelError(
            "found a model that writes into its inputs; expected one that leaves them as they are; "
            "let it work on inputs.clone()"
        )


@contextmanager
def explain_missing_gradient(
    use: str, given: EvaluationInputs, *, device: torch.device
) -> Iterator[None]:
    """Explain an error raised inside that is due to a model without input gradients.

    torch and Foolbox raise various errors for it, some without a text.

    Raises:
        ModelError: The code inside raised, and its model gives no gradient.
    """
    try:
        yield
    except (RuntimeError, AssertionError, TypeError, AttributeError) as error:
        if given.model is None:
            raise
        if _has_input_gradient(given.model, _first_inputs(given.test, device)):
            raise
        raise ModelError(
            f"{NO_GRADIENT}, which {use} needs ({type(error).__name__}: {str(error) or 'no text'}); "
            "use an attack that needs none, such as foolbox/boundary"
        ) from error


def _has_input_gradient(model: nn.Module, inputs: Tensor) -> bool:
    """Return whether a gradient leads from a model's outputs to its inputs."""
    with torch.enable_grad():
        variable = inputs.clone().requires_grad_()
        try:
            outputs = model(variable)
            if not outputs.requires_grad:
                return False
            (gradient,) = torch.autograd.grad(outputs.sum(), variable, allow_unused=True)
        except RuntimeError:  # an operation without a gradient
            return False
    return gradient is not None


def _first_inputs(samples: Samples, device: torch.device) -> Tensor:
    count = min(CHECKED_SAMPLES, len(samples))
    return samples.inputs(torch.arange(count)).to(device)


RELATIVE_TOLERANCE = 1e-3
"""Largest relative deviation of logits in another batch, and of a derivative from its finite
difference."""

DIFFERENCE_STEP = 1e-6
"""Step of the finite difference, as a length in l2.

Its error in float64 is far below `RELATIVE_TOLERANCE`.
"""

COARSE_DIFFERENCE_STEP = 1e-3
"""A step of the finite difference that float32 resolves as well, as a length in l2."""

COARSE_TOLERANCE = 0.3
"""Largest deviation of a derivative at the coarse step, relative to that of a gradient spread evenly
over the pixels.

Measured on the digits: honest networks stay below 0.02 (a pooling one exceeds 0.3 on 1 image of
32); for networks that round to 4 to 1,024 levels, half of the images exceed 0.5.
"""

FLOAT32_RESOLUTION = 1e-6
"""Resolution of float32 relative to the largest logit, with room for the rounding of its sums."""

OFFSET_SHARE = 0.02
"""Distance by which a sample is moved before its derivative is taken, as a share of the box.

On a flat background max pooling ties, and honest networks have no gradient there.
"""

LINE_STEP = 1e-3
"""Length in l2 of one step along the line of the continuity check."""

LINE_STEPS = 16
"""Number of steps along that line."""

JUMP_RATIO = 20.0
"""Largest ratio of the longest step to the median one; honest networks stay below 1.2."""


SATURATION_TEXT = (
    "samples too sure for a gradient of cross-entropy in float32, where attacks on it stand still; "
    "those on the margin or the logits do not"
)


def share_check(name: str, hits: Tensor, text: str) -> Check:
    """Return a check of the share of bad samples, by its lower bound; `hits` is ``(B,)`` bool."""
    share = share_lower_bound(int(hits.sum()), len(hits))
    return Check(name, status_of_share(share), share, SUSPICIOUS_SHARE, len(hits), text)


def zero_gradient_checks(logits: Tensor, zero_gradient: Tensor, saturated: Tensor) -> list[Check]:
    """Check that attacks have a gradient to follow, of the margin and of cross-entropy.

    A model with the same logits for every image has none and masks none: it did not learn.

    Args:
        logits: The model's logits without attack, ``(B, K)``.
        zero_gradient: Whether a gradient of the ascent was exactly zero, ``(B,)`` bool.
        saturated: Whether that of cross-entropy is, ``(B,)`` bool.
    """
    if len(logits) > 1 and bool((logits == logits[0]).all()):
        text = "the model gives the same logits for every image"
        return [
            Check("gradients", "not applicable", 0, SUSPICIOUS_SHARE, 0, text),
            Check("saturation", "not applicable", 0, SATURATED_SHARE, 0, text),
        ]
    text = "samples whose gradient is exactly zero on the way"
    return [share_check("gradients", zero_gradient, text), _saturation_check(saturated)]


def _saturation_check(saturated: Tensor) -> Check:
    """Check the share of samples on which attacks by cross-entropy stand still.

    Only suspicious, since those by the margin do not, and only where few samples have a gradient:
    honest networks may have large logits.
    """
    share = share_lower_bound(int(saturated.sum()), len(saturated))
    status: CheckStatus = "suspicious" if share > SATURATED_SHARE else "pass"
    return Check("saturation", status, share, SATURATED_SHARE, len(saturated), SATURATION_TEXT)


def zero_count_check(name: str, hits: Tensor, text: str) -> Check:
    """Return a check that is suspicious if any sample is bad; `hits` is ``(B,)`` bool."""
    count = int(hits.sum())
    return Check(name, "suspicious" if count else "pass", count, 0, len(hits), text)


def eval_mode_check(model: nn.Module) -> Check:
    """Check that every module is in eval mode."""
    training = [module.training for module in model.modules()]
    count = sum(training)
    status: CheckStatus = "fail" if count else "pass"
    return Check("eval_mode", status, count, 0, len(training), "modules in training mode")


def box_check(inputs: Tensor, bounds: tuple[float, float] | None) -> Check:
    """Check that the images are inside the box on their card: outside it eps has another meaning."""
    low, high = bounds if bounds is not None else (-torch.inf, torch.inf)
    # Written with `~`, so that a NaN counts as outside.
    outside = ~((inputs >= low) & (inputs <= high)).flatten(1).all(1)
    count = int(outside.sum())
    status: CheckStatus = "fail" if count else "pass"
    return Check("box", status, count, 0, len(outside), "images outside the box on their card")


def output_checks(model: nn.Module, inputs: Tensor, logits: Tensor) -> list[Check]:
    """Check that outputs are reproducible, independent of the batch, and logits.

    Args:
        model: In eval mode.
        inputs: ``(B, ...)``.
        logits: The model's outputs for the inputs, ``(B, K)``.
    """
    repeated = logits_of(model, inputs)
    rows = default_rows()
    first = inputs[:rows]
    # Halves of the first chunk, each filled up with copies: every row has other neighbours.
    halves = [logits_of(model, half) for half in torch.split(first, max(1, rows // 2))]
    scale = logits.abs().amax().clamp_min(torch.finfo(logits.dtype).tiny)
    deviation = (torch.cat(halves) - logits[: len(first)]).abs().amax(1)
    # Attacks that ascend a loss of logits get weaker gradients from probabilities.
    sums_to_one = (logits.sum(1) - 1).abs() < RELATIVE_TOLERANCE
    is_probability = (logits >= 0).all(1) & sums_to_one
    return [
        zero_count_check(
            "stochastic", (repeated != logits).any(1), "outputs that differ between two passes"
        ),
        zero_count_check(
            "batch",
            deviation > RELATIVE_TOLERANCE * scale,
            "outputs that depend on the other images of the batch",
        ),
        Check(
            "logits",
            "suspicious" if bool(is_probability.all()) else "pass",
            float(is_probability.double().mean()),
            1,
            len(logits),
            "share of outputs that are probabilities; attacks need logits",
        ),
    ]


def smoothness_checks(
    model: nn.Module, inputs: Tensor, *, bounds: tuple[float, float] | None, keys: list[int]
) -> list[Check]:
    """Check that gradients are true and small steps small, in float64 on a copy of the model.

    A model that rounds, but passes gradients through as if it did not, disagrees with finite
    differences. One that drops or swaps activations jumps along a line that a network of continuous
    layers follows evenly. An honest model may compute in float32 nevertheless, so deviations below
    its resolution do not count.

    Args:
        model: In eval mode.
        inputs: ``(B, ...)``.
        bounds: The box that the inputs are in.
        keys: The samples' keys; the directions are drawn from their random streams.
    """
    try:
        # A copy, since `double` converts in place; the original keeps its float32 weights.
        model_float64 = copy.deepcopy(model).double()
        inputs = _offset_inputs(inputs.double(), bounds, keys)
        drawn = [
            torch.randn(inputs.shape[1:], generator=stream_generator("battery", "line", key))
            for key in keys
        ]
        direction = steepest_direction(torch.stack(drawn).to(inputs), "l2")
        return [
            _derivative_check(model_float64, inputs, direction),
            _continuity_check(model_float64, inputs, direction),
        ]
    except torch.OutOfMemoryError:  # a RuntimeError too, but it says nothing about the model
        raise
    except (RuntimeError, TypeError) as error:
        text = f"does not run in float64: {str(error)[:80]}"
        return [
            Check(name, "not applicable", 0, SUSPICIOUS_SHARE, 0, text)
            for name in ("derivatives", "continuity")
        ]


def _offset_inputs(inputs: Tensor, bounds: tuple[float, float] | None, keys: list[int]) -> Tensor:
    """Return the inputs mixed with a little noise, each with its own, still in the box."""
    drawn = [
        torch.rand(inputs.shape[1:], generator=stream_generator("battery", "aside", key))
        for key in keys
    ]
    low, high = bounds or (0.0, 1.0)
    noise = low + (high - low) * torch.stack(drawn).to(inputs)
    return (1 - OFFSET_SHARE) * inputs + OFFSET_SHARE * noise


def _derivative_check(model: nn.Module, inputs: Tensor, direction: Tensor) -> Check:
    """Check directional derivatives against central differences."""
    labels = torch.zeros(len(inputs), dtype=torch.int64, device=inputs.device)
    logits, gradient = logits_and_gradient(model, inputs, labels, _weighted_logit_sum)
    derivative = (gradient * direction).flatten(1).sum(1)
    gradient_norm = gradient.flatten(1).norm(dim=1)
    scale = logits.abs().amax().clamp_min(1)

    steps = [DIFFERENCE_STEP, -DIFFERENCE_STEP, COARSE_DIFFERENCE_STEP, -COARSE_DIFFERENCE_STEP]
    on_line = logits_along(model, inputs, direction, steps)
    sums = {step: _weighted_logit_sum(on_line[:, at], labels) for at, step in enumerate(steps)}

    def contradicted(step: float, tolerance: Tensor) -> Tensor:
        after, before = sums[step], sums[-step]
        deviation = ((after - before) / (2 * step) - derivative).abs()
        return ~(deviation <= tolerance)  # not `>`, so that a NaN contradicts too

    # A sample is wrong only if both steps contradict it: the fine step alone would blame an honest
    # model that computes in float32, the coarse one alone a model that bends within the step.
    wrong = contradicted(DIFFERENCE_STEP, RELATIVE_TOLERANCE * gradient_norm + 1e-6 * scale)
    # A gradient spread evenly over d pixels has this derivative along a random unit direction.
    typical_derivative = gradient_norm / math.sqrt(inputs[0].numel())
    wrong &= contradicted(
        COARSE_DIFFERENCE_STEP,
        COARSE_TOLERANCE * typical_derivative + FLOAT32_RESOLUTION / COARSE_DIFFERENCE_STEP * scale,
    )
    return share_check(
        "derivatives", wrong, "gradients that finite differences contradict, in float64"
    )


def _continuity_check(model: nn.Module, inputs: Tensor, direction: Tensor) -> Check:
    """Check that equal steps along a line change the outputs about equally.

    A step far above the median of its line is a jump.
    """
    distances = [number * LINE_STEP for number in range(LINE_STEPS + 1)]
    logits = logits_along(model, inputs, direction, distances)
    lengths = (logits[:, 1:] - logits[:, :-1]).norm(dim=2)
    # By sorting: torch has no deterministic median with indices on CUDA.
    median = lengths.sort(dim=1).values[:, (lengths.shape[1] - 1) // 2]
    resolution = FLOAT32_RESOLUTION * logits.abs().amax().clamp_min(1)
    jumps = lengths.amax(1) > JUMP_RATIO * median + resolution
    return share_check(
        "continuity",
        jumps,
        f"lines of {LINE_STEPS} steps of {LINE_STEP:g} along which the output jumps, in float64",
    )


def logits_along(
    model: nn.Module, inputs: Tensor, direction: Tensor, distances: Sequence[float]
) -> Tensor:
    """Return the logits ``(B, D, K)`` at distances along a direction, as many at once as fill a kernel.

    Args:
        model: In eval mode.
        inputs: ``(B, ...)``, where the lines begin.
        direction: ``(B, ...)``.
        distances: The D distances, in lengths of the direction.
    """
    at_once = max(1, default_rows() // len(inputs))
    steps = torch.tensor(distances, dtype=inputs.dtype, device=inputs.device)
    parts = []
    for some in torch.split(steps, at_once):
        offsets = some.view(1, -1, *[1] * (inputs.ndim - 1)) * direction[:, None]
        points = inputs[:, None] + offsets
        logits = logits_of(model, points.flatten(0, 1))
        parts.append(logits.view(len(inputs), len(some), -1))
    return torch.cat(parts, dim=1)


def _weighted_logit_sum(logits: Tensor, labels: Tensor) -> Tensor:
    """Return one number per row of logits, each with a weight of its own; labels are ignored.

    Equal weights would hide shifts between classes: such sums are constant for centred logits.
    """
    count = logits.shape[1]
    signs = 1 - 2 * (torch.arange(count, device=logits.device) % 2)
    weights = torch.linspace(1, 2, count, dtype=logits.dtype, device=logits.device)
    return (logits * signs * weights).sum(1)
