"""Where a small change of a pixel changes the loss: input gradients as images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.prediction import chunks
from advtransfer.types import Context, Given, Measurement, Samples
from advtransfer_interpret import canvas
from advtransfer_interpret.gradients import flat, input_gradients, losses
from advtransfer_interpret.samples import by_turns, expect_images, in_unit, labels_of, model_of

CLIP = 3.0  # standard deviations of a gradient's values that are told apart (Tsipras et al., 2019)


@dataclass(frozen=True, slots=True)
class SaliencyGrid:
    """An evaluation: gradients of the loss (or of the true class's probability) as images, and what they are like."""

    gradient_of: str
    images: int

    def measure(self, given: Given, *, context: Context) -> Measurement:
        """Norm and smoothness over the test images, and a grid of some."""
        model, card = model_of(given), given.test.card
        expect_images(card)
        gradients = self._gradients(model, given.test, context)
        lengths = flat(gradients).norm(dim=1)
        if not lengths.isfinite().all():
            raise Inapplicable("the model's input gradients are not finite on all test images")
        labels = labels_of(given.test)
        positions = by_turns(labels, self.images)
        titles = [card.names[label] if card.names else str(label) for label in labels[positions].tolist()]
        rows = [
            [in_unit(image, card) for image in given.test.inputs(positions)],
            [visible(gradient) for gradient in gradients[positions]],
        ]
        path = canvas.saved(
            context.scratch / "saliency.png", lambda: canvas.grid(rows, names=["image", "gradient"], titles=titles)
        )
        metrics = {
            "gradient_norm": lengths.mean().item(),
            "roughness": roughness(gradients).mean().item(),
            "flat": (lengths == 0).double().mean().item(),
        }
        return Measurement(metrics=metrics, samples={"gradient_norm": lengths.float()}, files={"saliency": path})

    def _gradients(self, model: nn.Module, test: Samples, context: Context) -> Tensor:
        """Of all test images, ``(N, C, H, W)`` on the CPU."""

        def probability(inputs: Tensor, labels: Tensor) -> Tensor:
            return functional.softmax(model(inputs), 1).gather(1, labels[:, None])[:, 0]

        score = losses(model) if self.gradient_of == "loss" else probability
        found = []
        for positions, inputs, labels in chunks(test):
            found.append(input_gradients(model, score, inputs.to(context.device), labels.to(context.device)).cpu())
            context.progress(int(positions[-1]) + 1, len(test))
        return torch.cat(found)


def visible(gradient: Tensor) -> Tensor:
    """A gradient ``(C, H, W)`` as an image in [0, 1]: mid-grey is 0, `CLIP` standard deviations are black and white."""
    reach = CLIP * gradient.double().std(correction=0).clamp_min(torch.finfo(torch.float64).tiny)
    return (0.5 + gradient.double() / (2 * reach)).clamp(0, 1)


def roughness(gradients: Tensor) -> Tensor:
    """How much neighbouring values differ, in units of their mean size, ``(B,)``: noise about 1.4, 0 for a flat one."""
    values = gradients.double()
    steps = [values.diff(dim=dim).abs().flatten(1) for dim in (-1, -2)]
    mean = torch.cat(steps, dim=1).mean(1) if sum(step.shape[1] for step in steps) else values.new_zeros(len(values))
    size = values.abs().flatten(1).mean(1)
    return torch.where(size > 0, mean / size.clamp_min(torch.finfo(size.dtype).tiny), 0.0)
