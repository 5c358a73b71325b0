"""What can be seen of a model itself: does it give logits, the same ones again, with gradients that are true?"""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from advtransfer.toolkit.prediction import KERNEL_BATCH
from advtransfer.toolkit.streams import generator
from advtransfer.trial.battery.ball import direction
from advtransfer.trial.battery.climb import logits_of, slopes
from advtransfer.trial.battery.design import SUSPICIOUS, graded, lower_bound
from advtransfer.types import Check

TOLERANCE = 1e-3
"""How far logits in another batch, or a derivative from its finite difference, may differ, relative to its size."""

STEP = 1e-6
"""The finite difference's step, as a length in l2; in float64 what it leaves is far below `TOLERANCE`."""

COARSE, ROUGH = 1e-3, 0.3
"""A step that float32 resolves as well, and how far a derivative may differ there, relative to that of a gradient
spread evenly over the pixels. Of honest networks on the digits none came above 0.02 (one that pools, above 0.3 on 1
image of 32); of those that round to 4 to 1,024 levels half the images came above 0.5."""

RESOLVED = 1e-6
"""What float32 resolves of the largest logit, with room for the rounding of its sums."""

ASIDE = 0.02
"""How far a sample is moved, in shares of the box, before it is asked for a slope: on a flat background max pooling
ties, and honest networks have no gradient there."""

PACE, PACES, JUMP = 1e-3, 16, 20.0
"""A line's step in l2, how many, and how many times their median one may be: honest networks stay below 1.2."""


def share(name: str, hits: Tensor, text: str) -> Check:
    """A check of the share of samples that something is wrong with, by its lower bound."""
    value = lower_bound(int(hits.sum()), len(hits))
    return Check(name, graded(value), value, SUSPICIOUS, len(hits), text)


def doubtful(name: str, hits: Tensor, text: str) -> Check:
    """The same of something that weakens some attacks and no others: doubted at most, never refused."""
    found = share(name, hits, text)
    return replace(found, grade="suspicious") if found.grade == "fail" else found


def none(name: str, hits: Tensor, text: str) -> Check:
    """A check of something that no sample may have."""
    value = int(hits.sum())
    return Check(name, "suspicious" if value else "pass", value, 0, len(hits), text)


def eval_mode(model: nn.Module) -> Check:
    """Whether every module is in eval mode."""
    training = torch.tensor([module.training for module in model.modules()])
    found = none("eval_mode", training, "modules in training mode")
    return Check(found.name, "fail" if found.value else "pass", found.value, 0, found.samples, found.text)


def boxed(inputs: Tensor, bounds: tuple[float, float] | None) -> Check:
    """Whether the images lie in the box that their card states: elsewhere a radius means something else."""
    low, high = bounds if bounds is not None else (-torch.inf, torch.inf)
    outside = ~((inputs >= low) & (inputs <= high)).flatten(1).all(1)
    value = int(outside.sum())
    return Check("box", "fail" if value else "pass", value, 0, len(outside), "images outside the box on their card")


def answers(model: nn.Module, inputs: Tensor, logits: Tensor) -> list[Check]:
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
    moved = (apart - logits[: len(first)]).abs().amax(1) > TOLERANCE * scale
    probable = (logits >= 0).all(1) & ((logits.sum(1) - 1).abs() < TOLERANCE)
    rows = Check(
        "logits",
        "suspicious" if bool(probable.all()) else "pass",
        float(probable.double().mean()),
        1,
        len(logits),
        "share of outputs that are probabilities; attacks need logits",
    )
    return [
        none("stochastic", (again != logits).any(1), "outputs that differ between two passes"),
        none("batch", moved, "outputs that depend on the other images of the batch"),
        rows,
    ]


def smoothness(model: nn.Module, inputs: Tensor, *, bounds: tuple[float, float] | None, keys: list[int]) -> list[Check]:
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
        inputs = _aside(inputs.double(), bounds, keys)
        drawn = [torch.randn(inputs.shape[1:], generator=generator("battery", "line", key)) for key in keys]
        along = direction(torch.stack(drawn).to(inputs), "l2")
        return [_derivatives(twin, inputs, along), _jumps(twin, inputs, along)]
    except torch.OutOfMemoryError:  # a RuntimeError, and none that says anything of the model
        raise
    except (RuntimeError, TypeError) as error:
        text = f"does not run in float64: {str(error)[:80]}"
        return [Check(name, "not applicable", 0, SUSPICIOUS, 0, text) for name in ("derivatives", "continuity")]


def _aside(inputs: Tensor, bounds: tuple[float, float] | None, keys: list[int]) -> Tensor:
    """The inputs, each with a little noise of its own, still in the box."""
    drawn = [torch.rand(inputs.shape[1:], generator=generator("battery", "aside", key)) for key in keys]
    low, high = bounds or (0.0, 1.0)
    noise = low + (high - low) * torch.stack(drawn).to(inputs)
    return (1 - ASIDE) * inputs + ASIDE * noise


def _derivatives(twin: nn.Module, inputs: Tensor, along: Tensor) -> Check:
    labels = torch.zeros(len(inputs), dtype=torch.int64, device=inputs.device)
    logits, gradient = slopes(twin, inputs, labels, _mixed)
    told, size = (gradient * along).flatten(1).sum(1), gradient.flatten(1).norm(dim=1)
    scale = logits.abs().amax().clamp_min(1)

    def contradicted(step: float, allowed: Tensor) -> Tensor:
        after, before = (_mixed(logits_of(twin, inputs + way * step * along), labels) for way in (1, -1))
        return ~(((after - before) / (2 * step) - told).abs() <= allowed)  # a NaN contradicts too

    wrong = contradicted(STEP, TOLERANCE * size + 1e-6 * scale)
    even = size / math.sqrt(inputs[0].numel())
    wrong &= contradicted(COARSE, ROUGH * even + RESOLVED / COARSE * scale)
    return share("derivatives", wrong, "gradients that finite differences contradict, in float64")


def _jumps(twin: nn.Module, inputs: Tensor, along: Tensor) -> Check:
    """Steps along a line are about as long as each other; one far above their median is a jump."""
    logits = torch.stack([logits_of(twin, inputs + number * PACE * along) for number in range(PACES + 1)], dim=1)
    lengths = (logits[:, 1:] - logits[:, :-1]).norm(dim=2)
    # by sorting: torch has no median with places on CUDA that gives the same bits again
    usual = lengths.sort(dim=1).values[:, (lengths.shape[1] - 1) // 2]
    jumped = lengths.amax(1) > JUMP * usual + RESOLVED * logits.abs().amax().clamp_min(1)
    return share("continuity", jumped, f"lines of {PACES} steps of {PACE:g} along which the output jumps, in float64")


def _mixed(logits: Tensor, labels: Tensor) -> Tensor:
    """All logits in one number, none with the weight of another; there is no label in it."""
    count = logits.shape[1]
    signs = 1 - 2 * (torch.arange(count, device=logits.device) % 2)
    return (logits * signs * torch.linspace(1, 2, count, dtype=logits.dtype, device=logits.device)).sum(1)
