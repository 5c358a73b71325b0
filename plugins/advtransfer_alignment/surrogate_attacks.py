"""Black-box evaluation of the fitted model: adversarial examples that were made on other models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.datasets import ArraySamples, BoundedSamples, require_unit_bounds
from advtransfer.toolkit.highest_loss import highest_loss_examples, log_odds_loss
from advtransfer.toolkit.loss_attack import LossAttack
from advtransfer.toolkit.network import load_source
from advtransfer.toolkit.prediction import apply_in_chunks, predict
from advtransfer.types import Context, EvaluationInputs, Json, Measurement, Outcome, Source
from advtransfer_alignment.evaluations import require_output_count, validated_labels
from advtransfer_alignment.models import AdaptedModel, outputs_at
from advtransfer_alignment.options import SurrogateLabels


class Surrogates(Protocol):
    """The models that examples are made on."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The inputs of the evaluation that the models depend on."""

    @property
    def labels(self) -> SurrogateLabels:
        """The class that an example leaves."""

    def models(self, given: EvaluationInputs, context: Context) -> Sequence[AdaptedModel]:
        """Return the models, in eval mode on the context's device."""


@dataclass(frozen=True, slots=True)
class CellModel:
    """The cell's own source, behind its adapter, or the target's reference."""

    role: Literal["source", "reference"]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The inputs of the evaluation that the model depends on."""
        return ("source", "adapter") if self.role == "source" else ("reference",)

    @property
    def labels(self) -> SurrogateLabels:
        """The source has classes of its own."""
        return "predicted" if self.role == "source" else "target"

    def models(self, given: EvaluationInputs, context: Context) -> Sequence[AdaptedModel]:
        """Return the one model."""
        of = AdaptedModel.of_source if self.role == "source" else AdaptedModel.of_reference
        return [of(given)]


@dataclass(frozen=True, slots=True)
class EntryModels:
    """Sources that the suite names, without an adapter."""

    sources: Sequence[Source]
    labels: SurrogateLabels

    @property
    def inputs(self) -> tuple[str, ...]:
        """The name of the option that holds the sources."""
        return ("surrogates",)

    def models(self, given: EvaluationInputs, context: Context) -> Sequence[AdaptedModel]:
        """Return the sources' networks with their weights.

        Raises:
            ValueError: A source takes inputs of another shape than the target's.
        """
        models = []
        for source in self.sources:
            shape = tuple(source.card().shape)
            if shape != given.test.card.shape:
                raise ValueError(
                    f"found a surrogate for inputs {shape}; expected {given.test.card.shape}, as "
                    "the target has; name a source that takes the target's images"
                )
            models.append(AdaptedModel(load_source(source, context), nn.Identity()))
        return models


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferredEvaluation:
    """Evaluation of the fitted model at adversarial examples made on surrogates.

    Args:
        surrogates: The models that the examples are made on.
        attack: The attack; of several surrogates it raises the sum of their losses.
        seed: Seed of the attack's random numbers.
    """

    surrogates: Surrogates
    attack: LossAttack
    seed: int

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Return the accuracy at the examples, and the rates at which they transfer.

        Raises:
            ValueError: There is no model, or a model is in training mode; outputs are not finite or
                not as many as the target's; labels are invalid; images are outside [0, 1]; or the
                radius is too large.
            Inapplicable: A surrogate has a single class, or the source's adapter is learned.
        """
        model = given.model
        if model is None:
            raise ValueError(
                "found no model; expected the transferred model; declare needs=('model',) on the factory"
            )
        test = require_unit_bounds(given.test)
        labels = validated_labels(test)
        made = self._remembered_examples(given, test, labels, context)
        clean, _ = predict(model, test, device=context.device)
        require_output_count(clean, test.card, of="model")
        with torch.inference_mode():
            chunks = torch.split(made.points, context.batch_size)
            attacked = torch.cat(
                [apply_in_chunks(model, rows.to(context.device)).float().cpu() for rows in chunks]
            )
        return _describe(clean, attacked, labels, made, eps=self.attack.eps)

    def _remembered_examples(
        self, given: EvaluationInputs, test: BoundedSamples, labels: Tensor, context: Context
    ) -> _MadeExamples:
        """Return the examples; they are remembered, since they depend on no fitted model."""
        key: dict[str, Json] = {
            "version": 1,
            "attack": asdict(self.attack),
            "labels": self.surrogates.labels,
            "seed": self.seed,
            "content": test.card.digest,
        }

        def build() -> dict[str, Tensor]:
            made = self._make_examples(given, test, labels, context)
            return {"points": made.points, "correct": made.correct, "changed": made.changed}

        of = (*self.surrogates.inputs, "test")
        arrays = context.remember("surrogate adversarials", key, build, of=of)
        return _MadeExamples(arrays["points"], arrays["correct"], arrays["changed"])

    def _make_examples(
        self, given: EvaluationInputs, test: BoundedSamples, labels: Tensor, context: Context
    ) -> _MadeExamples:
        models = self.surrogates.models(given, context)
        with _frozen(models):
            clean = [self._clean_decisions(model, test, context) for model in models]
            is_labelled = self.surrogates.labels == "target"
            left = [labels for _ in models] if is_labelled else clean

            def losses(points: Tensor, *classes: Tensor) -> Tensor:
                by_model = [
                    log_odds_loss(model.outputs(points), each)
                    for model, each in zip(models, classes, strict=True)
                ]
                return torch.stack(by_model).sum(0)

            points = highest_loss_examples(
                losses, test, *left, attack=self.attack, seed=self.seed, context=context
            )
            examples = ArraySamples(card=test.card, inputs=points, labels=labels)
            moved = [
                outputs_at(model.outputs, examples, None, context=context).argmax(1)
                for model in models
            ]
        correct = torch.stack(
            [before == each for before, each in zip(clean, left, strict=True)]
        ).all(0)
        changed = torch.stack(
            [after != each for after, each in zip(moved, left, strict=True)]
        ).double()
        return _MadeExamples(points, correct, changed.mean(0))

    def _clean_decisions(
        self, model: AdaptedModel, test: BoundedSamples, context: Context
    ) -> Tensor:
        """Return the surrogate's decisions without attack, ``(N,)`` int64."""
        outputs = outputs_at(model.outputs, test, None, context=context)
        if outputs.shape[1] < 2:
            raise Inapplicable("a surrogate has one class, which nothing can change")
        if self.surrogates.labels == "target":
            require_output_count(outputs, test.card, of="surrogate")
        return outputs.argmax(1)


