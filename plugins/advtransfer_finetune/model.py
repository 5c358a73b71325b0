"""The target model of every fine-tuning: adapter, the source's blocks, a new head."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from advtransfer.toolkit.freezing import freeze
from advtransfer.types import DataCard, Network


class TargetModel(nn.Module):
    """From target images ``(B, C, H, W)`` to logits ``(B, K)``, around copies of the source and the adapter.

    Both are frozen and in eval mode; the source's own head is not used, unless the new one reads its logits.

    Args:
        source: The source network.
        adapter: From target images to the source's; None for none.
        target: The target's card.
        head: Builds the new head from the number of what it reads and of outputs.
        reads: What the head receives: the source's ``features``, flattened, or its ``logits``.
    """

    network: Network

    def __init__(
        self,
        *,
        source: Network | None,
        adapter: nn.Module | None,
        target: DataCard,
        head: Callable[[int, int], nn.Module],
        reads: Literal["features", "logits"] = "features",
    ) -> None:
        super().__init__()
        if source is None:
            raise ValueError("found no source; expected a network; declare needs=('source',) on the factory")
        self.adapter = nn.Identity() if adapter is None else copy.deepcopy(adapter)
        self.network = copy.deepcopy(source)
        self.reads = reads
        freeze(self)
        self.eval()
        with torch.inference_mode():
            size = self.features(torch.zeros(1, *target.shape, device=self.device)).shape[1]
        self.head = head(size, target.outputs)

    @property
    def device(self) -> torch.device:
        """Where the source's weights are."""
        return next(self.parameters(), torch.empty(0)).device

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, K)``."""
        logits: Tensor = self.head(self.features(inputs))
        return logits

    def features(self, inputs: Tensor) -> Tensor:
        """What the head receives: ``(B, D)``."""
        adapted = self.adapter(inputs)
        return self.network(adapted) if self.reads == "logits" else self.network.features(adapted).flatten(1)


def target_model(model: nn.Module) -> TargetModel:
    """The model handed to a fit, as what `Transfer.model` made it."""
    if not isinstance(model, TargetModel):
        raise TypeError(
            f"found a {type(model).__name__}; expected the transfer's own model; pass what model() returned"
        )
    return model
