"""Evaluation of the similarity of source and reference, block by block."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.datasets import BoundedSamples
from advtransfer.toolkit.prediction import apply_in_chunks
from advtransfer.types import Context, EvaluationInputs, Measurement, Samples
from advtransfer_alignment.attacks import compute_perturbations
from advtransfer_alignment.kernels import FEWEST_SAMPLES, HsicSums, gram_matrix
from advtransfer_alignment.models import AdaptedModel
from advtransfer_alignment.options import Attack, Kernel

FEATURES = "features"
"""The name of the head's inputs beside those of the blocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarityEvaluation:
    """Evaluation of centred kernel alignment between the blocks of source and reference.

    Args:
        kernels: The kernels.
        width: Width of the RBF kernel, as a multiple of the median distance.
        batch: Number of samples whose Gram matrix is taken at once.
        attack: Attack on each of the two models, at whose examples both are compared; None for
            clean samples only.
    """

    kernels: Sequence[Kernel]
    width: float
    batch: int
    attack: Attack | None

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Return CKA of each pair of blocks.

        Raises:
            ValueError: A model is in training mode, an activation is not finite, or the radius is
                too large.
            Inapplicable: There are fewer than four samples, or no block varies among them.
        """
        source = AdaptedModel.of_source(given)
        reference = AdaptedModel.of_reference(given)
        test = BoundedSamples(given.test)
        if len(test) < FEWEST_SAMPLES:
            raise Inapplicable(f"CKA needs {FEWEST_SAMPLES} test samples or more")
        metrics: dict[str, float] = {}
        with source.frozen_in_eval(), reference.frozen_in_eval():
            moves: dict[str, Tensor | None] = {"": None}
            if self.attack is not None:
                for name, model in (("_at_source", source), ("_at_reference", reference)):
                    moves[name] = compute_perturbations(
                        model.outputs, test, attack=self.attack, context=context
                    )
            for suffix, delta in moves.items():
                pairs = self._compare_blocks(source, reference, test, delta, context)
                metrics |= {
                    f"{kernel}{suffix}__{first}__{second}": value
                    for (kernel, first, second), sums in pairs.items()
                    if (value := sums.alignment()) is not None
                }
        if not metrics:
            raise Inapplicable(
                "no activation of one of the models differs between the test samples"
            )
        return Measurement(metrics=metrics)

    def _compare_blocks(
        self,
        source: AdaptedModel,
        reference: AdaptedModel,
        test: Samples,
        delta: Tensor | None,
        context: Context,
    ) -> dict[tuple[Kernel, str, str], HsicSums]:
        """Return the sums of each kernel and pair of blocks over all batches."""
        pairs: dict[tuple[Kernel, str, str], HsicSums] = {}
        # Batches of one size, up to one sample: a short last one would weigh as much as the others.
        batches = torch.arange(len(test)).tensor_split(math.ceil(len(test) / self.batch))
        for positions in batches:
            inputs = test.inputs(positions)
            if delta is not None:
                inputs = inputs + delta[positions]
            rows = inputs.to(context.device)
            first_grams = self._gram_matrices(source, rows)
            second_grams = self._gram_matrices(reference, rows)
            for (kernel, first), first_gram in first_grams.items():
                for (other_kernel, second), second_gram in second_grams.items():
                    if kernel == other_kernel:
                        sums = pairs.setdefault((kernel, first, second), HsicSums())
                        sums.add(first_gram, second_gram)
        return pairs

    def _gram_matrices(
        self, model: AdaptedModel, inputs: Tensor
    ) -> dict[tuple[Kernel, str], Tensor]:
        """Return the Gram matrix of each kernel and block of a model, ``(n, n)`` on the CPU."""
        grams: dict[tuple[Kernel, str], Tensor] = {}
        with torch.no_grad():
            for block in (*model.network.blocks, FEATURES):
                upto = None if block == FEATURES else block

                def activations(rows: Tensor, upto: str | None = upto) -> Tensor:
                    return model.network.features(model.adapter(rows), upto=upto).flatten(1)

                values = apply_in_chunks(activations, inputs)
                if not values.isfinite().all():
                    raise ValueError(
                        f"found activations of block {block!r} that are not finite; "
                        "expected finite values; check the model's weights"
                    )
                # The name of a metric, as a column or a question writes it, is one word.
                word = re.sub(r"\W", "_", block)
                for kernel in self.kernels:
                    grams[kernel, word] = gram_matrix(values.cpu(), kernel, width=self.width)
        return grams
