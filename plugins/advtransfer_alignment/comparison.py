"""Outputs of a source S and a reference T at the test samples, and their measurement.

Suffixes name a direction: ``_st`` attacks the source and observes the reference, ``_ts`` the other
way round.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.losses import regression_targets, task_loss
from advtransfer.types import DataCard, Measurement
from advtransfer_alignment.deviations import Deviations, tau_2
from advtransfer_alignment.jacobians import JacobianStatistics, gradient_distance
from advtransfer_alignment.linearized_attack import LinearizedAttack
from advtransfer_alignment.metrics import (
    MetricValue,
    cosine_metrics,
    distance_metrics,
    linearized_metrics,
    masked_to,
    sufficient_rows,
    transferability_metrics,
)
from advtransfer_alignment.theorems import TheoremOutputs, theorem_metrics
from advtransfer_alignment.white_box import WhiteBoxOutputs


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Outputs of both models at the samples and at both models' adversarial examples.

    Args:
        card: The target's card.
        labels: Labels of the samples.
        source: f_S under its own attack.
        reference: f_T under its own attack.
        reference_at_source: Outputs of f_T at the source's adversarial examples.
        source_at_reference: Outputs of f_S at the reference's adversarial examples.
        features: Inputs of the heads of f_S and f_T, ``(N, D)`` each.
        linear: The linearized virtual attack on both models.
        jacobians: Inner products of all gradients; None for models of too many outputs.
        exact: Use the linear deviations, since the attack is the linearized one.
    """

    card: DataCard
    labels: Tensor
    source: WhiteBoxOutputs
    reference: WhiteBoxOutputs
    reference_at_source: Tensor
    source_at_reference: Tensor
    features: tuple[Tensor, ...]
    linear: LinearizedAttack
    jacobians: JacobianStatistics | None
    exact: bool

    def to_measurement(self) -> Measurement:
        """Return the metrics, and the per-sample arrays whose means they are.

        Raises:
            Inapplicable: The reference predicts fewer than two samples correctly.
        """
        correct = self.correct_samples()
        values_by_metric = self.reference_losses() | self.changed_decisions()
        metrics: dict[str, MetricValue] = {
            "right": float(correct.sum()),
            "reference_error": (~correct).double(),
            **{name: masked_to(correct, values) for name, values in values_by_metric.items()},
            **linearized_metrics(self.linear, correct),
            **cosine_metrics(self.source.delta, self.reference.delta, correct),
            **self._distance_metrics(correct),
            **self._theorem_metrics(correct),
        }
        for direction, deviations in self.deviations_by_direction().items():
            metrics |= transferability_metrics(deviations, correct, direction=direction)
        return as_measurement(metrics)

    def correct_samples(self) -> Tensor:
        """Return which samples the reference predicts correctly, ``(N,)`` bool."""
        return correct_samples(self.card, self.reference.outputs, self.labels)

    def deviations_by_direction(self) -> dict[str, Deviations]:
        """Return how the attack changes both models' outputs, by direction."""
        if self.exact:
            return {"st": self.linear.on_first, "ts": self.linear.on_second}
        # Differences of outputs, not linearized ones, as in the released code of Liang et al.
        # (2021).
        source_change = self.source.attacked - self.source.outputs
        reference_change = self.reference.attacked - self.reference.outputs
        reference_at_source_change = self.reference_at_source - self.reference.outputs
        source_at_reference_change = self.source_at_reference - self.source.outputs
        return {
            "st": Deviations(source_change, reference_at_source_change, reference_change),
            "ts": Deviations(reference_change, source_at_reference_change, source_change),
        }

    def reference_losses(self) -> dict[str, Tensor]:
        """Return the reference's task loss of each sample, ``(N,)``, by metric.

        At the clean samples, at its own adversarial examples, and at the source's.
        """
        outputs_by_metric = {
            "loss_clean": self.reference.outputs,
            "loss_white_box": self.reference.attacked,
            # The adversarial loss transfer that Liang et al. (2020) plot.
            "loss_transfer": self.reference_at_source,
        }
        return {
            name: task_loss(self.card.task, outputs, self.labels, reduction="none")
            for name, outputs in outputs_by_metric.items()
        }

    def changed_decisions(self) -> dict[str, Tensor]:
        """Return whether an attack changes a model's decision, ``(N,)`` bool, by metric.

        Suffixes name the attacked and the observed model. Empty in regression.
        """
        if self.card.task == "values":
            return {}
        source = self.source
        reference = self.reference
        clean_and_attacked = {
            "ss": (source.outputs, source.attacked),
            "st": (reference.outputs, self.reference_at_source),
            "tt": (reference.outputs, reference.attacked),
            "ts": (source.outputs, self.source_at_reference),
        }
        return {
            f"error_rate_{pair}": (
                _decisions(self.card, clean) != _decisions(self.card, attacked)
            ).any(1)
            for pair, (clean, attacked) in clean_and_attacked.items()
        }

    def _distance_metrics(self, correct: Tensor) -> dict[str, float]:
        metrics = distance_metrics(
            source=self.source.outputs[correct],
            reference=self.reference.outputs[correct],
            source_features=self.features[0][correct].double(),
            reference_features=self.features[1][correct].double(),
            labels=regression_targets(self.labels, self.card)[correct],
        )
        if self.jacobians is not None:
            grams = self.jacobians.grams.at_samples(correct)
            metrics["gradient_distance_st"] = gradient_distance(grams)
            metrics["gradient_distance_ts"] = gradient_distance(grams.with_roles_swapped())
        return metrics

    def _theorem_metrics(self, correct: Tensor) -> Mapping[str, float]:
        source_has_direction, reference_has_direction = self.linear.direction_masks()
        # tau_1(x) is undefined where one of the models has no first direction.
        rows = sufficient_rows(correct, source_has_direction & reference_has_direction)
        if self.jacobians is None or rows is None:
            return {}
        linear = self.linear.at_samples(rows)
        # The theorems use tau_2 of the linearized attack, from S to T.
        deviation_map = tau_2(linear.on_first.surrogate, linear.on_first.victim)
        if deviation_map is None:
            return {}
        outputs = TheoremOutputs(
            source=self.source.outputs[rows],
            reference=self.reference.outputs[rows],
            target=regression_targets(self.labels, self.card)[rows],
        )
        return theorem_metrics(self.jacobians.at_samples(rows), linear, deviation_map, outputs)


