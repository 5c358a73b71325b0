"""Verification of adversarial examples: inside norm and box, and misclassified.

It shares no code with any attack but for the chunking of batches. Norm and box are computed in float64. The label
is the model's own, in the float32 that it was measured in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from advtransfer.toolkit.prediction import apply_in_chunks
from advtransfer.types import Check, Examples, Outcome, Samples

NORM_TOLERANCE = 1e-6
"""What float32 rounding may add to a norm, in pixel units; relative for budgets above 1."""

NORM_ORDERS: Mapping[str, float] = {"linf": math.inf, "l2": 2.0, "l1": 1.0, "l0": 0.0}


def verify_examples(
    outcomes: Mapping[str, Tensor],
    examples: Iterable[Examples],
    *,
    test: Samples,
    model: nn.Module,
    device: torch.device,
) -> tuple[dict[str, Tensor], list[Check]]:
    """Outcomes as the examples prove them, and the checks that say how many were otherwise.

    An example is legal when it is finite, in the box, within its budget (`NORM_TOLERANCE` for rounding), and misclassified. A
    sample with a legal one is broken, whatever was said of it, unless it is wrong without attack; one with none but
    illegal ones is unknown.
    """
    found, seen, illegal, denied = (
        {name: values.clone() for name, values in outcomes.items()},
        0,
        0,
        0,
    )
    claimed = [
        (one, legal_examples(one, test=test, model=model, device=device)) for one in examples
    ]
    for one, fine in claimed:
        found[one.metric][one.positions[~fine]] = int(Outcome.UNKNOWN)
        seen, illegal = seen + len(fine), illegal + int((~fine).sum())
    for one, fine in claimed:
        said, proven = outcomes[one.metric], one.positions[fine]
        denied += len(set(proven[said[proven] == Outcome.ROBUST].tolist()))
        found[one.metric][proven[said[proven] != Outcome.WRONG]] = int(Outcome.BROKEN)
    return found, _example_checks(seen, illegal, denied) if claimed else []


def _example_checks(seen: int, illegal: int, denied: int) -> list[Check]:
    """Both checks, of so many examples that were seen."""
    texts = {
        "legal_examples": (
            illegal,
            "examples outside norm or box, in float64, or that the model does not misclassify",
        ),
        "own_examples": (
            denied,
            "samples called robust that an example of the evaluation's own breaks",
        ),
    }
    return [
        Check(name, "fail" if count else "pass", count, 0, seen, text)
        for name, (count, text) in texts.items()
    ]


def legal_examples(
    examples: Examples, *, test: Samples, model: nn.Module, device: torch.device
) -> Tensor:
    """Which examples are legal, ``(M,)`` bool."""
    if not len(examples.positions):
        return torch.zeros(0, dtype=torch.bool)
    clean, bounds = test.inputs(examples.positions).double(), test.card.bounds
    inputs = examples.inputs.cpu().double()
    norms: Tensor = torch.linalg.vector_norm(
        (inputs - clean).flatten(1), ord=NORM_ORDERS[examples.norm], dim=1
    )
    fine = inputs.flatten(1).isfinite().all(1) & (
        norms <= examples.eps + NORM_TOLERANCE * max(1.0, examples.eps)
    )
    if bounds is not None:
        fine &= (inputs.flatten(1) >= bounds[0]).all(1) & (inputs.flatten(1) <= bounds[1]).all(1)
    with torch.inference_mode():
        logits = apply_in_chunks(model, examples.inputs.to(device)).cpu()
    return fine & logits.isfinite().all(1) & (logits.argmax(1) != test.labels(examples.positions))
