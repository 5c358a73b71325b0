"""The linearized virtual attack: each model moved along its Jacobian's first singular direction."""

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
    """The linearized virtual attack on both models, of length 1; float64.

    Liang et al. (2020), definition 1: argmax ``||J delta||`` is the first right singular vector v.

    Args:
        first_model_values: The two largest singular values of J_1, ``(N, 2)``.
        second_model_values: Those of J_2, ``(N, 2)``.
        cosine: Cosine of the angle between v_1 and v_2, ``(N,)``, its sign arbitrary.
        on_first: The attack on model 1: ``J_1 v_1``, ``J_2 v_1`` and ``J_2 v_2``.
        on_second: The attack on model 2: ``J_2 v_2``, ``J_1 v_2`` and ``J_1 v_1``.
        residual: Distance of the power iteration from convergence, ``(N, 2)``, one column per
            model; None where none was needed.
    """

    first_model_values: Tensor
    second_model_values: Tensor
    cosine: Tensor
    on_first: Deviations
    on_second: Deviations
    residual: Tensor | None = None

    def at_samples(self, rows: Tensor) -> LinearizedAttack:
        """Return the attack at some samples."""
        return LinearizedAttack(
            first_model_values=self.first_model_values[rows],
            second_model_values=self.second_model_values[rows],
            cosine=self.cosine[rows],
            on_first=self.on_first.at_samples(rows),
            on_second=self.on_second.at_samples(rows),
            residual=None if self.residual is None else self.residual[rows],
        )

    def direction_masks(self) -> tuple[Tensor, Tensor]:
        """Return where J_1 and where J_2 is not zero, ``(N,)`` bool each.

        Only there a Jacobian has a first direction.
        """
        first = self.first_model_values[:, 0] >= MIN_DEVIATION
        second = self.second_model_values[:, 0] >= MIN_DEVIATION
        return first, second


def linearize_from_grams(grams: GramMatrices) -> LinearizedAttack:
    """Return the exact linearized attack, from the inner products of all gradients."""
    first_values, first_left = spectrum_of_gram(grams.first)
    second_values, second_left = spectrum_of_gram(grams.second)
    # v = J^T u / s, so every product with v is one of a Gram matrix with the left vector u.
    inner = torch.einsum("ni,nij,nj->n", first_left, grams.cross, second_left)
    cosine = divide_or_zero(inner, first_values[:, 0] * second_values[:, 0])
    first_change = first_left * first_values[:, :1]
    second_change = second_left * second_values[:, :1]
    change_of_second = torch.einsum("nij,ni->nj", grams.cross, first_left)
    change_of_first = torch.einsum("nij,nj->ni", grams.cross, second_left)
    change_of_second = divide_or_zero(change_of_second, first_values[:, :1])
    change_of_first = divide_or_zero(change_of_first, second_values[:, :1])
    return LinearizedAttack(
        first_model_values=first_values,
        second_model_values=second_values,
        cosine=cosine,
        on_first=Deviations(first_change, change_of_second, second_change),
        on_second=Deviations(second_change, change_of_first, first_change),
    )


def linearize_from_products(
    first: ModelFunction,
    second: ModelFunction,
    samples: Samples,
    *,
    spectrum: Spectrum,
    context: Context,
) -> LinearizedAttack:
    """Return the linearized attack by products with the Jacobians, for models of many outputs.

    Args:
        first: Model 1, from inputs to outputs.
        second: Model 2, from inputs to outputs.
        samples: The samples, passed in chunks of a fixed size.
        spectrum: Options of the power iteration.
        context: Device and random streams.
    """
    device = context.device

    def chunk_attack(inputs: Tensor) -> Tensor:
        return _attack_rows(first, second, inputs, spectrum=spectrum, context=context)

    rows = torch.cat(
        [
            apply_in_chunks(chunk_attack, inputs.to(device)).cpu()
            for _, inputs, _ in kernel_batches(samples)
        ]
    )
    with torch.no_grad():
        outputs = first(samples.inputs(torch.tensor([0])).to(device)).shape[1]
    changes = rows[:, 7:].reshape(len(rows), -1, 2)
    first_by_first, first_by_second = changes[:, :outputs].unbind(2)
    second_by_first, second_by_second = changes[:, outputs:].unbind(2)
    return LinearizedAttack(
        first_model_values=rows[:, :2],
        second_model_values=rows[:, 2:4],
        cosine=rows[:, 4],
        on_first=Deviations(first_by_first, second_by_first, second_by_second),
        on_second=Deviations(second_by_second, first_by_second, first_by_first),
        residual=rows[:, 5:7],
    )


def _attack_rows(
    first: ModelFunction,
    second: ModelFunction,
    inputs: Tensor,
    *,
    spectrum: Spectrum,
    context: Context,
) -> Tensor:
    """Return one row per input: both models' values, the cosine, both residuals, and changes.

    The changes are those of the first model's outputs and of the second's, ``(d, 2)`` each, with
    one column per attacked model.
    """
    functions = (first, second)
    # Both models draw from streams of the same state: equal models get equal directions.
    spectra = [
        leading_spectrum(
            function, inputs, spectrum=spectrum, generator=context.generator("singular")
        )
        for function in functions
    ]
    directions = torch.stack([leading.direction for leading in spectra], 2).to(inputs)
    changes = [
        jacobian_vector_products(function, inputs, directions).double() for function in functions
    ]
    cosine = (spectra[0].direction * spectra[1].direction).sum(1, keepdim=True)
    residual = torch.stack([leading.residual for leading in spectra], 1)
    values = [leading.values for leading in spectra]
    flat_changes = [change.flatten(1) for change in changes]
    return torch.cat([*values, cosine, residual, *flat_changes], 1)
