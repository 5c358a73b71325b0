"""Outputs of a source S and a reference T at the test samples, and the measurement computed from them.

Suffixes name a direction: ``_st`` attacks the source and observes the reference, ``_ts`` the other way round.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.losses import task_loss
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


@dataclass(frozen=True, slots=True)
class WhiteBoxOutputs:
    """One model under its own attack: ``(N, *shape)`` perturbations, ``(N, d)`` outputs without and with them."""

    delta: Tensor
    outputs: Tensor
    attacked: Tensor


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything that was found.

    Args:
        card: The target's.
        labels: Of the samples.
        source: f_S under its own attack.
        reference: f_T under its own.
        reference_at_source: What f_T says at the source's adversarials.
        source_at_reference: What f_S says at the reference's.
        features: What the heads of f_S and f_T receive, ``(N, D)`` each.
        linear: The linearised attack on both.
        jacobians: The inner products of all gradients; None for models of too many outputs.
        exact: Whether the attack is the linearised one, whose moves are then linear too, as it is defined.
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
        """The numbers, and the arrays whose means they are.

        Raises:
            Inapplicable: The reference has fewer than two samples right.
        """
        right = self.correct_samples()
        if (count := int(right.sum())) < 2:
            raise Inapplicable(
                f"of {len(right)} samples the reference has {count} right; two are needed"
            )
        numbers: dict[str, MetricValue] = {
            "right": float(count),
            "reference_error": (~right).double(),
            **{
                name: masked_to(right, values)
                for name, values in (self.reference_losses() | self.changed_decisions()).items()
            },
            **linearized_metrics(self.linear, right),
            **cosine_metrics(self.source.delta, self.reference.delta, right),
            **self._distance_metrics(right),
            **self._theorem_metrics(right),
        }
        for way, found in self.deviations_by_direction().items():
            numbers |= transferability_metrics(found, right, way=way)
        return _as_measurement(numbers)

    def correct_samples(self) -> Tensor:
        """Which samples the reference has right, ``(N,)`` bool; all where the task has values."""
        if self.card.task == "values":
            return torch.ones(len(self.labels), dtype=torch.bool)
        return (self._decisions_of(self.reference.outputs) == _label_columns(self.labels)).all(1)

    def deviations_by_direction(self) -> dict[str, Deviations]:
        """How the attack moves outputs, by direction."""
        if self.exact:
            return {"st": self.linear.on_first, "ts": self.linear.on_second}
        source, reference = (one.attacked - one.outputs for one in (self.source, self.reference))
        to_reference = self.reference_at_source - self.reference.outputs
        to_source = self.source_at_reference - self.source.outputs
        return {
            "st": Deviations(source, to_reference, reference),
            "ts": Deviations(reference, to_source, source),
        }

    def reference_losses(self) -> dict[str, Tensor]:
        """The reference's loss on the task, ``(N,)``: as it is, at its own adversarials, and at the source's."""
        at = {
            "loss_clean": self.reference.outputs,
            "loss_white_box": self.reference.attacked,
            "loss_transfer": self.reference_at_source,
        }
        return {
            name: task_loss(self.card.task, outputs, self.labels, reduction="none")
            for name, outputs in at.items()
        }

    def changed_decisions(self) -> dict[str, Tensor]:
        """Whether an attack changes what a model says, ``(N,)`` bool, by the model attacked and the one looked at."""
        if self.card.task == "values":
            return {}
        source, reference = self.source, self.reference
        pairs = {
            "ss": (source.outputs, source.attacked),
            "st": (reference.outputs, self.reference_at_source),
            "tt": (reference.outputs, reference.attacked),
            "ts": (source.outputs, self.source_at_reference),
        }
        return {
            f"error_rate_{way}": (self._decisions_of(a) != self._decisions_of(b)).any(1)
            for way, (a, b) in pairs.items()
        }

    def _decisions_of(self, outputs: Tensor) -> Tensor:
        """The decisions that outputs stand for, ``(N, 1)`` or ``(N, K)``."""
        return (
            outputs.argmax(1, keepdim=True) if self.card.task == "classes" else (outputs > 0).long()
        )

    def _distance_metrics(self, right: Tensor) -> dict[str, float]:
        found = distance_metrics(
            source=self.source.outputs[right],
            reference=self.reference.outputs[right],
            source_features=self.features[0][right].double(),
            reference_features=self.features[1][right].double(),
            labels=target_outputs(self.labels, self.card)[right],
        )
        if self.jacobians is not None:
            grams = self.jacobians.grams.at_samples(right)
            found["gradient_distance_st"] = gradient_distance(grams)
            found["gradient_distance_ts"] = gradient_distance(grams.with_roles_swapped())
        return found

    def _theorem_metrics(self, right: Tensor) -> Mapping[str, float]:
        first, second = self.linear.direction_masks()
        rows = sufficient_rows(right, first & second)
        if self.jacobians is None or rows is None:
            return {}
        linear = self.linear.at_samples(rows)
        carried = tau_2(linear.on_first.surrogate, linear.on_first.victim)
        if carried is None:
            return {}
        outputs = TheoremOutputs(
            source=self.source.outputs[rows],
            reference=self.reference.outputs[rows],
            target=target_outputs(self.labels, self.card)[rows],
        )
        return theorem_metrics(self.jacobians.at_samples(rows), linear, carried, outputs)


def _as_measurement(numbers: Mapping[str, MetricValue]) -> Measurement:
    means = {name: number for name, number in numbers.items() if isinstance(number, Tensor)}
    return Measurement(
        metrics={
            name: float(one.nanmean() if isinstance(one, Tensor) else one)
            for name, one in numbers.items()
        },
        samples={name: values.float() for name, values in means.items()},
    )


def _label_columns(labels: Tensor) -> Tensor:
    return labels.reshape(len(labels), -1)


def target_outputs(labels: Tensor, card: DataCard) -> Tensor:
    """What outputs should be, ``(N, K)`` float64: one-hot classes, -1/2 or 1/2 by attribute, or the values."""
    if card.task == "classes":
        return functional.one_hot(labels, card.outputs).double()
    # an attribute is predicted where the output is above 0
    return labels.double() - (0.5 if card.task == "attributes" else 0.0)
