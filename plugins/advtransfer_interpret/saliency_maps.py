"""Saliency maps: input gradients of the loss or of a class probability as images."""

from __future__ import annotations

from dataclasses import dataclass

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
    expect_images,
    require_model,
    round_robin_by_class,
    to_unit_range,
)

CLIP_STANDARD_DEVIATIONS = (
    3.0  # standard deviations of a gradient's values that are told apart (Tsipras et al., 2019)
)


@dataclass(frozen=True, slots=True)
class SaliencyGrid:
    """An evaluation: gradients of the loss (or of the true class's probability) as images, and what they are like."""

    gradient_of: str
    images: int

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Norm and smoothness over the test images, and a grid of some."""
        model, card = require_model(given), given.test.card
        expect_images(card)
        gradients = self._test_gradients(model, given.test, context)
        lengths = flatten_samples(gradients).norm(dim=1)
        if not lengths.isfinite().all():
            raise Inapplicable("the model's input gradients are not finite on all test images")
        labels = all_labels(given.test)
        positions = round_robin_by_class(labels, self.images)
        titles = [
            card.names[label] if card.names else str(label) for label in labels[positions].tolist()
        ]
        rows = [
            [to_unit_range(image, card) for image in given.test.inputs(positions)],
            [gradient_image(gradient) for gradient in gradients[positions]],
        ]
        path = figures.save_figure(
            context.scratch / "saliency.png",
            lambda: figures.image_grid(rows, names=["image", "gradient"], titles=titles),
        )
        metrics = {
            "gradient_norm": lengths.mean().item(),
            "roughness": roughness(gradients).mean().item(),
            "flat": (lengths == 0).double().mean().item(),
        }
        return Measurement(
            metrics=metrics, samples={"gradient_norm": lengths.float()}, files={"saliency": path}
        )

    def _test_gradients(self, model: nn.Module, test: Samples, context: Context) -> Tensor:
        """Of all test images, ``(N, C, H, W)`` on the CPU."""

        def probability(inputs: Tensor, labels: Tensor) -> Tensor:
            return functional.softmax(model(inputs), 1).gather(1, labels[:, None])[:, 0]

        score = loss_per_sample(model) if self.gradient_of == "loss" else probability
        found = []
        for positions, inputs, labels in kernel_batches(test):
            found.append(
                input_gradients(
                    model, score, inputs.to(context.device), labels.to(context.device)
                ).cpu()
            )
            context.progress(int(positions[-1]) + 1, len(test))
        return torch.cat(found)


def gradient_image(gradient: Tensor) -> Tensor:
    """A gradient ``(C, H, W)`` as an image in [0, 1]: mid-grey is 0, `CLIP_STANDARD_DEVIATIONS` standard deviations are black and white."""
    reach = CLIP_STANDARD_DEVIATIONS * gradient.double().std(correction=0).clamp_min(
        torch.finfo(torch.float64).tiny
    )
    return (0.5 + gradient.double() / (2 * reach)).clamp(0, 1)


def roughness(gradients: Tensor) -> Tensor:
    """How much neighbouring values differ, in units of their mean size, ``(B,)``: noise about 1.4, 0 for a flat one."""
    values = gradients.double()
    steps = [values.diff(dim=dim).abs().flatten(1) for dim in (-1, -2)]
    mean = (
        torch.cat(steps, dim=1).mean(1)
        if sum(step.shape[1] for step in steps)
        else values.new_zeros(len(values))
    )
    size = values.abs().flatten(1).mean(1)
    return torch.where(size > 0, mean / size.clamp_min(torch.finfo(size.dtype).tiny), 0.0)
