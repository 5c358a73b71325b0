"""Weights as they were after some epochs, kept through interruptions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advtransfer.types import Tensors

EPOCHS_SEEN = "epochs seen"


@dataclass(frozen=True, slots=True)
class Snapshots:
    """Takes them while a model is trained, and keeps them in what the training saves.

    Args:
        model: What they are taken of.
        epochs: After which epochs.
        state: What the training saves and restores beside its weights: its objective's state.
    """

    model: nn.Module
    epochs: Collection[int]
    state: dict[str, Tensor]

    def watch(self, _: nn.Module) -> Mapping[str, float]:
        """To be called after each epoch; adds no column to the curves."""
        epoch = int(self.state.get(EPOCHS_SEEN, torch.tensor(0))) + 1
        self.state[EPOCHS_SEEN] = torch.tensor(epoch)
        if epoch in self.epochs:
            self.state.update({f"{_prefix(epoch)}{name}": tensor for name, tensor in self._changing().items()})
        return {}

    def taken(self) -> dict[int, Tensors]:
        """By epoch, the whole state that the model had; on the CPU."""
        fixed = {name: tensor.detach().cpu() for name, tensor in self.model.state_dict().items()}
        return {epoch: fixed | self._of(epoch) for epoch in sorted(self.epochs)}

    def _changing(self) -> dict[str, Tensor]:
        """Copies of all that training may change: frozen weights are the same at every epoch."""
        frozen = {name for name, parameter in self.model.named_parameters() if not parameter.requires_grad}
        state = self.model.state_dict()
        return {name: tensor.detach().cpu().clone() for name, tensor in state.items() if name not in frozen}

    def _of(self, epoch: int) -> dict[str, Tensor]:
        prefix = _prefix(epoch)
        return {name.removeprefix(prefix): one for name, one in self.state.items() if name.startswith(prefix)}


def _prefix(epoch: int) -> str:
    return f"snapshot {epoch}/"
