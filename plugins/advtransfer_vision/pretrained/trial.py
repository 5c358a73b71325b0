"""Tries a network out once, so that one that does not take its inputs is told before anything is trained."""

from __future__ import annotations

import torch

from advtransfer.errors import AdvTransferError
from advtransfer_vision.pretrained.design import Cut, Design


def expect_logits(network: Cut, design: Design) -> None:
    """Run the network once, in eval mode; it is left in train mode, its weights as they were.

    Raises:
        AdvTransferError: It does not take inputs of the design's size, or gives something else than logits.
    """
    inputs = torch.zeros(2, *design.shape)
    try:
        with torch.no_grad():
            logits = network.eval()(inputs)
    except (RuntimeError, ValueError, AssertionError, TypeError, IndexError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        found = f"a {design.name} that fails on inputs of shape {design.shape} ({reason})"
        raise AdvTransferError(f"found {found}; expected logits; give the data set another `size`") from error
    finally:
        network.train()
    if logits.shape != (2, design.outputs):
        found = f"outputs of shape {tuple(logits.shape)} from {design.name} for 2 inputs"
        raise AdvTransferError(f"found {found}; expected logits (2, {design.outputs}); take another architecture")
