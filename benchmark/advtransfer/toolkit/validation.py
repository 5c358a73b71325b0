"""Measurements on held-out images of the training part, by which options and epochs are chosen.

They are not verified, and they are not results: results come from evaluations of the test part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from advtransfer.toolkit.adversary import Adversary, TrainingMethod
from advtransfer.toolkit.losses import count_correct, task_loss
from advtransfer.toolkit.pgd import measure_robust_accuracy
from advtransfer.toolkit.prediction import measure_accuracy, predict
from advtransfer.types import Context, Samples
from advtransfer.types.metric_names import VALIDATION_METRICS

ACCURACY = VALIDATION_METRICS["accuracy"]
ROBUST_ACCURACY = VALIDATION_METRICS["robust_accuracy"]
LOSS = "validation_loss"
"""Names of the measurements among a training's curves and a fit's facts."""

MONITOR_STEPS = 10
"""Steps of eps / 4 that measure the robust accuracy by which a training is watched."""


def measure_validation(
    model: nn.Module, samples: Samples, *, device: torch.device
) -> dict[str, float]:
    """Return the accuracy of a model in eval mode; for the task ``values`` the mean loss.

    The accuracy of a sample with ``attributes`` is the share of them that is correct.
    """
    task = samples.card.task
    if task == "classes":
        return {ACCURACY: measure_accuracy(model, samples, device=device)}
    outputs, labels = predict(model, samples, device=device)
    correct_count = count_correct(task, outputs, labels)
    if correct_count is None:
        return {LOSS: task_loss(task, outputs, labels).item()}
    return {ACCURACY: correct_count.item() / len(samples)}


@dataclass(frozen=True, slots=True)
class RobustValidationAccuracy:
    """The accuracy on held-out images under PGD, with the same random starts at every call.

    Args:
        samples: The held-out images, of the task ``classes``.
        adversary: The attack.
        context: Context whose stream ``robust_validation`` gives the random starts.
    """

    samples: Samples
    adversary: Adversary
    context: Context

    def __call__(self, model: nn.Module) -> Mapping[str, float]:
        """Attack a model in eval mode and return its accuracy under the attack."""
        accuracy = measure_robust_accuracy(
            model,
            self.samples,
            self.adversary,
            generator=self.context.generator("robust_validation"),
            device=self.context.device,
        )
        return {ROBUST_ACCURACY: accuracy}


def monitor_robust_accuracy(
    adversary: TrainingMethod | None, validation: Samples, context: Context
) -> RobustValidationAccuracy | None:
    """Return the measurement that watches a training against an adversary; None for no such.

    One attack in the ball of the training serves every method, so that their numbers compare.
    """
    # PGD here follows the loss of classes; other tasks have no robust accuracy.
    if adversary is None or validation.card.task != "classes":
        return None
    attack = Adversary(norm=adversary.norm, eps=adversary.eps, steps=MONITOR_STEPS)
    return RobustValidationAccuracy(validation, attack, context)
