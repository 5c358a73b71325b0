"""Robust accuracy on images that a training does not see: where fast adversarial training shows that it overfits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from advtransfer.toolkit.adversary import Norm
from advtransfer.toolkit.attack import pgd
from advtransfer.toolkit.prediction import chunks
from advtransfer.types import Context, Samples

STEPS = 10


@dataclass(frozen=True, slots=True)
class RobustAccuracy:
    """The column ``robust_validation_accuracy``: the share that PGD of 10 steps of eps / 4 leaves right.

    A figure to watch a training by, from the same random starts after every epoch; results come from evaluations.
    """

    samples: Samples
    norm: Norm
    eps: float
    context: Context

    def __call__(self, model: nn.Module) -> Mapping[str, float]:
        """Attack the model as it is, in eval mode."""
        starts, left = self.context.generator("robust_validation"), 0
        for _, inputs, labels in chunks(self.samples):
            truth = labels.to(self.context.device)
            moved = pgd(
                model,
                inputs.to(self.context.device),
                truth,
                norm=self.norm,
                eps=self.eps,
                steps=STEPS,
                step_size=2.5 * self.eps / STEPS,
                random_start=True,
                generator=starts,
                bounds=self.samples.card.bounds,
            )
            with torch.no_grad():
                left += int((model(moved).argmax(1) == truth).sum())
        return {"robust_validation_accuracy": left / len(self.samples)}
