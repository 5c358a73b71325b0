"""Gram matrices of two models' Jacobians, and distances between gradients."""

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
    """Inner products of two models' gradients at each sample; float64.

    They determine everything that is computed from the Jacobians.

    Args:
        first: J_1 J_1^T, ``(N, m, m)``.
        cross: J_1 J_2^T, ``(N, m, d)``.
        second: J_2 J_2^T, ``(N, d, d)``.
    """

    first: Tensor
    cross: Tensor
    second: Tensor

    def at_samples(self, rows: Tensor) -> GramMatrices:
        """Return the matrices of some samples."""
        return GramMatrices(self.first[rows], self.cross[rows], self.second[rows])

    def with_roles_swapped(self) -> GramMatrices:
        """Return the matrices with the models' roles exchanged."""
        return GramMatrices(self.second, self.cross.mT, self.first)


@dataclass(frozen=True, slots=True)
class JacobianStatistics:
    """Statistics of two models' Jacobians at the samples; float64.

    Args:
        grams: Inner products of the gradients.
        steepness: ``||J(x) - J(0)||_2 / ||x||_2`` of each model, ``(N, 2)``.
        input_lengths: ``||x||_2``, ``(N,)``.
        origin_outputs: Outputs of both models at the origin, ``(m,)`` and ``(d,)``.
    """

    grams: GramMatrices
    steepness: Tensor
    input_lengths: Tensor
    origin_outputs: tuple[Tensor, Tensor]

    def at_samples(self, rows: Tensor) -> JacobianStatistics:
        """Return the statistics of some samples."""
        return JacobianStatistics(
            self.grams.at_samples(rows),
            self.steepness[rows],
            self.input_lengths[rows],
            self.origin_outputs,
        )


def jacobian_statistics(
    first: ModelFunction, second: ModelFunction, samples: Samples, *, device: torch.device
) -> JacobianStatistics:
    """Return the statistics, from one backward pass per output of each model.

    Args:
        first: Model 1, from inputs to outputs ``(B, m)``.
        second: Model 2, from inputs to outputs ``(B, d)``.
        samples: The samples, passed in chunks of a fixed size.
        device: Device of the models.
    """
    functions = (first, second)
    zero = torch.zeros(1, *samples.card.shape, device=device)
    with torch.no_grad():
        # Theorem 3 of Liang et al. (2020) fixes the constant of g by g(f_S(0)) = f_T(0).
        origin = [apply_in_chunks(function, zero)[0].cpu().double() for function in functions]
    origin_jacobians = [batch_jacobian(function, zero).double() for function in functions]
    first_size = len(origin[0])
    size = first_size + len(origin[1])

    def chunk_statistics(inputs: Tensor) -> Tensor:
        # Gram matrices square the condition number, which needs float64.
        jacobians = [batch_jacobian(function, inputs).double() for function in functions]
        lengths = inputs.flatten(1).double().norm(dim=1, keepdim=True)
        changes = []
        for jacobian, origin_jacobian in zip(jacobians, origin_jacobians, strict=True):
            difference = jacobian - origin_jacobian
            changes.append(_spectral_norms(difference @ difference.mT))
        steepness = divide_or_zero(torch.stack(changes, 1), lengths)
        stacked = torch.cat(jacobians, 1)
        grams = (stacked @ stacked.mT).flatten(1)
        return torch.cat([steepness, lengths, grams], 1)

    rows = torch.cat(
        [
            apply_in_chunks(chunk_statistics, inputs.to(device)).cpu()
            for _, inputs, _ in kernel_batches(samples)
        ]
    )
    stacked_grams = rows[:, 3:].reshape(-1, size, size)
    # The Gram matrix of both models' stacked gradients has theirs as its blocks.
    grams = GramMatrices(
        first=stacked_grams[:, :first_size, :first_size],
        cross=stacked_grams[:, :first_size, first_size:],
        second=stacked_grams[:, first_size:, first_size:],
    )
    return JacobianStatistics(
        grams=grams,
        steepness=rows[:, :2],
        input_lengths=rows[:, 2],
        origin_outputs=(origin[0], origin[1]),
    )


def gradient_distance(grams: GramMatrices) -> float:
    """Return ``min_A sqrt(E||J_2 - A J_1||_F^2)`` (Liang et al., 2021, released code).

    The minimum is at A = E[J_2 J_1^T] (E[J_1 J_1^T])^+.
    """
    matrix = grams.cross.mT.mean(0) @ moment_pseudoinverse(grams.first.mean(0))
    difference = _difference_gram(grams, matrix)
    squared_norms = difference.diagonal(dim1=1, dim2=2).sum(1)
    # Rounding can take the mean below 0 where one model is an affine map of the other.
    return float(squared_norms.mean().clamp_min(0).sqrt())


def spectral_gap(grams: GramMatrices, matrix: Tensor) -> float:
    """Return ``sqrt(E||J_2 - A J_1||_2^2)`` for a given A ``(d, m)``, in the spectral norm."""
    return float(_spectral_norms(_difference_gram(grams, matrix)).square().mean().sqrt())


def _difference_gram(grams: GramMatrices, matrix: Tensor) -> Tensor:
    """Return (J_2 - A J_1)(J_2 - A J_1)^T, ``(N, d, d)``."""
    mixed = matrix @ grams.cross
    return grams.second - mixed - mixed.mT + matrix @ grams.first @ matrix.T


def _spectral_norms(squares: Tensor) -> Tensor:
    """Return the spectral norms ``(N,)`` of matrices M, from M M^T ``(N, d, d)``."""
    # Eigenvalues come in ascending order.
    largest: Tensor = torch.linalg.eigvalsh(squares)[:, -1]
    return largest.clamp_min(0).sqrt()
