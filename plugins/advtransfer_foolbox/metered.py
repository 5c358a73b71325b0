"""A Foolbox model that counts what it is asked, and sees gradients that are not finite."""

from __future__ import annotations

from typing import Any

import torch
from eagerpy.astensor import astensor_
from foolbox.models.base import Model
from foolbox.types import Bounds
from torch import Tensor

from advtransfer_foolbox.contract import Reached


class Metered(Model):
    """Another Foolbox model, watched while an attack runs on one batch.

    All rows of a batch are evaluated until the attack is done with the last of them, and are counted so.
    """

    def __init__(self, model: Model, *, rows: int, device: torch.device) -> None:
        self._model = model
        self.forwards = self.gradients = 0
        self.finite = torch.ones(rows, dtype=torch.bool, device=device)

    @property
    def bounds(self) -> Bounds:
        """The model's."""
        return self._model.bounds

    def __call__(self, inputs: Any) -> Any:  # noqa: ANN401  # Any: Foolbox's tensors are those of any framework
        """The model's logits."""
        x, restore = astensor_(inputs)
        self.forwards += 1
        if x.raw.requires_grad:
            x.raw.register_hook(self._see)
        return restore(self._model(x))

    def reached(self, points: Tensor, *, found: Tensor) -> Reached:
        """The points an attack came to, whether it found them misclassified, and what was metered on the way."""
        counts = torch.full((2, len(points)), self.forwards, device=points.device)
        counts[1] = self.gradients
        return Reached(points, found, self.finite, counts[0], counts[1])

    def _see(self, gradient: Tensor) -> None:
        self.gradients += 1
        self.finite &= gradient.isfinite().flatten(1).all(1)
