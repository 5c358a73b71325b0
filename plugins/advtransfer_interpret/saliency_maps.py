"""Saliency maps: input gradients of the loss or of a class probability as images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.prediction import kernel_batches
from advtransfer.types import Context, EvaluationInputs, Measurement, Samples
from advtransfer_interpret import figures
from advtransfer_interpret.input_gradients import flatten_samples, input_gradients, loss_per_sample
from advtransfer_interpret.samples import (
    all_labels,
    class_name,
    expect_images,
    require_model,
    round_robin_by_class,
    to_unit_range,
)

CLIP_STANDARD_DEVIATIONS = 3.0
"""Gradients beyond this number of standard deviations are black or white (Tsipras et al., 2019)."""


@dataclass(frozen=True, slots=True)
class SaliencyGrid:
    """An evaluation of input gradients: their norm and smoothness, and some of them as images.

    Args:
        gradient_of: ``loss`` (cross-entropy) or ``probability`` (of the true class).
        images: Number of images in the figure.
    """

    gradient_of: str
    images: int

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Return norm and roughness of the gradients over the test images, and a figure.

        Raises:
            ValueError: There is no model, or it is in training mode.
            Inapplicable: The samples are not images, or a gradient is not finite.
        """
        model = require_model(given)
        expect_images(given.test.card)
        gradients = self._test_gradients(model, given.test, context)
        norms = flatten_samples(gradients).norm(dim=1)
        if not norms.isfinite().all():
            raise Inapplicable("the model's input gradients are not finite on all test images")
        metrics = {
            "gradient_norm": norms.mean().item(),
            "roughness": roughness(gradients).mean().item(),
            "flat": (norms == 0).double().mean().item(),
        }
        path = self._draw_grid(context.scratch / "saliency.png", given.test, gradients)
        return Measurement(
            metrics=metrics, samples={"gradient_norm": norms.float()}, files={"saliency": path}
        )

    def _test_gradients(self, model: nn.Module, test: Samples, context: Context) -> Tensor:
        """Return the gradients of all test images, ``(N, C, H, W)`` on the CPU."""
        is_loss = self.gradient_of == "loss"
        score = loss_per_sample(model) if is_loss else _class_probability(model)
        chunks = []
        for positions, inputs, labels in kernel_batches(test):
            gradients = input_gradients(
                model, score, inputs.to(context.device), labels.to(context.device)
            )
            chunks.append(gradients.cpu())
            context.progress(int(positions[-1]) + 1, len(test))
        return torch.cat(chunks)

    def _draw_grid(self, path: Path, test: Samples, gradients: Tensor) -> Path:
        """Draw some test images above their gradients."""
        labels = all_labels(test)
        positions = round_robin_by_class(labels, self.images)
        titles = [class_name(test.card, label) for label in labels[positions].tolist()]
        rows = [
            [to_unit_range(image, test.card) for image in test.inputs(positions)],
            [gradient_image(gradient) for gradient in gradients[positions]],
        ]
        return figures.save_figure(
            path, lambda: figures.image_grid(rows, names=["image", "gradient"], titles=titles)
        )


def _class_probability(model: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    def probability(inputs: Tensor, labels: Tensor) -> Tensor:
        return functional.softmax(model(inputs), 1).gather(1, labels[:, None])[:, 0]

    return probability


def gradient_image(gradient: Tensor) -> Tensor:
    """Return a gradient ``(C, H, W)`` as an image in [0, 1], with 0 as mid-grey.

    Black and white are `CLIP_STANDARD_DEVIATIONS` standard deviations below and above 0.
    """
    values = gradient.double()
    smallest_positive = torch.finfo(torch.float64).tiny
    limit = CLIP_STANDARD_DEVIATIONS * values.std(correction=0).clamp_min(smallest_positive)
    return (0.5 + values / (2 * limit)).clamp(0, 1)


def roughness(gradients: Tensor) -> Tensor:
    """Return the mean difference of neighbouring values over their mean size, ``(B,)``.

    It is about 1.4 for noise, and 0 for a constant gradient.
    """
    values = gradients.double()
    across = values.diff(dim=-1).abs().flatten(1)
    down = values.diff(dim=-2).abs().flatten(1)
    differences = torch.cat([across, down], dim=1)
    # A single pixel has no neighbours, and the mean of nothing is NaN.
    has_neighbours = differences.shape[1] > 0
    mean_difference = differences.mean(1) if has_neighbours else values.new_zeros(len(values))
    size = values.abs().flatten(1).mean(1)
    ratio = mean_difference / size.clamp_min(torch.finfo(size.dtype).tiny)
    return torch.where(size > 0, ratio, 0.0)
