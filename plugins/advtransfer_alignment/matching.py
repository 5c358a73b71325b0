"""How far a model's outputs, through the best affine map, are from other outputs: least squares in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from advtransfer.types import DataCard

CUTOFF = 1e-6
"""Singular values of centred inputs below this share of the largest count as zero: float32 knows 7 digits or so."""


@dataclass(frozen=True, slots=True)
class Span:
    """What affine maps of some outputs can say of N samples: an orthonormal basis ``(N, rank)`` beside the constant."""

    basis: Tensor

    @classmethod
    def of(cls, inputs: Tensor) -> Span:
        """All affine maps of ``(N, D)`` float64."""
        basis, values, _ = torch.linalg.svd(inputs - inputs.mean(0), full_matrices=False)
        return cls(basis[:, values > CUTOFF * values[:1]])

    def distance(self, outputs: Tensor) -> float | None:
        """``min_{W, b} sqrt(E||y - W z - b||^2)`` for y ``(N, K)``, over the samples themselves.

        W = Cov(y, z) Cov(z, z)^+ and b = E y - W E z. None where there are as many free numbers as samples, since any y
        is then matched.
        """
        count, rank = self.basis.shape
        if rank + 1 >= count:
            return None
        centred = outputs - outputs.mean(0)
        return root_mean_square(centred - self.basis @ (self.basis.T @ centred))


def root_mean_square(rows: Tensor) -> float:
    """``||.||_D`` of ``(N, K)``: the root of the mean squared length."""
    return float(rows.square().sum(1).mean().sqrt())


def wanted(labels: Tensor, card: DataCard) -> Tensor:
    """What outputs should be, ``(N, K)`` float64: one-hot classes, -1/2 or 1/2 by attribute, or the values."""
    if card.task == "classes":
        return functional.one_hot(labels, card.outputs).double()
    # an attribute is predicted where the output is above 0
    return labels.double() - (0.5 if card.task == "attributes" else 0.0)
