"""Singular values and directions of Jacobians, and distances to the nearest affine map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from advtransfer.toolkit.model_modes import allow_double_backward
from advtransfer_alignment.options import Spectrum

ModelFunction: TypeAlias = Callable[[Tensor], Tensor]
"""From inputs ``(B, *shape)`` to outputs ``(B, d)``, row by row."""

BLOCK_SIZE = 4
"""Vectors that the power iteration carries along: two are wanted, and the others speed it up."""


@dataclass(frozen=True, slots=True)
class LeadingSpectrum:
    """The largest part of Jacobians ``(B, d, n)``.

    `values` ``(B, 2)`` are the two largest singular values (the second 0 where there is one output), `direction`
    ``(B, n)`` is the first right singular vector, its sign arbitrary (zeros where the Jacobian is zero). `residual`
    ``(B,)`` is ``||J^T J v - s^2 v|| / s^2``: how far the iteration is from its end, 0 where nothing was iterated.
    """

    values: Tensor
    direction: Tensor
    residual: Tensor


def leading_spectrum(
    function: ModelFunction, inputs: Tensor, *, spectrum: Spectrum, generator: torch.Generator
) -> LeadingSpectrum:
    """The two largest singular values of each sample's Jacobian, and the direction of the first.

    Args:
        function: The model.
        inputs: ``(B, *shape)``.
        spectrum: Whether the Jacobian is computed whole.
        generator: Where a power iteration starts: the same vectors for every sample.
    """
    with torch.no_grad():
        outputs = function(inputs).shape[1]
    if outputs <= spectrum.most_outputs:
        return spectrum_by_decomposition(batch_jacobian(function, inputs))
    return spectrum_by_power_iteration(
        function, inputs, iterations=spectrum.iterations, generator=generator
    )


def batch_jacobian(function: ModelFunction, inputs: Tensor) -> Tensor:
    """``(B, d, n)``, one backward pass an output; no gradient of weights is built where they are frozen."""
    with torch.enable_grad():
        leaf = inputs.detach().requires_grad_()
        # summed over the batch: a row's output depends on its own input alone
        totals = function(leaf).sum(0)
        rows = [torch.autograd.grad(total, leaf, retain_graph=True)[0] for total in totals]
    return torch.stack([row.flatten(1) for row in rows], 1)


def spectrum_by_decomposition(jacobians: Tensor) -> LeadingSpectrum:
    """From whole Jacobians ``(B, d, n)``, in float64."""
    whole = jacobians.double()
    values, left = spectrum_of_gram(whole @ whole.mT)
    direction = divide_or_zero((left.unsqueeze(1) @ whole).squeeze(1), values[:, :1])
    return LeadingSpectrum(values, direction, torch.zeros_like(values[:, 0]))


def spectrum_of_gram(grams: Tensor) -> tuple[Tensor, Tensor]:
    """From J J^T ``(B, d, d)`` the two largest singular values ``(B, 2)``, and the first left vector ``(B, d)``."""
    squares, vectors = torch.linalg.eigh(grams)
    values = squares.clamp_min(0).sqrt().flip(1)[:, :2]
    if values.shape[1] < 2:
        values = torch.cat([values, torch.zeros_like(values)], 1)
    return values, vectors[:, :, -1]


def spectrum_by_power_iteration(
    function: ModelFunction, inputs: Tensor, *, iterations: int, generator: torch.Generator
) -> LeadingSpectrum:
    """By power iteration on J^T J with a block of vectors, never computing J (Halko, Martinsson and Tropp, 2011)."""
    size = inputs[0].numel()
    start = torch.randn((size, min(BLOCK_SIZE, size)), generator=generator).to(inputs)
    block = torch.linalg.qr(start).Q.expand(len(inputs), -1, -1)
    for _ in range(iterations):
        block = torch.linalg.qr(
            vector_jacobian_products(
                function, inputs, jacobian_vector_products(function, inputs, block)
            )
        ).Q
    _, values, turn = torch.linalg.svd(
        jacobian_vector_products(function, inputs, block).double(), full_matrices=False
    )
    block = (block.double() @ turn.mT).to(inputs)
    first = block[:, :, :1]
    back = vector_jacobian_products(
        function, inputs, jacobian_vector_products(function, inputs, first)
    ).double()
    square = values[:, :1].square()
    residual = divide_or_zero((back[:, :, 0] - square * first[:, :, 0]), square).norm(dim=1)
    if values.shape[1] < 2:
        values = torch.cat([values, torch.zeros_like(values)], 1)
    moves = (values[:, :1] > 0).to(first)
    return LeadingSpectrum(values[:, :2], (first[:, :, 0] * moves).double(), residual)


def jacobian_vector_products(function: ModelFunction, inputs: Tensor, block: Tensor) -> Tensor:
    """J V: ``(B, d, k)`` for vectors ``(B, n, k)``.

    J^T u is linear in u, and its derivative along v is J v: two backward passes, so that every model will do whose
    gradients can be differentiated; forward-mode differentiation is not defined for as many.
    """
    with torch.enable_grad(), allow_double_backward():
        leaf = inputs.detach().requires_grad_()
        outputs = function(leaf)
        weights = torch.zeros_like(outputs, requires_grad=True)
        (back,) = torch.autograd.grad(outputs, leaf, weights, create_graph=True)
        columns = [
            torch.autograd.grad(back, weights, one.reshape(inputs.shape), retain_graph=True)[0]
            for one in block.unbind(2)
        ]
    return torch.stack(columns, 2)


def vector_jacobian_products(function: ModelFunction, inputs: Tensor, block: Tensor) -> Tensor:
    """J^T U: ``(B, n, k)`` for vectors ``(B, d, k)``."""
    with torch.enable_grad():
        leaf = inputs.detach().requires_grad_()
        outputs = function(leaf)
        columns = [
            torch.autograd.grad(outputs, leaf, one, retain_graph=True)[0] for one in block.unbind(2)
        ]
    return torch.stack([column.flatten(1) for column in columns], 2)


def divide_or_zero(rows: Tensor, by: Tensor) -> Tensor:
    """Rows over numbers that are not negative; zeros where those are zero."""
    return torch.where(by > 0, rows / by.clamp_min(torch.finfo(by.dtype).tiny), 0)


RANK_CUTOFF = 1e-6
"""Singular values of centred inputs below this share of the largest count as zero: float32 knows 7 digits or so."""


@dataclass(frozen=True, slots=True)
class AffineSpan:
    """What affine maps of some outputs can say of N samples: an orthonormal basis ``(N, rank)`` beside the constant."""

    basis: Tensor

    @classmethod
    def from_inputs(cls, inputs: Tensor) -> AffineSpan:
        """All affine maps of ``(N, D)`` float64."""
        basis, values, _ = torch.linalg.svd(inputs - inputs.mean(0), full_matrices=False)
        return cls(basis[:, values > RANK_CUTOFF * values[:1]])

    def distance_to(self, outputs: Tensor) -> float | None:
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