@dataclass(frozen=True, slots=True)
class _MadeExamples:
    """Examples made on surrogates, on the CPU.

    Args:
        points: ``(N, C, H, W)``.
        correct: Samples that all surrogates predict correctly without attack, ``(N,)`` bool; all of
            them, where surrogates have classes of their own.
        changed: The share of the surrogates whose decision the example changes, ``(N,)``.
    """

    points: Tensor
    correct: Tensor
    changed: Tensor


def _describe(
    clean: Tensor, attacked: Tensor, labels: Tensor, made: _MadeExamples, *, eps: float
) -> Measurement:
    """Return the measurement from the fitted model's logits ``(N, K)``."""
    is_correct = clean.argmax(1) == labels
    is_broken = attacked.argmax(1) != labels
    outcomes = torch.where(is_broken, int(Outcome.BROKEN), int(Outcome.ROBUST))
    outcomes[~attacked.isfinite().all(1)] = int(Outcome.UNKNOWN)
    outcomes[~is_correct] = int(Outcome.WRONG)
    clean_outcomes = torch.where(is_correct, int(Outcome.ROBUST), int(Outcome.WRONG))
    for each in (outcomes, clean_outcomes):
        each[~clean.isfinite().all(1)] = int(Outcome.UNKNOWN)
    is_joint = is_correct & made.correct & (outcomes != Outcome.UNKNOWN)
    joint_values = {
        f"transfer_rate@{eps:g}": is_broken.double(),
        f"surrogate_rate@{eps:g}": made.changed.double(),
    }
    samples = {
        "jointly_correct": is_joint.float(),
        **{
            # NaN marks samples that the rate is not over.
            name: torch.where(is_joint, values, torch.nan).float()
            for name, values in joint_values.items()
            if is_joint.any()
        },
    }
    return Measurement(
        outcomes={
            "clean_accuracy": clean_outcomes.to(torch.uint8),
            f"accuracy@{eps:g}": outcomes.to(torch.uint8),
        },
        metrics={name: float(values.double().nanmean()) for name, values in samples.items()},
        samples=samples,
        shares=list(samples),
    )


@contextmanager
def _frozen(models: Sequence[AdaptedModel]) -> Iterator[None]:
    with ExitStack() as stack:
        for model in models:
            stack.enter_context(model.frozen_in_eval())
        yield
