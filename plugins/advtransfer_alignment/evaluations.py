"""Evaluations.

Alignment with a reference, transferability estimates, and the loss of a transferred model.
"""

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
from advtransfer.types import Context, DataCard, EvaluationInputs, Json, Measurement, Samples
from advtransfer_alignment.attacks import attack_to_json, compute_perturbations
from advtransfer_alignment.comparison import Comparison, WhiteBoxOutputs
from advtransfer_alignment.jacobians import jacobian_statistics
from advtransfer_alignment.linearized_attack import linearize_from_grams, linearize_from_products
from advtransfer_alignment.models import AdaptedModel, outputs_at
from advtransfer_alignment.options import Attack, Spectrum, TopSingularAttack


def validated_labels(samples: Samples) -> Tensor:
    """All labels: ``(N,)`` classes, ``(N, K)`` attributes or values.

    Raises:
        ValueError: They have another shape or type than those of the task, or one of them means nothing in it.
    """
    labels, card = samples.labels(all_positions(samples)), samples.card
    shape = (len(samples),) if card.task == "classes" else (len(samples), card.outputs)
    if tuple(labels.shape) != shape or labels.is_floating_point() != (card.task == "values"):
        kind = "floats" if card.task == "values" else "integers"
        found, expected = (
            f"labels of shape {tuple(labels.shape)} and type {labels.dtype}",
            f"{kind} of shape {shape}",
        )
        raise ValueError(
            f"found {found}; expected {expected}, {card.task}; correct the data set or its card"
        )
    if card.task == "values":
        _require_finite(labels)
    else:
        _require_range(labels, 0, card.outputs - 1 if card.task == "classes" else 1, card)
    return labels


def require_output_count(outputs: Tensor, card: DataCard, *, of: str) -> None:
    """Refuse outputs ``(N, K)`` of another number than the target's."""
    if outputs.shape[1] != card.outputs:
        found, expected = (
            f"a {of} of {outputs.shape[1]} outputs",
            f"{card.outputs}, as the target has",
        )
        raise ValueError(
            f"found {found}; expected {expected}; build it for the target's own data entry"
        )


def _require_range(labels: Tensor, low: int, high: int, card: DataCard) -> None:
    if not ((labels >= low) & (labels <= high)).all():
        found, expected = (
            f"labels from {int(labels.min())} to {int(labels.max())}",
            f"{low} to {high}",
        )
        raise ValueError(
            f"found {found}; expected {expected}, the target's {card.task}; renumber the data set"
        )


