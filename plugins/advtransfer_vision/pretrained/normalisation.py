"""Holds the normalisation that a file of weights carries against the one that is asked for."""

from __future__ import annotations

import torch

from advtransfer.toolkit.safe_load import CheckpointError
from advtransfer.types import Tensors
from advtransfer_vision.pretrained.design import Design

CLOSE = 2e-3
"""Papers and code round means and standard deviations of pixels to three digits."""


def check_normalisation(design: Design, normalise: Tensors, *, place: str, options: frozenset[str]) -> None:
    """Refuse a normalisation that is not the one that the file carries.

    Args:
        design: With the mean and the standard deviation that are asked for.
        normalise: ``mean`` and ``std`` of the file.
        place: Where the file is, for the message of an error.
        options: What the component lets a suite say.

    Raises:
        CheckpointError: They differ by more than rounding.
    """
    for name, wanted in (("mean", design.mean), ("std", design.std)):
        held = normalise[name].flatten().expand(3)
        if not torch.allclose(held, torch.tensor(wanted), rtol=0, atol=CLOSE):
            values = {one: normalise[one].flatten().expand(3).tolist() for one in ("mean", "std")}
            written = ", ".join(f"`{one}: [{_listed(value)}]`" for one, value in values.items())
            found = f"the {name} {_listed(held.tolist())} in {place} and {_listed(wanted)} asked for"
            where = "" if "mean" in options else " with vision/checkpoint"
            raise CheckpointError(f"found {found}; expected the same normalisation; write {written}{where}")


def _listed(values: tuple[float, ...] | list[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
