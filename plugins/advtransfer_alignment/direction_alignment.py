"""Alignment of two models by singular direction of their Jacobians, and over all directions.

The paper's generalised transferability over all singular directions (Liang et al., 2021) is not
restated here: the metrics over all directions are this project's own definition.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.datasets import BoundedSamples
from advtransfer.types import Context, EvaluationInputs, Measurement
from advtransfer_alignment.comparison import as_measurement, correct_samples
from advtransfer_alignment.deviations import MIN_DEVIATION, Deviations
from advtransfer_alignment.evaluations import require_output_count, validated_labels
from advtransfer_alignment.jacobians import GramMatrices, jacobian_statistics
from advtransfer_alignment.linear_algebra import RANK_CUTOFF, divide_or_zero
from advtransfer_alignment.metrics import (
    MetricValue,
    masked_to,
    metrics_over_subset,
    transferability_metrics,
)
from advtransfer_alignment.models import AdaptedModel, outputs_at


@dataclass(frozen=True, slots=True)
class SingularDirections:
    """Singular values ``(N, k)`` of Jacobians, descending, and left vectors ``(N, d, k)``.

    Values below `RANK_CUTOFF` of the largest are 0, since a Gram matrix holds no smaller ones.
    """

    values: Tensor
    left: Tensor

    @classmethod
    def from_grams(cls, grams: Tensor) -> SingularDirections:
        """Return those of Jacobians J, from J J^T ``(N, d, d)`` float64."""
        squares, vectors = torch.linalg.eigh(grams)
        values = squares.clamp_min(0).sqrt().flip(1)
        is_zero = values < RANK_CUTOFF * values[:, :1]
        return cls(values.masked_fill(is_zero, 0), vectors.flip(2))


@dataclass(frozen=True, slots=True)
class DirectionPair:
    """The singular directions of two models at the same samples.

    Attributes:
        first: Those of J_1, ``(N, m)`` values.
        second: Those of J_2, ``(N, d)`` values.
        cross: J_1 J_2^T, ``(N, m, d)``.
    """

    first: SingularDirections
    second: SingularDirections
    cross: Tensor

    @classmethod
    def from_grams(cls, grams: GramMatrices) -> DirectionPair:
        """Return the directions from the inner products of all gradients."""
        return cls(
            SingularDirections.from_grams(grams.first),
            SingularDirections.from_grams(grams.second),
            grams.cross,
        )

    @property
    def count(self) -> int:
        """Number of directions that both models have."""
        return min(self.cross.shape[1:])

    def with_roles_swapped(self) -> DirectionPair:
        """Return the pair with the models' roles exchanged."""
        return DirectionPair(self.second, self.first, self.cross.mT)

    def victim_changes(self) -> Tensor:
        """Return J_2 v_i for each right singular vector v_i of J_1, ``(N, d, m)``.

        Zeros where sigma_i is 0, since v_i is then no direction that moves model 1.
        """
        # v_i = J_1^T u_i / sigma_i.
        scaled = self.cross.mT @ self.first.left
        return divide_or_zero(scaled, self.first.values.unsqueeze(1))

    def deviations_at(self, index: int) -> Deviations:
        """Return the changes under the attack along direction `index` of model 1, from 0."""
        surrogate = self.first.left * self.first.values.unsqueeze(1)
        white_box = self.second.left * self.second.values.unsqueeze(1)
        return Deviations(
            surrogate[:, :, index], self.victim_changes()[:, :, index], white_box[:, :, index]
        )

    def squared_cosines(self, index: int) -> Tensor:
        """Return <v_i, w_i>^2 of both models' right singular vectors, ``(N,)``; 0 without one."""
        second_left = self.second.left[:, :, index]
        inner = (self.victim_changes()[:, :, index] * second_left).sum(1)
        cosines: Tensor = divide_or_zero(inner, self.second.values[:, index])
        return cosines.square()

    def energy_alignment(self) -> Tensor:
        """Return the alpha_1 over all directions of each sample, ``(N,)``, from 0 to 1.

        ``sqrt(sum_i s_i^2 ||J_2 v_i||^2 / sum_i s_i^2 t_i^2)`` with the singular values s of J_1
        and t of J_2. The sum above is ``||J_1 J_2^T||_F^2``, so that the number is the same with
        the roles exchanged, and von Neumann's trace inequality bounds it by the sum below. It is 1
        exactly where both have the same right singular vectors in the same order. Not finite where
        a Jacobian is 0.
        """
        common = self.count
        bound = (self.first.values[:, :common] * self.second.values[:, :common]).norm(dim=1)
        shares: Tensor = self.cross.flatten(1).norm(dim=1) / bound
        return shares

    def weighted_outer_products(self) -> Tensor:
        """Return ``sum_i w_i u(J_1 v_i) u(J_2 v_i)^T`` of each sample, ``(N, m, d)``.

        The weights are ``w_i = s_i^2 / sum_j s_j^2``; directions that do not move model 2 add 0.
        """
        changes = self.victim_changes()
        units = divide_or_zero(changes, changes.norm(dim=1, keepdim=True))
        squares = self.first.values.square()
        weights = divide_or_zero(squares, squares.sum(1, keepdim=True))
        return (self.first.left * weights.unsqueeze(1)) @ units.mT


