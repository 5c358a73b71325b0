"""The target model of every fine-tuning: adapter, the source's blocks, a new head."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Literal, cast

import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.freezing import freeze
from advtransfer.toolkit.redraw import redraw
from advtransfer.types import Context, DataCard, Network
from advtransfer_finetune.activations import Front


class TargetModel(nn.Module):
    """From target images ``(B, C, H, W)`` to logits ``(B, K)``, around copies of the source and the adapter.

    Both are frozen and in eval mode, but for a learned adapter: its parameters stay to be trained with the head. The
    source's own head is not used, unless the new one reads its logits.

    Args:
        source: The source network.
        adapter: From target images to the source's; None for none. It is learned where parameters require gradients.
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
        freeze(cast(nn.Module, self.network))
        self.eval()
        with torch.inference_mode():
            size = self.features(torch.zeros(1, *target.shape, device=self.device)).shape[1]
        self.head = head(size, target.outputs)

    @property
    def learns_adapter(self) -> bool:
        """Whether the adapter is trained with the head."""
        return any(parameter.requires_grad for parameter in self.adapter.parameters())

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

    def front(self, *, shared: bool) -> Front:
        """All that comes before the head."""
        return Front(function=self.features, name=self.reads, shared=shared)

    def draw_adapter(self, context: Context) -> None:
        """Give a learned adapter new initial weights; nothing else depends on them, and they on nothing else.

        Raises:
            Inapplicable: A part of it has weights of its own, but no ``reset_parameters``.
        """
        redraw(self.adapter, context.generator("adapter"), whose="the learned adapter", trained_only=True)


def refuse_learned(adapter: nn.Module | None, *, method: str) -> None:
    """Refuse an adapter that a method without gradients cannot train.

    Raises:
        Inapplicable: With what to use instead.
    """
    if adapter is not None and any(parameter.requires_grad for parameter in adapter.parameters()):
        advice = "take finetune/blocks with 0 blocks, or finetune/linear_probe with solver: sgd"
        raise Inapplicable(f"the adapter is learned, by gradients that {method} does not follow; {advice}")


def target_model(model: nn.Module) -> TargetModel:
    """The model handed to a fit, as what `Transfer.model` made it."""
    if not isinstance(model, TargetModel):
        raise TypeError(
            f"found a {type(model).__name__}; expected the transfer's own model; pass what model() returned"
        )
    return model
