"""Randomised smoothing: prediction and certified radius of each image, by Monte Carlo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.special import betaincinv, ndtri
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.datasets import require_unit_bounds
from advtransfer.toolkit.kernel_batch import KERNEL_BATCH
from advtransfer.toolkit.prediction import require_logits
from advtransfer.types import Context, EvaluationInputs, Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class SmoothingEvaluation:
    """An evaluation of the smoothed model's certified accuracy.

    Args:
        sigma: Standard deviation of the noise.
        radii: The l_2 radii.
        first_draws: Draws that choose the class.
        draws: Draws that estimate its probability.
        alpha: Probability that the certificate of an image is wrong.
        seed: Seed of the noise.
    """

    sigma: float
    radii: Sequence[float]
    first_draws: int
    draws: int
    alpha: float
    seed: int

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Return the certified accuracies, and the radius of each image.

        Raises:
            ValueError: There is no model, or it is in training mode; images are outside [0, 1]; or a
                logit is not finite.
            Inapplicable: The model has a single class.
        """
        model = given.model
        if model is None:
            raise ValueError(
                "found no model; expected the transferred model; "
                "declare needs=('model',) on the factory"
            )
        if any(module.training for module in model.modules()):
            raise ValueError(
                "found a model in training mode; expected eval mode; "
                "call model.eval() before measuring"
            )
        test = require_unit_bounds(given.test)
        predicted = torch.zeros(len(test), dtype=torch.int64)
        radii = torch.zeros(len(test), dtype=torch.float64)
        for position in range(len(test)):
            image = test.inputs(torch.tensor([position]))[0]
            generator = context.generator(f"smoothing {self.seed}", test.keys[position])
            chosen, bound = self._certify(model, image, generator, context.device)
            predicted[position] = chosen
            # Cohen et al. (2019), theorem 1 with their bound 1 - p_A of the other classes: p_A of
            # at most one half certifies nothing.
            if bound > 0.5:
                radii[position] = self.sigma * float(ndtri(bound))
            context.progress(position + 1, len(test))
        labels = test.labels(torch.arange(len(test)))
        return self._describe(predicted, radii, labels)

    def _certify(
        self, model: nn.Module, image: Tensor, generator: torch.Generator, device: torch.device
    ) -> tuple[int, float]:
        """Return the most frequent class, and a lower bound of its probability."""
        first = self._class_counts(model, image, self.first_draws, generator, device)
        if len(first) < 2:
            raise Inapplicable("the model has one class, which nothing can change")
        chosen = int(first.argmax())
        counts = self._class_counts(model, image, self.draws, generator, device)
        return chosen, lower_bound(int(counts[chosen]), self.draws, self.alpha)

    def _class_counts(
        self,
        model: nn.Module,
        image: Tensor,
        draws: int,
        generator: torch.Generator,
        device: torch.device,
    ) -> Tensor:
        """Return how often each class is predicted under noise, ``(K,)`` int64."""
        counts = torch.zeros(1, dtype=torch.int64)
        for start in range(0, draws, KERNEL_BATCH):
            # Whole batches on the CPU, so that every device and number of draws has the same noise.
            noise = torch.randn((KERNEL_BATCH, *image.shape), generator=generator)
            with torch.inference_mode():
                logits = require_logits(
                    model((image + self.sigma * noise).to(device)), KERNEL_BATCH
                ).cpu()
            if not logits.isfinite().all():
                raise ValueError(
                    "found logits that are not finite; expected finite values; "
                    "check the model's weights"
                )
            classes = logits.argmax(1)[: draws - start]
            counts = counts + classes.bincount(minlength=logits.shape[1])
        return counts

    def _describe(self, predicted: Tensor, radii: Tensor, labels: Tensor) -> Measurement:
        is_certified = radii > 0
        is_correct = (predicted == labels) & is_certified
        samples = {
            "smoothed_accuracy": is_correct.double(),
            "abstained": (~is_certified).double(),
            **{
                f"certified_accuracy@{radius:g}": (is_correct & (radii >= radius)).double()
                for radius in self.radii
            },
        }
        shares = list(samples)
        samples["average_certified_radius"] = torch.where(is_correct, radii, 0.0)
        metrics = {name: float(values.mean()) for name, values in samples.items()}
        samples["radius"] = radii
        return Measurement(
            metrics=metrics,
            samples={name: values.float() for name, values in samples.items()},
            shares=shares,
        )


def lower_bound(successes: int, draws: int, alpha: float) -> float:
    """Return the one-sided lower confidence bound of a probability (Clopper and Pearson, 1934).

    Args:
        successes: Number of successes.
        draws: Number of draws.
        alpha: Probability that the bound is above the probability itself.
    """
    if successes == 0:
        return 0.0
    return float(betaincinv(successes, draws - successes + 1, alpha))
