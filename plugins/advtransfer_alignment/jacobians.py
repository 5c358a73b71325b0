"""Gram matrices of two models' Jacobians, and distances between gradients under affine maps of the outputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from advtransfer.toolkit.prediction import apply_in_chunks, kernel_batches
from advtransfer.types import Samples
from advtransfer_alignment.deviations import moment_pseudoinverse
from advtransfer_alignment.linear_algebra import ModelFunction, batch_jacobian, divide_or_zero


@dataclass(frozen=True, slots=True)
class GramMatrices:
    """The inner products of two models' gradients at each sample, float64: all that is needed of Jacobians.

    Args:
        first: J_1 J_1^T, ``(N, m, m)``.
        cross: J_1 J_2^T, ``(N, m, d)``.
        second: J_2 J_2^T, ``(N, d, d)``.
    """

    first: Tensor
    cross: Tensor
    second: Tensor

    def at_samples(self, rows: Tensor) -> GramMatrices:
        """Those of some samples."""
        return GramMatrices(self.first[rows], self.cross[rows], self.second[rows])

    def with_roles_swapped(self) -> GramMatrices:
        """The same with the models' roles exchanged."""
        return GramMatrices(self.second, self.cross.mT, self.first)


@dataclass(frozen=True, slots=True)
class JacobianStatistics:
    """What is known of two models' Jacobians at the samples; float64.

    Args:
        grams: Their inner products.
        steepness: ``||J(x) - J(0)||_2 / ||x||_2``: how much they differ from the one at the origin, ``(N, 2)``.
        lengths: ``||x||_2``, ``(N,)``.
        origin: The outputs of both models at the origin, ``(m,)`` and ``(d,)``.
    """

    grams: GramMatrices
    steepness: Tensor
    input_lengths: Tensor
    origin_outputs: tuple[Tensor, Tensor]

    def at_samples(self, rows: Tensor) -> JacobianStatistics:
        """That of some samples."""
        return JacobianStatistics(
            self.grams.at_samples(rows),
            self.steepness[rows],
            self.input_lengths[rows],
            self.origin_outputs,
        )


def jacobian_statistics(
    first: ModelFunction, second: ModelFunction, samples: Samples, *, device: torch.device
) -> JacobianStatistics:
    """One backward pass for each output of both models, in chunks of a fixed size."""
    functions, zero = (first, second), torch.zeros(1, *samples.card.shape, device=device)
    with torch.no_grad():
        origin = tuple(apply_in_chunks(function, zero)[0].cpu().double() for function in functions)
    start = [batch_jacobian(function, zero).double() for function in functions]
    m, d = (len(one) for one in origin)

    def look(inputs: Tensor) -> Tensor:
        both = [batch_jacobian(function, inputs).double() for function in functions]
        stacked, lengths = torch.cat(both, 1), inputs.flatten(1).double().norm(dim=1, keepdim=True)
        changes = [
            _spectral_norms((one - at) @ (one - at).mT) for one, at in zip(both, start, strict=True)
        ]
        return torch.cat(
            [
                divide_or_zero(torch.stack(changes, 1), lengths),
                lengths,
                (stacked @ stacked.mT).flatten(1),
            ],
            1,
        )

    rows = torch.cat(
        [apply_in_chunks(look, inputs.to(device)).cpu() for _, inputs, _ in kernel_batches(samples)]
    )
    whole = rows[:, 3:].reshape(-1, m + d, m + d)
    grams = GramMatrices(whole[:, :m, :m], whole[:, :m, m:], whole[:, m:, m:])
    return JacobianStatistics(grams, rows[:, :2], rows[:, 2], (origin[0], origin[1]))


def gradient_distance(found: GramMatrices) -> float:
    """``min_A sqrt(E||J_2 - A J_1||_F^2)``, A = E[J_2 J_1^T] (E[J_1 J_1^T])^+ (Liang et al., 2021, released code)."""
    best = found.cross.mT.mean(0) @ moment_pseudoinverse(found.first.mean(0))
    return float(
        _difference_gram(found, best).diagonal(dim1=1, dim2=2).sum(1).mean().clamp_min(0).sqrt()
    )


def spectral_gap(found: GramMatrices, carried: Tensor) -> float:
    """``sqrt(E||J_2 - A J_1||_2^2)`` for a given A ``(d, m)``, in the spectral norm."""
    return float(_spectral_norms(_difference_gram(found, carried)).square().mean().sqrt())


def _difference_gram(found: GramMatrices, carried: Tensor) -> Tensor:
    """(J_2 - A J_1)(J_2 - A J_1)^T, ``(N, d, d)``."""
    mixed = carried @ found.cross
    return found.second - mixed - mixed.mT + carried @ found.first @ carried.T


def _spectral_norms(squares: Tensor) -> Tensor:
    """The spectral norms of matrices M, from M M^T ``(N, d, d)``."""
    largest: Tensor = torch.linalg.eigvalsh(squares)[:, -1]
    return largest.clamp_min(0).sqrt()
