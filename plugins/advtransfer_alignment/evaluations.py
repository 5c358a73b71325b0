"""Evaluations: alignment with a reference, transferability estimates, and a model's task loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.datasets import BoundedSamples, all_positions
from advtransfer.toolkit.losses import task_loss
from advtransfer.toolkit.prediction import predict
from advtransfer.types import Context, DataCard, EvaluationInputs, Measurement, Samples
from advtransfer_alignment.attacks import attack_to_json, compute_perturbations
from advtransfer_alignment.comparison import Comparison
from advtransfer_alignment.jacobians import JacobianStatistics, jacobian_statistics
from advtransfer_alignment.linearized_attack import (
    LinearizedAttack,
    linearize_from_grams,
    linearize_from_products,
)
from advtransfer_alignment.models import AdaptedModel, outputs_at
from advtransfer_alignment.options import Attack, Spectrum, TopSingularAttack
from advtransfer_alignment.white_box import WhiteBoxOutputs, memory_key, white_box_pair


def validated_labels(samples: Samples) -> Tensor:
    """Return all labels: ``(N,)`` classes, ``(N, K)`` attributes or values.

    Raises:
        ValueError: Their shape or type is not that of the task, or a label is outside its range.
    """
    labels = samples.labels(all_positions(samples))
    card = samples.card
    _require_label_shape(labels, len(samples), card)
    if card.task == "values":
        _require_finite(labels)
    else:
        largest = card.outputs - 1 if card.task == "classes" else 1
        _require_range(labels, 0, largest, card)
    return labels


def _require_label_shape(labels: Tensor, count: int, card: DataCard) -> None:
    shape = (count,) if card.task == "classes" else (count, card.outputs)
    has_type = labels.is_floating_point() == (card.task == "values")
    if tuple(labels.shape) == shape and has_type:
        return
    kind = "floats" if card.task == "values" else "integers"
    found = f"labels of shape {tuple(labels.shape)} and type {labels.dtype}"
    expected = f"{kind} of shape {shape}"
    raise ValueError(
        f"found {found}; expected {expected}, {card.task}; correct the data set or its card"
    )


def require_output_count(outputs: Tensor, card: DataCard, *, of: str) -> None:
    """Raise an error unless outputs ``(N, K)`` are as many as the target's."""
    if outputs.shape[1] != card.outputs:
        found = f"a {of} of {outputs.shape[1]} outputs"
        expected = f"{card.outputs}, as the target has"
        raise ValueError(
            f"found {found}; expected {expected}; build it for the target's own data entry"
        )


def _require_range(labels: Tensor, low: int, high: int, card: DataCard) -> None:
    is_valid = (labels >= low) & (labels <= high)
    if not is_valid.all():
        found = f"labels from {int(labels.min())} to {int(labels.max())}"
        expected = f"{low} to {high}"
        raise ValueError(
            f"found {found}; expected {expected}, the target's {card.task}; renumber the data set"
        )


def _require_finite(labels: Tensor) -> None:
    broken = int((~torch.isfinite(labels).all(1)).sum())
    if broken:
        found = f"values that are not finite for {broken} of {len(labels)} samples"
        raise ValueError(f"found {found}; expected finite values; correct the data set")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentEvaluation:
    """Evaluation of the adversarial transferability between source and reference.

    It also measures how near one model is to an affine map of the other.

    Args:
        attack: Attack on both models.
        spectrum: How the singular directions of their Jacobians are computed.
        seed: Seed of the attack's random starts.
    """

    attack: Attack
    spectrum: Spectrum
    seed: int

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Return metrics over the samples that the reference predicts correctly, and arrays.

        Raises:
            ValueError: A model is in training mode, or its outputs are not finite or not as many as
                the target's; inputs are outside the bounds on the card; labels are invalid; or the
                radius is too large.
            Inapplicable: Fewer than two samples are correct, or the attack does not fit the task.
        """
        source = AdaptedModel.of_source(given)
        reference = AdaptedModel.of_reference(given)
        # Attacks clip to the bounds, which would move inputs outside them without any attack.
        test = BoundedSamples(given.test)
        with source.frozen_in_eval(), reference.frozen_in_eval():
            return self._compare_models(source, reference, test, context).to_measurement()

    def _compare_models(
        self, source: AdaptedModel, reference: AdaptedModel, test: Samples, context: Context
    ) -> Comparison:
        labels = validated_labels(test)
        source_white_box, reference_white_box = white_box_pair(
            source,
            reference,
            test,
            attack=self.attack,
            spectrum=self.spectrum,
            seed=self.seed,
            context=context,
        )
        require_output_count(reference_white_box.outputs, test.card, of="reference")
        reference_at_source = outputs_at(
            reference.outputs, test, source_white_box.delta, context=context
        )
        source_at_reference = outputs_at(
            source.outputs, test, reference_white_box.delta, context=context
        )
        linear, jacobians = self._linearize_models(
            source, reference, test, (source_white_box, reference_white_box), context
        )
        return Comparison(
            card=test.card,
            labels=labels,
            source=source_white_box,
            reference=reference_white_box,
            reference_at_source=reference_at_source,
            source_at_reference=source_at_reference,
            features=tuple(
                outputs_at(model.features, test, None, context=context)
                for model in (source, reference)
            ),
            linear=linear,
            jacobians=jacobians,
            exact=isinstance(self.attack, TopSingularAttack),
        )

    def _linearize_models(
        self,
        source: AdaptedModel,
        reference: AdaptedModel,
        test: Samples,
        white_box: tuple[WhiteBoxOutputs, WhiteBoxOutputs],
        context: Context,
    ) -> tuple[LinearizedAttack, JacobianStatistics | None]:
        """Return the linearized attack, and the Jacobians' statistics where outputs are few."""
        functions = (source.outputs, reference.outputs)
        most_outputs = max(model.outputs.shape[1] for model in white_box)
        # Whole Jacobians need memory that grows with the square of the number of outputs.
        if most_outputs > self.spectrum.most_outputs:
            linear = linearize_from_products(
                *functions, test, spectrum=self.spectrum, context=context
            )
            return linear, None
        jacobians = jacobian_statistics(*functions, test, device=context.device)
        return linearize_from_grams(jacobians.grams), jacobians