def correct_samples(card: DataCard, outputs: Tensor, labels: Tensor) -> Tensor:
    """Return which samples a model of the target predicts correctly, ``(N,)`` bool.

    All of them in regression.

    Raises:
        Inapplicable: They are fewer than two.
    """
    if card.task == "values":
        correct = torch.ones(len(labels), dtype=torch.bool)
    else:
        correct = (_decisions(card, outputs) == labels.reshape(len(labels), -1)).all(1)
    count = int(correct.sum())
    if count < 2:
        raise Inapplicable(
            f"of {len(correct)} samples the reference has {count} right; two are needed"
        )
    return correct


def _decisions(card: DataCard, outputs: Tensor) -> Tensor:
    """Return the decisions that outputs stand for, ``(N, 1)`` or ``(N, K)``."""
    if card.task == "classes":
        return outputs.argmax(1, keepdim=True)
    return (outputs > 0).long()


def as_measurement(metrics: Mapping[str, MetricValue]) -> Measurement:
    """Return metrics as numbers, and as arrays those that are means over samples."""
    samples = {name: value for name, value in metrics.items() if isinstance(value, Tensor)}
    # NaN marks samples that a metric is not computed over.
    means = {name: float(values.nanmean()) for name, values in samples.items()}
    return Measurement(
        metrics={
            name: means[name] if isinstance(value, Tensor) else float(value)
            for name, value in metrics.items()
        },
        samples={name: values.float() for name, values in samples.items()},
    )
