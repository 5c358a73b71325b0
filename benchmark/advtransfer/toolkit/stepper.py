"""From a recipe's optimiser to torch's."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from advtransfer.toolkit.recipe import Adam, Optimiser


def make_stepper(optimiser: Optimiser, weights: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser with the recipe's settings, for those of the weights that are trained."""
    trained = [parameter for parameter in weights if parameter.requires_grad]
    if isinstance(optimiser, Adam):
        return torch.optim.AdamW(trained, lr=optimiser.lr, weight_decay=optimiser.weight_decay)
    return torch.optim.SGD(
        trained,
        lr=optimiser.lr,
        momentum=optimiser.momentum,
        weight_decay=optimiser.weight_decay,
        nesterov=optimiser.nesterov,
    )
