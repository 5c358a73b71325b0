"""Evaluation of a model's calibration, on the test images and on adversarial examples of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.datasets import all_positions, require_unit_bounds
from advtransfer.toolkit.highest_loss import highest_loss_examples, log_odds_loss
from advtransfer.toolkit.loss_attack import LossAttack
from advtransfer.toolkit.model_modes import weights_frozen
from advtransfer.toolkit.prediction import apply_in_chunks, predict
from advtransfer.toolkit.surrogate_gradients import surrogate_gradients
from advtransfer.types import Context, EvaluationInputs, Measurement, Samples
from advtransfer_calibration.errors import bins_of_equal_mass, brier_scores


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationEvaluation:
    """An evaluation of the calibration on the test samples.

    Args:
        bins: Number of bins.
        attack: The attack; None for clean images only.
        seed: Seed of the attack's random numbers.
    """

    bins: int
    attack: LossAttack | None
    seed: int

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Return the metrics of clean images and, with ``@<eps>``, of attacked ones.

        Raises:
            ValueError: There is no model, it is in training mode, or a logit is not finite; or, with
                an attack, images are outside [0, 1] or the radius is too large.
            Inapplicable: There are fewer than two images, or the model has a single class.
        """
        model = given.model
        if model is None:
            raise ValueError(
                "found no model; expected the transferred model; "
                "declare needs=('model',) on the factory"
            )
        if len(given.test) < 2:
            raise Inapplicable("a calibration error needs two test images or more")
        logits, labels = predict(model, given.test, device=context.device)
        if logits.shape[1] < 2:
            raise Inapplicable("the model has one class, so all of its confidences are 1")
        metrics, samples = self._describe(logits, labels, suffix="")
        if self.attack is not None:
            attacked = self._attacked_logits(model, given.test, context)
            more_metrics, more_samples = self._describe(
                attacked, labels, suffix=f"@{self.attack.eps:g}"
            )
            metrics |= more_metrics
            samples |= more_samples
        return Measurement(metrics=metrics, samples=samples)

    def _attacked_logits(self, model: nn.Module, test: Samples, context: Context) -> Tensor:
        """Return the logits at the examples of the highest loss, ``(N, K)`` on the CPU."""
        assert self.attack is not None
        bounded = require_unit_bounds(test)

        def losses(points: Tensor, labels: Tensor) -> Tensor:
            return log_odds_loss(model(points), labels)

        with weights_frozen(model), surrogate_gradients(model):
            examples = highest_loss_examples(
                losses,
                bounded,
                test.labels(all_positions(test)),
                attack=self.attack,
                seed=self.seed,
                context=context,
            )
        with torch.inference_mode():
            chunks = [
                apply_in_chunks(model, rows.to(context.device)).float().cpu()
                for rows in torch.split(examples, context.batch_size)
            ]
        return torch.cat(chunks)

    def _describe(
        self, logits: Tensor, labels: Tensor, *, suffix: str
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Return the metrics and the arrays of logits ``(N, K)``, all names with the suffix."""
        if not logits.isfinite().all():
            raise ValueError(
                "found logits that are not finite; expected finite values; check the model's weights"
            )
        log_probabilities = logits.double().log_softmax(1)
        probabilities = log_probabilities.exp()
        confidences, predicted = probabilities.max(1)
        binned = bins_of_equal_mass(confidences, predicted == labels, bins=self.bins)
        squared_error = binned.debiased_squared_error()
        samples = {
            "nll": -log_probabilities.gather(1, labels[:, None])[:, 0],
            "brier": brier_scores(probabilities, labels),
            "confidence": confidences,
        }
        metrics = {
            "ece": binned.expected_error(),
            "l2_error": math.sqrt(max(squared_error, 0.0)),
            "squared_l2_error": squared_error,
            **{name: float(values.mean()) for name, values in samples.items()},
        }
        return (
            {name + suffix: value for name, value in metrics.items()},
            {name + suffix: values.float() for name, values in samples.items()},
        )
