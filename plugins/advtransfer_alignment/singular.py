"""Jacobians of outputs with respect to inputs, and their largest singular values and directions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from advtransfer.toolkit.second_order import differentiated_twice
from advtransfer_alignment.settings import Spectrum

Function: TypeAlias = Callable[[Tensor], Tensor]
"""From inputs ``(B, *shape)`` to outputs ``(B, d)``, row by row."""

BLOCK = 4
"""Vectors that the power iteration carries along: two are wanted, and the others speed it up."""


@dataclass(frozen=True, slots=True)
class Leading:
    """The largest part of Jacobians ``(B, d, n)``.

    `values` ``(B, 2)`` are the two largest singular values (the second 0 where there is one output), `direction`
    ``(B, n)`` is the first right singular vector, its sign arbitrary (zeros where the Jacobian is zero). `residual`
    ``(B,)`` is ``||J^T J v - s^2 v|| / s^2``: how far the iteration is from its end, 0 where nothing was iterated.
    """

    values: Tensor
    direction: Tensor
    residual: Tensor


def leading(function: Function, inputs: Tensor, *, spectrum: Spectrum, generator: torch.Generator) -> Leading:
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
        return decomposed(jacobian(function, inputs))
    return iterated(function, inputs, iterations=spectrum.iterations, generator=generator)


def jacobian(function: Function, inputs: Tensor) -> Tensor:
    """``(B, d, n)``, one backward pass an output; no gradient of weights is built where they are frozen."""
    with torch.enable_grad():
        leaf = inputs.detach().requires_grad_()
        # summed over the batch: a row's output depends on its own input alone
        totals = function(leaf).sum(0)
        rows = [torch.autograd.grad(total, leaf, retain_graph=True)[0] for total in totals]
    return torch.stack([row.flatten(1) for row in rows], 1)


def decomposed(jacobians: Tensor) -> Leading:
    """From whole Jacobians ``(B, d, n)``, in float64."""
    whole = jacobians.double()
    values, left = eigen(whole @ whole.mT)
    direction = divided((left.unsqueeze(1) @ whole).squeeze(1), values[:, :1])
    return Leading(values, direction, torch.zeros_like(values[:, 0]))


def eigen(grams: Tensor) -> tuple[Tensor, Tensor]:
    """From J J^T ``(B, d, d)`` the two largest singular values ``(B, 2)``, and the first left vector ``(B, d)``."""
    squares, vectors = torch.linalg.eigh(grams)
    values = squares.clamp_min(0).sqrt().flip(1)[:, :2]
    if values.shape[1] < 2:
        values = torch.cat([values, torch.zeros_like(values)], 1)
    return values, vectors[:, :, -1]


def iterated(function: Function, inputs: Tensor, *, iterations: int, generator: torch.Generator) -> Leading:
    """By power iteration on J^T J with a block of vectors, never computing J (Halko, Martinsson and Tropp, 2011)."""
    size = inputs[0].numel()
    start = torch.randn((size, min(BLOCK, size)), generator=generator).to(inputs)
    block = torch.linalg.qr(start).Q.expand(len(inputs), -1, -1)
    for _ in range(iterations):
        block = torch.linalg.qr(pulled(function, inputs, pushed(function, inputs, block))).Q
    _, values, turn = torch.linalg.svd(pushed(function, inputs, block).double(), full_matrices=False)
    block = (block.double() @ turn.mT).to(inputs)
    first = block[:, :, :1]
    back = pulled(function, inputs, pushed(function, inputs, first)).double()
    square = values[:, :1].square()
    residual = divided((back[:, :, 0] - square * first[:, :, 0]), square).norm(dim=1)
    if values.shape[1] < 2:
        values = torch.cat([values, torch.zeros_like(values)], 1)
    moves = (values[:, :1] > 0).to(first)
    return Leading(values[:, :2], (first[:, :, 0] * moves).double(), residual)


def pushed(function: Function, inputs: Tensor, block: Tensor) -> Tensor:
    """J V: ``(B, d, k)`` for vectors ``(B, n, k)``.

    J^T u is linear in u, and its derivative along v is J v: two backward passes, so that every model will do whose
    gradients can be differentiated; forward-mode differentiation is not defined for as many.
    """
    with torch.enable_grad(), differentiated_twice():
        leaf = inputs.detach().requires_grad_()
        outputs = function(leaf)
        weights = torch.zeros_like(outputs, requires_grad=True)
        (back,) = torch.autograd.grad(outputs, leaf, weights, create_graph=True)
        columns = [
            torch.autograd.grad(back, weights, one.reshape(inputs.shape), retain_graph=True)[0]
            for one in block.unbind(2)
        ]
    return torch.stack(columns, 2)


def pulled(function: Function, inputs: Tensor, block: Tensor) -> Tensor:
    """J^T U: ``(B, n, k)`` for vectors ``(B, d, k)``."""
    with torch.enable_grad():
        leaf = inputs.detach().requires_grad_()
        outputs = function(leaf)
        columns = [torch.autograd.grad(outputs, leaf, one, retain_graph=True)[0] for one in block.unbind(2)]
    return torch.stack([column.flatten(1) for column in columns], 2)


def divided(rows: Tensor, by: Tensor) -> Tensor:
    """Rows over numbers that are not negative; zeros where those are zero."""
    return torch.where(by > 0, rows / by.clamp_min(torch.finfo(by.dtype).tiny), 0)
