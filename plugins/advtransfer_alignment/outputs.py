"""What a model gives for samples, as they are or moved."""

from __future__ import annotations

import torch
from torch import Tensor

from advtransfer.toolkit.prediction import apply_in_chunks, chunks
from advtransfer.types import Context, Samples
from advtransfer_alignment.singular import Function


def outputs_at(function: Function, samples: Samples, delta: Tensor | None, *, context: Context) -> Tensor:
    """``(N, d)`` on the CPU, for the samples moved by `delta` ``(N, *shape)`` where there is one.

    Raises:
        ValueError: There are no samples, or the model gives numbers that are not finite.
    """
    if not len(samples):
        raise ValueError("found no samples; expected at least one; check the subset or the view")
    parts = []
    with torch.no_grad():
        for positions, inputs, _ in chunks(samples):
            moved = inputs if delta is None else inputs + delta[positions]
            parts.append(apply_in_chunks(function, moved.to(context.device)).cpu())
    found = torch.cat(parts)
    if broken := int((~found.isfinite().all(1)).sum()):
        says = f"outputs that are not finite for {broken} of {len(found)} samples"
        raise ValueError(f"found {says}; expected finite ones; check the model's weights")
    return found
