"""New initial weights for modules that others have built."""

from __future__ import annotations

import copy

import torch
from torch import nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.streams import seeded


def redraw(module: nn.Module, source: torch.Generator, *, whose: str, trained_only: bool = False) -> None:
    """Give a module new initial weights, in place, drawn from `source` alone.

    Each layer with weights of its own draws them by its `reset_parameters`, as torch's layers do from torch's global
    random state; on the CPU, so that every device starts alike.

    Args:
        module: Whose weights are drawn.
        source: What they are drawn from.
        whose: What it belongs to, for the error.
        trained_only: Leave layers alone whose weights are not trained.

    Raises:
        Inapplicable: A layer has weights of its own and no `reset_parameters`.
    """
    drawn = copy.deepcopy(module).cpu()
    with seeded(source):
        for name, layer in drawn.named_modules():
            weights = list(layer.parameters(recurse=False))
            if trained_only and not any(weight.requires_grad for weight in weights):
                continue
            reset = getattr(layer, "reset_parameters", None)
            if callable(reset) and (weights or list(layer.buffers(recurse=False))):
                reset()
            elif weights:
                found = f"{name or 'the whole'} ({type(layer).__name__}) in {whose}"
                raise Inapplicable(f"found {found}, which cannot draw new weights; give it a method reset_parameters")
    module.load_state_dict(drawn.state_dict())
