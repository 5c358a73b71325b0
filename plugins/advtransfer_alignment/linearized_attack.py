"""The linearized virtual attack.

Each model moved along the first singular direction of its Jacobian.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from advtransfer.toolkit.prediction import apply_in_chunks, kernel_batches
from advtransfer.types import Context, Samples
from advtransfer_alignment.deviations import MIN_DEVIATION, Deviations
from advtransfer_alignment.jacobians import GramMatrices
from advtransfer_alignment.linear_algebra import (
    ModelFunction,
    divide_or_zero,
    jacobian_vector_products,
    leading_spectrum,
    spectrum_of_gram,
)
from advtransfer_alignment.options import Spectrum


@dataclass(frozen=True, slots=True)
class LinearizedAttack:
    """The linearised virtual attack on both models, of length 1; float64.

    Args:
        first: The two largest singular values of J_1, ``(N, 2)``.
        second: Those of J_2.
        cosine: Of the angle between the two first singular directions, ``(N,)``, sign arbitrary.
        on_first: What the attack on 1 does: ``J_1 v_1``, ``J_2 v_1`` and ``J_2 v_2``.
        on_second: What the attack on 2 does.
        residual: How far power iteration is from its end, ``(N, 2)``, a column a model; None where none was needed.
    """

    first_model_values: Tensor
    second_model_values: Tensor
    cosine: Tensor
    on_first: Deviations
    on_second: Deviations
    residual: Tensor | None = None

    def at_samples(self, rows: Tensor) -> LinearizedAttack:
        """That of some samples."""
        residual = None if self.residual is None else self.residual[rows]
        deviations = (self.on_first.at_samples(rows), self.on_second.at_samples(rows))
        return LinearizedAttack(
            self.first_model_values[rows],
            self.second_model_values[rows],
            self.cosine[rows],
            *deviations,
            residual,
        )

    def direction_masks(self) -> tuple[Tensor, Tensor]:
        """Where J_1 is not zero, and where J_2 is not, ``(N,)`` bool: only there they have a first direction."""
        return self.first_model_values[:, 0] >= MIN_DEVIATION, self.second_model_values[
            :, 0
        ] >= MIN_DEVIATION


def linearize_from_grams(found: GramMatrices) -> LinearizedAttack:
    """Exact, from the inner products of all gradients."""
    first, left = spectrum_of_gram(found.first)
    second, right = spectrum_of_gram(found.second)
    inner = torch.einsum("ni,nij,nj->n", left, found.cross, right)
    cosine = divide_or_zero(inner, first[:, 0] * second[:, 0])
    own, theirs = left * first[:, :1], right * second[:, :1]
    to_second = divide_or_zero(torch.einsum("nij,ni->nj", found.cross, left), first[:, :1])
    to_first = divide_or_zero(torch.einsum("nij,nj->ni", found.cross, right), second[:, :1])
    return LinearizedAttack(
        first, second, cosine, Deviations(own, to_second, theirs), Deviations(theirs, to_first, own)
    )


def linearize_from_products(
    first: ModelFunction,
    second: ModelFunction,
    samples: Samples,
    *,
    spectrum: Spectrum,
    context: Context,
) -> LinearizedAttack:
    """By products with the Jacobians alone, for models of many outputs."""

    def look(inputs: Tensor) -> Tensor:
        found = [
            leading_spectrum(
                function, inputs, spectrum=spectrum, generator=context.generator("singular")
            )
            for function in (first, second)
        ]
        block = torch.stack([one.direction for one in found], 2).to(inputs)
        moved = [
            jacobian_vector_products(function, inputs, block).double()
            for function in (first, second)
        ]
        cosine = (found[0].direction * found[1].direction).sum(1, keepdim=True)
        residual = torch.stack([one.residual for one in found], 1)
        return torch.cat(
            [*(one.values for one in found), cosine, residual, *(one.flatten(1) for one in moved)],
            1,
        )

    device = context.device
    rows = torch.cat(
        [apply_in_chunks(look, inputs.to(device)).cpu() for _, inputs, _ in kernel_batches(samples)]
    )
    with torch.no_grad():
        outputs = first(samples.inputs(torch.tensor([0])).to(device)).shape[1]
    moves = rows[:, 7:].reshape(len(rows), -1, 2)
    (own, to_first), (to_second, theirs) = (
        part.unbind(2) for part in (moves[:, :outputs], moves[:, outputs:])
    )
    return LinearizedAttack(
        rows[:, :2],
        rows[:, 2:4],
        rows[:, 4],
        Deviations(own, to_second, theirs),
        Deviations(theirs, to_first, own),
        rows[:, 5:7],
    )
