"""The new head of a target model."""

from __future__ import annotations

import torch
from torch import nn

from advtransfer.toolkit.streams import initialised
from advtransfer_finetune.options import HeadInit


def drawn_head(features: int, outputs: int, *, init: HeadInit, source: torch.Generator) -> nn.Linear:
    """A linear layer from ``(B, features)`` to ``(B, outputs)``, its weights drawn from `source` alone."""

    def build() -> nn.Linear:
        layer = nn.Linear(features, outputs)
        if init == "normal":
            nn.init.normal_(layer.weight)
            nn.init.zeros_(layer.bias)
        return layer

    return initialised(build, source)
