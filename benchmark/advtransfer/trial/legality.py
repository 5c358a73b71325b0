"""The host's own check of adversarial examples: norm, box and label, in float64, by code no attack shares."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from advtransfer.toolkit.prediction import apply_in_chunks
from advtransfer.types import Check, Examples, Outcome, Samples

SLACK = 1e-6
"""What float32 rounding may add to a norm, in pixel units; relative for budgets above 1."""


def checked(
    outcomes: dict[str, Tensor], examples: Iterable[Examples], *, test: Samples, model: nn.Module, device: torch.device
) -> tuple[dict[str, Tensor], list[Check]]:
    """Outcomes in which a sample with an illegal example is unknown, and the check that says how many there were.

    An example is legal when it is finite, in the box, within its budget (`SLACK` for rounding), and misclassified.
    """
    outcomes = {name: values.clone() for name, values in outcomes.items()}
    claimed, seen, illegal = list(examples), 0, 0
    for one in claimed:
        if len(one.positions):
            wrong = one.positions[~legal(one, test=test, model=model, device=device)]
            outcomes[one.metric][wrong] = int(Outcome.UNKNOWN)
            seen, illegal = seen + len(one.positions), illegal + len(wrong)
    text = "norm, box and label re-checked in float64 by the host"
    return outcomes, [Check("legal_examples", "fail" if illegal else "pass", illegal, 0, seen, text)] if claimed else []


def legal(examples: Examples, *, test: Samples, model: nn.Module, device: torch.device) -> Tensor:
    """Which examples are legal, ``(M,)`` bool."""
    clean, bounds = test.inputs(examples.positions).double(), test.card.bounds
    inputs = examples.inputs.cpu().double()
    norms = _norm((inputs - clean).flatten(1), examples.norm)
    fine = inputs.flatten(1).isfinite().all(1) & (norms <= examples.eps + SLACK * max(1.0, examples.eps))
    if bounds is not None:
        fine &= (inputs.flatten(1) >= bounds[0]).all(1) & (inputs.flatten(1) <= bounds[1]).all(1)
    with torch.inference_mode():
        logits = apply_in_chunks(model, examples.inputs.to(device)).cpu()
    return fine & logits.isfinite().all(1) & (logits.argmax(1) != test.labels(examples.positions))


def _norm(difference: Tensor, norm: str) -> Tensor:
    order = {"linf": float("inf"), "l2": 2.0, "l1": 1.0, "l0": 0.0}[norm]
    norms: Tensor = torch.linalg.vector_norm(difference, ord=order, dim=1)
    return norms