Estimator: TypeAlias = Callable[[Tensor, Tensor, DataCard], float]
"""From the source's activations ``(N, D)``, the labels and the target's card to the estimate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimatorEvaluation:
    """Evaluation that computes one number from the source's activations on training samples.

    Args:
        metric: Name of the number.
        estimator: How it is computed.
        reads: The source's ``features``, or its own head's ``outputs``.
        attack: Attack that moves the samples first, away from the source's own prediction; None for
            clean samples.
        seed: Seed of the attack's random starts.
    """

    metric: str
    estimator: Estimator
    reads: Literal["features", "outputs"]
    attack: Attack | None
    seed: int

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Return the estimate.

        Raises:
            ValueError: Labels are invalid, or inputs are outside the bounds on the card.
            Inapplicable: All labels are of one class, or the estimator does not apply here.
        """
        if given.train is None:
            raise ValueError(
                "found no training samples; expected some; declare needs=('train',) on the factory"
            )
        source = AdaptedModel.of_source(given)
        train = BoundedSamples(given.train)
        labels = validated_labels(train)
        # With one class LEEP and the H-score are the same for every source.
        if train.card.task == "classes" and not (labels != labels[0]).any():
            raise Inapplicable(
                f"an estimate of transfer needs two classes; all {len(labels)} samples are of one"
            )
        with source.frozen_in_eval():
            activations = self._source_activations(source, train, context)
        estimate = self.estimator(activations, labels, train.card)
        return Measurement(metrics={self.metric: estimate})

    def _source_activations(self, source: AdaptedModel, train: Samples, context: Context) -> Tensor:
        """Return the source's activations; they are remembered, and shared by the estimators."""

        def build() -> dict[str, Tensor]:
            delta = None
            if self.attack is not None:
                delta = compute_perturbations(
                    source.outputs, train, attack=self.attack, context=context
                )
            return {
                "features": outputs_at(source.features, train, delta, context=context),
                "outputs": outputs_at(source.outputs, train, delta, context=context),
            }

        attack = None if self.attack is None else attack_to_json(self.attack)
        key = memory_key(attack, self.seed, train)
        inputs = ("source", "adapter", "train")
        return context.remember("source activations", key, build, of=inputs)[self.reads]


class TaskLossEvaluation:
    """Evaluation of a transferred model's loss on its task.

    Cross-entropy for classes, binary cross-entropy for attributes, root mean square for values.
    """

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Return the metric ``loss``, and the samples' losses.

        The losses have the name of the metric that is their mean.

        Raises:
            ValueError: There is no model, it is in training mode, or its number of outputs is not
                the target's; outputs are not finite; or labels are invalid.
        """
        if given.model is None:
            raise ValueError(
                "found no model; expected the transferred model; declare needs=('model',) on the factory"
            )
        card = given.test.card
        labels = validated_labels(given.test)
        outputs, _ = predict(given.model, given.test, device=context.device)
        require_output_count(outputs, card, of="model")
        if not outputs.isfinite().all():
            raise ValueError(
                "found outputs that are not finite; expected finite values; check the model's weights"
            )
        losses = task_loss(card.task, outputs.double(), labels, reduction="none")
        if card.task == "values":
            return _root_mean_measurement(losses)
        return _mean_measurement("loss", losses)


def _mean_measurement(name: str, losses: Tensor) -> Measurement:
    return Measurement(metrics={name: float(losses.mean())}, samples={name: losses.float()})


def _root_mean_measurement(squares: Tensor) -> Measurement:
    """Return the measurement of squared distances.

    Their root mean is not a mean over samples, so the squares go under a name of their own.
    """
    mean = _mean_measurement("squared_loss", squares)
    root_mean = float(squares.mean().sqrt())
    return Measurement(metrics={"loss": root_mean, **mean.metrics}, samples=mean.samples)
