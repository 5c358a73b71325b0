"""Means over the batches of each epoch, kept as tensors, so that they are saved with the training they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Ledger:
    """Sums over samples, by column; a column that an epoch has nothing in is absent from its row.

    Args:
        columns: Their names.
        state: Where the sums live; it may be written back from a saved training.
    """

    columns: Sequence[str]
    state: dict[str, Tensor]

    def add(self, means: Mapping[str, float], *, samples: int) -> None:
        """Count the means over a batch of so many samples."""
        seen = torch.tensor([[name in means for name in self.columns]], dtype=torch.float64)
        values = torch.tensor([[means.get(name, 0.0) for name in self.columns]], dtype=torch.float64)
        self.state["sums"] = self._sums() + samples * torch.cat([values, seen])

    def close(self) -> None:
        """End the epoch."""
        sums = self._sums().unsqueeze(0)
        self.state["epochs"] = torch.cat([self.state["epochs"], sums]) if "epochs" in self.state else sums
        self.state["sums"] = torch.zeros_like(self._sums())

    def rows(self) -> list[dict[str, float]]:
        """The means of each epoch that has ended."""
        return [
            {name: total / count for name, total, count in zip(self.columns, totals, counts, strict=True) if count}
            for totals, counts in self.state.get("epochs", torch.zeros(0, 2, len(self.columns))).tolist()
        ]

    def _sums(self) -> Tensor:
        """``(2, columns)``: sums of values times samples, and samples."""
        return self.state.get("sums", torch.zeros(2, len(self.columns), dtype=torch.float64))
