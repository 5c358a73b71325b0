"""A last batch of one row, which batch normalisation cannot be trained on where it sees one value a channel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.objective import Objective

REFUSED = "Expected more than 1 value per channel when training"
"""How the error begins that torch raises; a batch has no variance then."""


@contextmanager
def lone_rows_left_out(model: nn.Module, objective: Objective, *, rows: int, others: bool) -> Iterator[None]:
    """Inside is a step of a training; a batch of one row that batch normalisation refuses is left out of the epoch.

    Each epoch has its own order, so the next one most likely leaves out another row. What the refused step has changed,
    the statistics of layers before and the objective's state, is put back. Where a single row can be trained on,
    nothing is changed.

    Args:
        model: What is trained.
        objective: What is minimised.
        rows: In the batch.
        others: Whether the epoch has larger batches.

    Raises:
        Inapplicable: Batches of one row are all there is.
    """
    if rows > 1:
        yield
        return
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    state = dict(objective.state)
    try:
        yield
    except ValueError as error:
        if not str(error).startswith(REFUSED):
            raise
        if not others:
            reason = "batch normalisation cannot be trained on batches of a single image"
            raise Inapplicable(f"{reason}; raise batch_size, and n where there is one image only") from error
        _put_back(model, buffers)
        objective.state.clear()
        objective.state.update(state)


def _put_back(model: nn.Module, buffers: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