def _require_finite(labels: Tensor) -> None:
    if broken := int((~torch.isfinite(labels).all(1)).sum()):
        found = f"values that are not finite for {broken} of {len(labels)} samples"
        raise ValueError(f"found {found}; expected finite ones; correct the data set")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentEvaluation:
    """An evaluation: how far source and reference are attacked alike, and how near one is to a map of the other.

    Args:
        attack: What perturbs both.
        spectrum: How the directions of their Jacobians are found, those that `attack` may go along among them.
        seed: Of the attack's random starts.
    """

    attack: Attack
    spectrum: Spectrum
    seed: int

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Numbers over the samples that the reference has right; arrays over all.

        Raises:
            ValueError: A model in training mode, outputs that are not finite, or of another number than the target's;
                inputs outside the bounds on the card, labels that are none of the target's, or too large a radius.
            Inapplicable: Fewer than two samples are right; or the attack does not fit the task.
        """
        source, reference, test = (
            AdaptedModel.of_source(given),
            AdaptedModel.of_reference(given),
            BoundedSamples(given.test),
        )
        with source.frozen_in_eval(), reference.frozen_in_eval():
            return self._compare_models(source, reference, test, context).to_measurement()

    def _compare_models(
        self, source: AdaptedModel, reference: AdaptedModel, test: Samples, context: Context
    ) -> Comparison:
        labels = validated_labels(test)
        seen = [
            self._white_box_outputs(
                model, test, what=f"{name} adversarials", of=(*of, "test"), context=context
            )
            for name, model, of in (
                ("source", source, ("source", "adapter")),
                ("reference", reference, ("reference",)),
            )
        ]
        require_output_count(seen[1].outputs, test.card, of="reference")
        crossed = [
            outputs_at(model.outputs, test, seen[other].delta, context=context)
            for model, other in ((reference, 0), (source, 1))
        ]
        whole = max(one.outputs.shape[1] for one in seen) <= self.spectrum.most_outputs
        functions = (source.outputs, reference.outputs)
        found = jacobian_statistics(*functions, test, device=context.device) if whole else None
        if found is not None:
            linear = linearize_from_grams(found.grams)
        else:
            linear = linearize_from_products(
                *functions, test, spectrum=self.spectrum, context=context
            )
        return Comparison(
            card=test.card,
            labels=labels,
            source=seen[0],
            reference=seen[1],
            reference_at_source=crossed[0],
            source_at_reference=crossed[1],
            features=tuple(
                outputs_at(one.features, test, None, context=context) for one in (source, reference)
            ),
            linear=linear,
            jacobians=found,
            exact=isinstance(self.attack, TopSingularAttack),
        )

    def _white_box_outputs(
        self,
        model: AdaptedModel,
        test: Samples,
        *,
        what: str,
        of: tuple[str, ...],
        context: Context,
    ) -> WhiteBoxOutputs:
        """A model at the samples and at its own adversarials: remembered, since it hangs on no other model."""

        def build() -> dict[str, Tensor]:
            delta = compute_perturbations(
                model.outputs, test, attack=self.attack, spectrum=self.spectrum, context=context
            )
            outputs, attacked = (
                outputs_at(model.outputs, test, at, context=context) for at in (None, delta)
            )
            return {"delta": delta, "outputs": outputs, "attacked": attacked}

        # the content too: a data set that is named may have another one in another run
        content, attack = test.card.digest, attack_to_json(self.attack, spectrum=self.spectrum)
        key: dict[str, Json] = {
            "version": 1,
            "attack": attack,
            "seed": self.seed,
            "content": content,
        }
        found = context.remember(what, key, build, of=of)
        return WhiteBoxOutputs(
            found["delta"], found["outputs"].double(), found["attacked"].double()
        )


Estimator: TypeAlias = Callable[[Tensor, Tensor, DataCard], float]
"""From what the source gives ``(N, D)``, the labels and the target's card to the estimate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimatorEvaluation:
    """An evaluation: one number from what the source gives for the training samples.

    Args:
        metric: The number's name.
        estimator: How it is computed.
        reads: The source's ``features``, or its own head's ``outputs``.
        attack: What moves the samples first, away from the source's own prediction; None for nothing.
        seed: Of the attack's random starts.
    """

    metric: str
    estimator: Estimator
    reads: Literal["features", "outputs"]
    attack: Attack | None
    seed: int

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """One number.

        Raises:
            ValueError: Labels that are none of the target's, or inputs outside the bounds on the card.
            Inapplicable: The labels are all of one class, or the estimator cannot say anything of this source.
        """
        if given.train is None:
            raise ValueError(
                "found no training samples; expected some; declare needs=('train',) on the factory"
            )
        source, train = AdaptedModel.of_source(given), BoundedSamples(given.train)
        labels = validated_labels(train)
        if train.card.task == "classes" and not (labels != labels[0]).any():
            raise Inapplicable(
                f"an estimate of transfer needs two classes; all {len(labels)} samples are of one"
            )
        with source.frozen_in_eval():
            found = self._source_activations(source, train, context)
        return Measurement(metrics={self.metric: self.estimator(found, labels, train.card)})

    def _source_activations(self, source: AdaptedModel, train: Samples, context: Context) -> Tensor:
        """What the source gives, remembered: the estimators share it."""

        def build() -> dict[str, Tensor]:
            delta = None
            if self.attack is not None:
                delta = compute_perturbations(
                    source.outputs, train, attack=self.attack, context=context
                )
            functions = {"features": source.features, "outputs": source.outputs}
            return {
                name: outputs_at(one, train, delta, context=context)
                for name, one in functions.items()
            }

        attack = None if self.attack is None else attack_to_json(self.attack)
        # the content too: a data set that is named may have another one in another run
        key: dict[str, Json] = {
            "version": 1,
            "attack": attack,
            "seed": self.seed,
            "content": train.card.digest,
        }
        return context.remember(
            "source activations", key, build, of=("source", "adapter", "train")
        )[self.reads]


class TaskLossEvaluation:
    """An evaluation: cross-entropy for classes, binary cross-entropy for attributes, root mean square for values."""

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Metric ``loss``, and the losses of the samples under the name of the metric that is their mean.

        Raises:
            ValueError: No model, one in training mode or of another number of outputs than the target's; outputs that
                are not finite; or labels that are none of the target's.
        """
        if given.model is None:
            raise ValueError(
                "found no model; expected the transferred model; declare needs=('model',) on the factory"
            )
        labels, card = validated_labels(given.test), given.test.card
        outputs, _ = predict(given.model, given.test, device=context.device)
        require_output_count(outputs, card, of="model")
        if not outputs.isfinite().all():
            raise ValueError(
                "found outputs that are not finite; expected finite ones; check the model's weights"
            )
        losses = task_loss(card.task, outputs.double(), labels, reduction="none")
        return (
            _root_mean_measurement(losses)
            if card.task == "values"
            else _mean_measurement("loss", losses)
        )


def _mean_measurement(name: str, losses: Tensor) -> Measurement:
    return Measurement(metrics={name: float(losses.mean())}, samples={name: losses.float()})


def _root_mean_measurement(squares: Tensor) -> Measurement:
    """Of squared distances; their root mean is no mean of theirs, so that they go under a name of their own."""
    found = _mean_measurement("squared_loss", squares)
    return Measurement(
        metrics={"loss": float(squares.mean().sqrt()), **found.metrics}, samples=found.samples
    )
