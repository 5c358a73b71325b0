"""The source itself as the target's model, with nothing fitted."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.model_modes import freeze_weights
from advtransfer.toolkit.network import require_source
from advtransfer.types import Context, DataCard, Fitted, Network, Samples
from advtransfer_finetune.target_model import refuse_learned_adapter


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Transfer that takes the source's own logits for those of the target."""

    def model(
        self, *, source: Network | None, adapter: nn.Module | None, target: DataCard
    ) -> nn.Module:
        """Return a frozen copy of the source, after the adapter.

        Raises:
            Inapplicable: The adapter is learned, or the source has not one logit for each class.
        """
        refuse_learned_adapter(adapter, method="a transfer that trains nothing")
        network = cast(nn.Module, copy.deepcopy(require_source(source)))
        parts = [network] if adapter is None else [copy.deepcopy(adapter), network]
        model = nn.Sequential(*parts).eval()
        freeze_weights(model)
        device = next(model.parameters(), torch.empty(0)).device
        with torch.no_grad():
            # Zeros suffice, since only the shape of the logits is needed.
            shape = tuple(model(torch.zeros(1, *target.shape, device=device)).shape)
        if shape != (1, target.outputs):
            raise Inapplicable(
                f"the source's logits for one input have the shape {shape}, and the target needs "
                f"{(1, target.outputs)}: its own logits are used, in the order of the classes"
            )
        return model

    def fit(
        self,
        model: nn.Module,
        *,
        source: Network | None,
        adapter: nn.Module | None,
        train: Samples,
        validation: Samples | None,
        context: Context,
    ) -> Fitted:
        """Leave the model as it is."""
        context.progress(1, 1)
        return Fitted()
