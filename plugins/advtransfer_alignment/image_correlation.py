"""Correlation, across test images, of alpha_1(x) with the transferred model's loss at x."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from advtransfer.toolkit.datasets import BoundedSamples
from advtransfer.toolkit.losses import task_loss
from advtransfer.toolkit.prediction import predict
from advtransfer.types import Context, EvaluationInputs, Measurement
from advtransfer_alignment.comparison import as_measurement, correct_samples
from advtransfer_alignment.deviations import Deviations, alpha_1
from advtransfer_alignment.evaluations import require_output_count, validated_labels
from advtransfer_alignment.metrics import MetricValue, masked_to, metrics_over_subset
from advtransfer_alignment.models import AdaptedModel, outputs_at
from advtransfer_alignment.options import Attack, Spectrum
from advtransfer_alignment.white_box import white_box_pair


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCorrelationEvaluation:
    """Evaluation of whether images that are attacked alike are also transferred well.

    Args:
        attack: Attack on source and reference.
        seed: Seed of the attack's random starts.
    """

    attack: Attack
    seed: int

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Return the correlations over the samples that the reference predicts correctly.

        Raises:
            ValueError: A model is missing or in training mode, its outputs are not finite or not as
                many as the target's; or labels are invalid.
            Inapplicable: Fewer than two samples are correct, or the attack does not fit the task.
        """
        test = BoundedSamples(given.test)
        labels = validated_labels(test)
        losses = self._transferred_losses(given, labels, context)
        source = AdaptedModel.of_source(given)
        reference = AdaptedModel.of_reference(given)
        with source.frozen_in_eval(), reference.frozen_in_eval():
            own_source, own_reference = white_box_pair(
                source,
                reference,
                test,
                attack=self.attack,
                spectrum=Spectrum(),
                seed=self.seed,
                context=context,
            )
            require_output_count(own_reference.outputs, test.card, of="reference")
            at_source = outputs_at(reference.outputs, test, own_source.delta, context=context)
            at_reference = outputs_at(source.outputs, test, own_reference.delta, context=context)
        correct = correct_samples(test.card, own_reference.outputs, labels)
        source_change = own_source.attacked - own_source.outputs
        reference_change = own_reference.attacked - own_reference.outputs
        deviations = {
            "st": Deviations(
                source_change, at_source.double() - own_reference.outputs, reference_change
            ),
            "ts": Deviations(
                reference_change, at_reference.double() - own_source.outputs, source_change
            ),
        }
        metrics: dict[str, MetricValue] = {"loss": masked_to(correct, losses)}
        for direction, changes in deviations.items():
            metrics |= _correlation_metrics(changes, losses, correct, direction=direction)
        return as_measurement(metrics)

    def _transferred_losses(
        self, given: EvaluationInputs, labels: Tensor, context: Context
    ) -> Tensor:
        """Return the transferred model's loss of each sample, ``(N,)`` float64."""
        if given.model is None:
            raise ValueError(
                "found no model; expected the transferred model; declare needs=('model',) on the factory"
            )
        card = given.test.card
        outputs, _ = predict(given.model, given.test, device=context.device)
        require_output_count(outputs, card, of="model")
        losses = task_loss(card.task, outputs.double(), labels, reduction="none")
        if not losses.isfinite().all():
            raise ValueError(
                "found losses that are not finite; expected finite values; check the model's weights"
            )
        return losses


def _correlation_metrics(
    deviations: Deviations, losses: Tensor, correct: Tensor, *, direction: str
) -> dict[str, MetricValue]:
    shares = alpha_1(deviations)

    def correlations(rows: Tensor) -> dict[str, MetricValue]:
        metrics: dict[str, MetricValue] = {f"alpha_1_{direction}": masked_to(rows, shares)}
        pearson = pearson_correlation(shares[rows], losses[rows])
        if pearson is not None:
            metrics[f"pearson_{direction}"] = pearson
        spearman = pearson_correlation(average_ranks(shares[rows]), average_ranks(losses[rows]))
        if spearman is not None:
            metrics[f"spearman_{direction}"] = spearman
        return metrics

    defined = deviations.direction_masks().white_box
    return metrics_over_subset(correct, defined, name=direction, metrics=correlations)


def pearson_correlation(first: Tensor, second: Tensor) -> float | None:
    """Return Pearson's coefficient of ``(N,)`` float64; None where one of them is constant."""
    if bool((first == first[0]).all()) or bool((second == second[0]).all()):
        return None
    centred = first - first.mean()
    centred_second = second - second.mean()
    return float(centred @ centred_second / (centred.norm() * centred_second.norm()))


def average_ranks(values: Tensor) -> Tensor:
    """Return the ranks ``(N,)`` float64 from 1; equal values share the mean of their ranks."""
    _, group, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last_ranks = counts.cumsum(0).double()
    ranks: Tensor = (last_ranks - (counts.double() - 1) / 2)[group]
    return ranks
