"""Loss under attack: the largest loss of each sample that projected gradient ascent finds in a ball.

It serves tasks without a right and a wrong, such as values. It claims no robust accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advtransfer.toolkit.adversary import TrainingNorm
from advtransfer.toolkit.datasets import BoundedSamples
from advtransfer.toolkit.losses import task_loss
from advtransfer.toolkit.model_modes import weights_frozen
from advtransfer.toolkit.option_checks import require_radius
from advtransfer.toolkit.pgd import projected_ascent
from advtransfer.toolkit.prediction import apply_in_chunks, kernel_batches, predict
from advtransfer.toolkit.surrogate_gradients import surrogate_gradients
from advtransfer.types import Context, DataCard, EvaluationInputs, Measurement
from advtransfer_foolbox.attack_settings import EpsMultiple, Pgd
from advtransfer_foolbox.clean_accuracy import require_model
from advtransfer_foolbox.starts import random_starts


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackedLoss:
    """An evaluation of the loss on the test samples, without and under attack.

    Args:
        settings: Steps, step size and starts.
        norm: The norm of the balls.
        radii: Their radii, in the unit of the inputs.
        seed: Seed of the random starts.
    """

    settings: Pgd
    norm: TrainingNorm
    radii: Sequence[float]
    seed: int

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Return the metrics ``loss`` and ``attacked_loss@<eps>``, and the samples' losses.

        Raises:
            ValueError: A radius is beyond the box, a loss is not finite, or the model is in
                training mode.
        """
        model = require_model(given)
        test = BoundedSamples(given.test)
        card = test.card
        for eps in self.radii:
            require_radius(eps, self.norm, shape=card.shape, bounds=card.bounds)
        outputs, labels = predict(model, test, device=context.device)
        losses = task_loss(card.task, outputs, labels, reduction="none")
        samples = {"loss": losses}
        with weights_frozen(model), surrogate_gradients(model), torch.enable_grad():
            # From the smallest radius on: what moves a sample in a small ball does so in a large one.
            for eps in sorted(self.radii):
                losses = torch.maximum(losses, self._largest_losses(model, test, eps, context))
                samples[f"attacked_loss@{eps:g}"] = losses
        for name, values in samples.items():
            if not values.isfinite().all():
                raise ValueError(
                    f"found a {name} that is not finite; expected finite values; check the model"
                )
        metrics = {name: values.double().mean().item() for name, values in samples.items()}
        return Measurement(metrics=metrics, samples=samples)

    def _largest_losses(
        self, model: nn.Module, test: BoundedSamples, eps: float, context: Context
    ) -> Tensor:
        """Return the largest loss over all restarts and steps at one radius, ``(N,)``."""
        size = self.settings.step_size
        step_size = size.times_eps * eps if isinstance(size, EpsMultiple) else size
        card = test.card

        def ascend(inputs: Tensor, labels: Tensor, delta: Tensor) -> Tensor:
            def losses(points: Tensor) -> Tensor:
                return task_loss(card.task, model(points), labels, reduction="none")

            points = projected_ascent(
                losses,
                inputs,
                delta,
                norm=self.norm,
                eps=eps,
                steps=self.settings.steps,
                step_size=step_size,
                best=True,
                bounds=card.bounds,
            )
            with torch.no_grad():
                return losses(points)

        largest: list[Tensor] = []
        for positions, inputs, labels in kernel_batches(test):
            keys = [test.keys[position] for position in positions.tolist()]
            rows = (inputs.to(context.device), labels.to(context.device))
            by_restart = [
                apply_in_chunks(ascend, *rows, self._start(keys, card, eps, restart, context))
                for restart in range(self.settings.restarts)
            ]
            largest.append(torch.stack(by_restart).amax(dim=0).float().cpu())
            context.progress(int(positions[-1]) + 1, len(test))
        return torch.cat(largest)

    def _start(
        self, keys: Sequence[int], card: DataCard, eps: float, restart: int, context: Context
    ) -> Tensor:
        """Return where the samples of these keys start, as a difference from the inputs."""
        if not self.settings.random_start:
            return torch.zeros((len(keys), *card.shape), device=context.device)
        points = random_starts(
            keys, card.shape, norm=self.norm, seed=self.seed, restart=restart, context=context
        )
        return eps * points.to(context.device)
