"""Two models' Jacobians side by side: how well an affine map of one model's outputs matches the other's gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from advtransfer.toolkit.prediction import apply_in_chunks, chunks
from advtransfer.types import Samples
from advtransfer_alignment.deviations import inverse
from advtransfer_alignment.singular import Function, divided, jacobian


@dataclass(frozen=True, slots=True)
class Grams:
    """The inner products of two models' gradients at each sample, float64: all that is needed of Jacobians.

    Args:
        first: J_1 J_1^T, ``(N, m, m)``.
        cross: J_1 J_2^T, ``(N, m, d)``.
        second: J_2 J_2^T, ``(N, d, d)``.
    """

    first: Tensor
    cross: Tensor
    second: Tensor

    def at(self, rows: Tensor) -> Grams:
        """Those of some samples."""
        return Grams(self.first[rows], self.cross[rows], self.second[rows])

    def swapped(self) -> Grams:
        """The same with the models' roles exchanged."""
        return Grams(self.second, self.cross.mT, self.first)


@dataclass(frozen=True, slots=True)
class Jacobians:
    """What is known of two models' Jacobians at the samples; float64.

    Args:
        grams: Their inner products.
        steepness: ``||J(x) - J(0)||_2 / ||x||_2``: how much they differ from the one at the origin, ``(N, 2)``.
        lengths: ``||x||_2``, ``(N,)``.
        origin: The outputs of both models at the origin, ``(m,)`` and ``(d,)``.
    """

    grams: Grams
    steepness: Tensor
    lengths: Tensor
    origin: tuple[Tensor, Tensor]

    def at(self, rows: Tensor) -> Jacobians:
        """That of some samples."""
        return Jacobians(self.grams.at(rows), self.steepness[rows], self.lengths[rows], self.origin)


def jacobians(first: Function, second: Function, samples: Samples, *, device: torch.device) -> Jacobians:
    """One backward pass for each output of both models, in chunks of a fixed size."""
    functions, zero = (first, second), torch.zeros(1, *samples.card.shape, device=device)
    with torch.no_grad():
        origin = tuple(apply_in_chunks(function, zero)[0].cpu().double() for function in functions)
    start = [jacobian(function, zero).double() for function in functions]
    m, d = (len(one) for one in origin)

    def look(inputs: Tensor) -> Tensor:
        both = [jacobian(function, inputs).double() for function in functions]
        stacked, lengths = torch.cat(both, 1), inputs.flatten(1).double().norm(dim=1, keepdim=True)
        changes = [_spectral((one - at) @ (one - at).mT) for one, at in zip(both, start, strict=True)]
        return torch.cat([divided(torch.stack(changes, 1), lengths), lengths, (stacked @ stacked.mT).flatten(1)], 1)

    rows = torch.cat([apply_in_chunks(look, inputs.to(device)).cpu() for _, inputs, _ in chunks(samples)])
    whole = rows[:, 3:].reshape(-1, m + d, m + d)
    grams = Grams(whole[:, :m, :m], whole[:, :m, m:], whole[:, m:, m:])
    return Jacobians(grams, rows[:, :2], rows[:, 2], (origin[0], origin[1]))


def gradient_distance(found: Grams) -> float:
    """``min_A sqrt(E||J_2 - A J_1||_F^2)``, A = E[J_2 J_1^T] (E[J_1 J_1^T])^+ (Liang et al., 2021, released code)."""
    best = found.cross.mT.mean(0) @ inverse(found.first.mean(0))
    return float(_difference(found, best).diagonal(dim1=1, dim2=2).sum(1).mean().clamp_min(0).sqrt())


def spectral_gap(found: Grams, carried: Tensor) -> float:
    """``sqrt(E||J_2 - A J_1||_2^2)`` for a given A ``(d, m)``, in the spectral norm."""
    return float(_spectral(_difference(found, carried)).square().mean().sqrt())


def _difference(found: Grams, carried: Tensor) -> Tensor:
    """(J_2 - A J_1)(J_2 - A J_1)^T, ``(N, d, d)``."""
    mixed = carried @ found.cross
    return found.second - mixed - mixed.mT + carried @ found.first @ carried.T


def _spectral(squares: Tensor) -> Tensor:
    """The spectral norms of matrices M, from M M^T ``(N, d, d)``."""
    largest: Tensor = torch.linalg.eigvalsh(squares)[:, -1]
    return largest.clamp_min(0).sqrt()
