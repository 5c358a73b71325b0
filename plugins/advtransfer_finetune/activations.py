"""What frozen layers give for samples, computed once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from advtransfer.toolkit.prediction import apply_in_chunks, chunks
from advtransfer.toolkit.samples import Arrays, every
from advtransfer.types import Samples


def activations(function: Callable[[Tensor], Tensor], samples: Samples, *, device: torch.device) -> Tensor:
    """``(N, ...)`` on the CPU; `function` must treat rows independently, and is given no gradient.

    Raises:
        ValueError: There are no samples, or the function gives a number that is not finite.
    """
    if not len(samples):
        raise ValueError("found no samples; expected at least one; check the subset or the view")
    with torch.no_grad():
        parts = [apply_in_chunks(function, inputs.to(device)).cpu() for _, inputs, _ in chunks(samples)]
    found = torch.cat(parts)
    broken = int((~found.isfinite().flatten(1).all(1)).sum())
    if broken:
        expected = "finite ones; check the source's weights"
        raise ValueError(
            f"found activations that are not finite for {broken} of {len(found)} images; expected {expected}"
        )
    return found


def activated(function: Callable[[Tensor], Tensor], samples: Samples, *, device: torch.device) -> Arrays:
    """Samples that hold the activations in place of the images."""
    found = activations(function, samples, device=device)
    card = replace(samples.card, shape=tuple(found.shape[1:]), bounds=None)
    return Arrays(card=card, inputs=found, labels=samples.labels(every(samples)), keys=samples.keys)
