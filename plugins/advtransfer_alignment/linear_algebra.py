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
"""Vectors of the power iteration. Two are needed, and the others speed up its convergence."""


@dataclass(frozen=True, slots=True)
class LeadingSpectrum:
    """Largest singular values and directions of Jacobians ``(B, d, n)``.

    Attributes:
        values: The two largest singular values, ``(B, 2)``; the second is 0 for models of one
            output.
        direction: The first right singular vector, ``(B, n)``, its sign arbitrary; zeros where the
            Jacobian is zero.
        residual: ``||J^T J v - s^2 v|| / s^2``, ``(B,)``: how far the iteration is from
            convergence; 0 where nothing was iterated.
    """

    values: Tensor
    direction: Tensor
    residual: Tensor


def leading_spectrum(
    function: ModelFunction, inputs: Tensor, *, spectrum: Spectrum, generator: torch.Generator
) -> LeadingSpectrum:
    """Return the two largest singular values of each sample's Jacobian, and the first direction.

    Args:
        function: The model.
        inputs: ``(B, *shape)``.
        spectrum: The number of outputs up to which the Jacobian is computed whole.
        generator: Random numbers for the start of a power iteration: the same for every sample.
    """
    with torch.no_grad():
        outputs = function(inputs).shape[1]
    if outputs <= spectrum.most_outputs:
        return spectrum_by_decomposition(batch_jacobian(function, inputs))
    return spectrum_by_power_iteration(
        function, inputs, iterations=spectrum.iterations, generator=generator
    )


def batch_jacobian(function: ModelFunction, inputs: Tensor) -> Tensor:
    """Return the Jacobians ``(B, d, n)``, by one backward pass per output.

    Gradients of weights are not built where these are frozen.
    """
    with torch.enable_grad():
        leaf = inputs.detach().requires_grad_()
        # The sum over the batch gives each row's own gradient, since rows are independent.
        totals = function(leaf).sum(0)
        rows = [torch.autograd.grad(total, leaf, retain_graph=True)[0] for total in totals]
    return torch.stack([row.flatten(1) for row in rows], 1)


def spectrum_by_decomposition(jacobians: Tensor) -> LeadingSpectrum:
    """Return the spectrum of whole Jacobians ``(B, d, n)``, in float64."""
    whole = jacobians.double()
    values, left_vectors = spectrum_of_gram(whole @ whole.mT)
    # J^T u = s v: the right singular vector follows from the left one.
    scaled_direction = (left_vectors.unsqueeze(1) @ whole).squeeze(1)
    direction = divide_or_zero(scaled_direction, values[:, :1])
    return LeadingSpectrum(values, direction, torch.zeros_like(values[:, 0]))


