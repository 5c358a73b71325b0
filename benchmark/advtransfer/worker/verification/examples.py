"""Verification of adversarial examples: inside norm and box, and misclassified.

It shares no code with any attack except for the chunking of batches. Norm and box are computed in
float64. The label is predicted by the model itself, in float32 as the evaluation measured it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from advtransfer.toolkit.prediction import apply_in_chunks
from advtransfer.toolkit.randomized import is_randomized, keyed_draws
from advtransfer.types import Check, Examples, Outcome, Samples

NORM_TOLERANCE = 1e-6
"""Amount by which float32 rounding may enlarge a norm, in pixel units; relative for eps above 1."""

NORM_ORDERS: Mapping[str, float] = {"linf": math.inf, "l2": 2.0, "l1": 1.0, "l0": 0.0}


def verify_examples(
    outcomes: Mapping[str, Tensor],
    examples: Iterable[Examples],
    *,
    test: Samples,
    model: nn.Module,
    device: torch.device,
) -> tuple[dict[str, Tensor], list[Check]]:
    """Correct outcomes by the examples that should prove them.

    An example is legal if it is finite, inside the box, within its eps (up to `NORM_TOLERANCE`) and
    misclassified. A sample with a legal example is broken, whatever the evaluation says, unless it
    is wrong without attack. A sample with only illegal examples is unknown.

    Returns:
        The corrected outcomes ``(N,)`` by metric, and the checks that count the corrections.
    """
    corrected = {name: values.clone() for name, values in outcomes.items()}
    verified = [
        (group, legal_examples(group, test=test, model=model, device=device)) for group in examples
    ]
    example_count = 0
    illegal_count = 0
    for group, legal in verified:
        corrected[group.metric][group.positions[~legal]] = int(Outcome.UNKNOWN)
        example_count += len(legal)
        illegal_count += int((~legal).sum())
    # In a second pass, since one legal example outweighs a sample's illegal ones.
    contradicted = 0
    for group, legal in verified:
        claimed = outcomes[group.metric]
        proven = group.positions[legal]
        contradicted += len(set(proven[claimed[proven] == Outcome.ROBUST].tolist()))
        corrected[group.metric][proven[claimed[proven] != Outcome.WRONG]] = int(Outcome.BROKEN)
    if not verified:
        return corrected, []
    return corrected, _example_checks(example_count, illegal_count, contradicted)


def _example_checks(example_count: int, illegal_count: int, contradicted: int) -> list[Check]:
    texts = {
        "legal_examples": (
            illegal_count,
            "examples outside norm or box, in float64, or that the model does not misclassify",
        ),
        "own_examples": (
            contradicted,
            "samples called robust that an example of the evaluation's own breaks",
        ),
    }
    return [
        Check(name, "fail" if count else "pass", count, 0, example_count, text)
        for name, (count, text) in texts.items()
    ]


def legal_examples(
    examples: Examples, *, test: Samples, model: nn.Module, device: torch.device
) -> Tensor:
    """Return which examples are legal, ``(M,)`` bool."""
    if not len(examples.positions):
        return torch.zeros(0, dtype=torch.bool)
    inputs = examples.inputs.to(device)
    logits = judging_logits(model, inputs, test, examples.positions).cpu()
    labels = test.labels(examples.positions)
    is_misclassified = logits.isfinite().all(1) & _is_misclassified(logits, labels)
    return is_misclassified & allowed_examples(examples, test=test)


def judging_logits(model: nn.Module, inputs: Tensor, test: Samples, positions: Tensor) -> Tensor:
    """Return the logits ``(M, K)`` that decide for inputs in the place of samples.

    A randomised model answers for each input alone, at the draw that the sample's key names, without attack and
    under every one.

    Args:
        model: In eval mode.
        inputs: ``(M, ...)``, on the model's device.
        test: The test part.
        positions: Positions of the samples in it, ``(M,)``.
    """
    with torch.inference_mode():
        if is_randomized(model):
            keys = [test.keys[position] for position in positions.tolist()]
            logits = keyed_draws(model, inputs, keys)
        else:
            logits = apply_in_chunks(model, inputs)
    # A clone made outside is a normal tensor; inference tensors cannot be updated in place.
    return logits.clone()


def allowed_examples(examples: Examples, *, test: Samples) -> Tensor:
    """Return which examples are finite, in the box, and in the ball, ``(M,)`` bool, in float64."""
    clean = test.inputs(examples.positions).double()
    inputs = examples.inputs.cpu().double()
    norms: Tensor = torch.linalg.vector_norm(
        (inputs - clean).flatten(1), ord=NORM_ORDERS[examples.norm], dim=1
    )
    within_norm = norms <= examples.eps + NORM_TOLERANCE * max(1.0, examples.eps)
    legal = inputs.flatten(1).isfinite().all(1) & within_norm
    if test.card.bounds is not None:
        # As the examples' type holds them: 2.2 is 2.2000000477 in float32.
        low, high = torch.tensor(test.card.bounds, dtype=examples.inputs.dtype).double().tolist()
        legal &= (inputs.flatten(1) >= low).all(1) & (inputs.flatten(1) <= high).all(1)
    return legal


def _is_misclassified(logits: Tensor, labels: Tensor) -> Tensor:
    """Return which predictions are wrong, ``(M,)``: another class, or any other attribute."""
    if labels.ndim == 2:
        # An attribute is predicted where its logit is above 0.
        return ((logits > 0) != (labels > 0)).any(1)
    return logits.argmax(1) != labels