@dataclass(frozen=True, slots=True, kw_only=True)
class SingularDirectionsEvaluation:
    """Evaluation of the alignment of source and reference by singular direction.

    Args:
        directions: Number of directions with metrics of their own.
        most_outputs: Largest number of outputs of a model.
    """

    directions: int
    most_outputs: int

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Return the metrics over the samples that the reference predicts correctly, and arrays.

        Raises:
            ValueError: A model is in training mode, or its outputs are not finite or not as many as
                the target's; or labels are invalid.
            Inapplicable: Fewer than two samples are correct, or a model has too many outputs.
        """
        source = AdaptedModel.of_source(given)
        reference = AdaptedModel.of_reference(given)
        test = BoundedSamples(given.test)
        labels = validated_labels(test)
        with source.frozen_in_eval(), reference.frozen_in_eval():
            outputs = outputs_at(reference.outputs, test, None, context=context)
            require_output_count(outputs, test.card, of="reference")
            source_outputs = outputs_at(source.outputs, test, None, context=context)
            self._require_few_outputs(max(outputs.shape[1], source_outputs.shape[1]))
            statistics = jacobian_statistics(
                source.outputs, reference.outputs, test, device=context.device
            )
        correct = correct_samples(test.card, outputs, labels)
        pair = DirectionPair.from_grams(statistics.grams)
        metrics: dict[str, MetricValue] = {"right": float(correct.sum())}
        for index in range(min(self.directions, pair.count)):
            metrics |= direction_metrics(pair, correct, index=index)
        return as_measurement(metrics | all_directions_metrics(pair, correct))

    def _require_few_outputs(self, count: int) -> None:
        if count > self.most_outputs:
            raise Inapplicable(
                f"a model has {count} outputs, more than most_outputs {self.most_outputs}; "
                "all directions need whole Jacobians"
            )


def direction_metrics(
    pair: DirectionPair, correct: Tensor, *, index: int
) -> dict[str, MetricValue]:
    """Return the metrics of one direction, with names that begin ``direction_<index + 1>_``."""
    first_values = pair.first.values[:, index]
    second_values = pair.second.values[:, index]
    both = (first_values >= MIN_DEVIATION) & (second_values >= MIN_DEVIATION)

    def tau_1_metrics(rows: Tensor) -> dict[str, MetricValue]:
        return {"tau_1": masked_to(rows, pair.squared_cosines(index))}

    metrics: dict[str, MetricValue] = {
        "sigma_s": masked_to(correct, first_values),
        "sigma_t": masked_to(correct, second_values),
        **metrics_over_subset(correct, both, name="tau_1", metrics=tau_1_metrics),
    }
    for direction, ordered in (("st", pair), ("ts", pair.with_roles_swapped())):
        deviations = ordered.deviations_at(index)
        metrics |= transferability_metrics(deviations, correct, direction=direction)
    return {f"direction_{index + 1}_{name}": value for name, value in metrics.items()}


def all_directions_metrics(pair: DirectionPair, correct: Tensor) -> dict[str, MetricValue]:
    """Return the metrics over all directions, with names that begin ``weighted_``."""
    moves = (pair.first.values[:, 0] >= MIN_DEVIATION) & (pair.second.values[:, 0] >= MIN_DEVIATION)

    def weighted_metrics(rows: Tensor) -> dict[str, MetricValue]:
        swapped = pair.with_roles_swapped()
        return {
            "weighted_alpha_1": masked_to(rows, pair.energy_alignment()),
            "weighted_alpha_2_st": _norm_of_mean(pair.weighted_outer_products()[rows]),
            "weighted_alpha_2_ts": _norm_of_mean(swapped.weighted_outer_products()[rows]),
        }

    return metrics_over_subset(correct, moves, name="weighted", metrics=weighted_metrics)


def _norm_of_mean(matrices: Tensor) -> float:
    # As in alpha_2, the mean over samples comes first and the norm after it.
    return float(matrices.mean(0).norm())