def spectrum_of_gram(grams: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two largest singular values ``(B, 2)`` and the first left vector ``(B, d)``.

    Args:
        grams: J J^T, ``(B, d, d)``.
    """
    squares, vectors = torch.linalg.eigh(grams)
    # Eigenvalues come in ascending order, and rounding can make the smallest negative.
    values = squares.clamp_min(0).sqrt().flip(1)[:, :2]
    if values.shape[1] < 2:
        values = torch.cat([values, torch.zeros_like(values)], 1)
    return values, vectors[:, :, -1]


def spectrum_by_power_iteration(
    function: ModelFunction, inputs: Tensor, *, iterations: int, generator: torch.Generator
) -> LeadingSpectrum:
    """Return the spectrum by power iteration on J^T J with a block of vectors.

    J is never computed (Halko, Martinsson and Tropp, 2011).
    """
    size = inputs[0].numel()
    start = torch.randn((size, min(BLOCK_SIZE, size)), generator=generator).to(inputs)
    block = torch.linalg.qr(start).Q.expand(len(inputs), -1, -1)
    for _ in range(iterations):
        products = jacobian_vector_products(function, inputs, block)
        products = vector_jacobian_products(function, inputs, products)
        # Without orthonormal columns all vectors would converge to the first direction.
        block = torch.linalg.qr(products).Q
    products = jacobian_vector_products(function, inputs, block).double()
    _, values, rotation = torch.linalg.svd(products, full_matrices=False)
    block = (block.double() @ rotation.mT).to(inputs)
    first = block[:, :, :1]
    residual = _eigenvector_residual(function, inputs, first, values[:, :1])
    if values.shape[1] < 2:
        values = torch.cat([values, torch.zeros_like(values)], 1)
    is_nonzero = (values[:, :1] > 0).to(first)
    direction = (first[:, :, 0] * is_nonzero).double()
    return LeadingSpectrum(values[:, :2], direction, residual)


def _eigenvector_residual(
    function: ModelFunction, inputs: Tensor, vectors: Tensor, values: Tensor
) -> Tensor:
    """Return ``||J^T J v - s^2 v|| / s^2``, ``(B,)``, for v ``(B, n, 1)`` and s ``(B, 1)``."""
    products = jacobian_vector_products(function, inputs, vectors)
    products = vector_jacobian_products(function, inputs, products).double()
    squares = values.square()
    differences = products[:, :, 0] - squares * vectors[:, :, 0]
    residual: Tensor = divide_or_zero(differences, squares).norm(dim=1)
    return residual


def jacobian_vector_products(function: ModelFunction, inputs: Tensor, block: Tensor) -> Tensor:
    """Return J V, ``(B, d, k)``, for vectors V ``(B, n, k)``.

    J^T u is linear in u, and its derivative along v is J v. The two backward passes work for every
    model whose gradients are differentiable. Forward-mode differentiation supports fewer models.
    """
    with torch.enable_grad(), allow_double_backward():
        leaf = inputs.detach().requires_grad_()
        outputs = function(leaf)
        # The value of u does not matter, since J^T u is linear in it.
        weights = torch.zeros_like(outputs, requires_grad=True)
        (products,) = torch.autograd.grad(outputs, leaf, weights, create_graph=True)
        columns = [
            torch.autograd.grad(products, weights, vector.reshape(inputs.shape), retain_graph=True)[
                0
            ]
            for vector in block.unbind(2)
        ]
    return torch.stack(columns, 2)


def vector_jacobian_products(function: ModelFunction, inputs: Tensor, block: Tensor) -> Tensor:
    """Return J^T U, ``(B, n, k)``, for vectors U ``(B, d, k)``."""
    with torch.enable_grad():
        leaf = inputs.detach().requires_grad_()
        outputs = function(leaf)
        columns = [
            torch.autograd.grad(outputs, leaf, vector, retain_graph=True)[0]
            for vector in block.unbind(2)
        ]
    return torch.stack([column.flatten(1) for column in columns], 2)


def divide_or_zero(rows: Tensor, by: Tensor) -> Tensor:
    """Return rows divided by nonnegative numbers; zeros where these are zero."""
    return torch.where(by > 0, rows / by.clamp_min(torch.finfo(by.dtype).tiny), 0)


RANK_CUTOFF = 1e-6
"""Singular values of centred inputs below this share of the largest count as zero.

Float32 has about 7 digits.
"""


@dataclass(frozen=True, slots=True)
class AffineSpan:
    """Span of all affine functions of some inputs at N samples.

    Attributes:
        basis: Orthonormal basis of the linear functions, ``(N, rank)``; the constant is kept apart.
    """

    basis: Tensor

    @classmethod
    def from_inputs(cls, inputs: Tensor) -> AffineSpan:
        """Return the span of the affine functions of ``(N, D)`` float64."""
        # Centred columns are orthogonal to the constant, so the two are projected out separately.
        basis, values, _ = torch.linalg.svd(inputs - inputs.mean(0), full_matrices=False)
        return cls(basis[:, values > RANK_CUTOFF * values[:1]])

    def distance_to(self, outputs: Tensor) -> float | None:
        """Return ``min_{W, b} sqrt(E||y - W z - b||^2)`` for y ``(N, K)``, over the samples.

        The minimum is at W = Cov(y, z) Cov(z, z)^+ and b = E y - W E z. None where there are as
        many free numbers as samples, since any y is then matched.
        """
        count, rank = self.basis.shape
        if rank + 1 >= count:
            return None
        centred = outputs - outputs.mean(0)
        return root_mean_square(centred - self.basis @ (self.basis.T @ centred))


def root_mean_square(rows: Tensor) -> float:
    """Return ``||.||_D`` of ``(N, K)``: the root of the mean squared length."""
    return float(rows.square().sum(1).mean().sqrt())
