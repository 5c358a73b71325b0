"""Saliency maps: input gradients of the loss or of a class probability as images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

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
        shows_adapted: Whether the figure has a row of the images behind the model's adapter.
    """

    gradient_of: str
    images: int
    shows_adapted: bool = False

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Return norm and roughness of the gradients over the test images, and a figure.

        Raises:
            ValueError: There is no model, or it is in training mode.
            Inapplicable: The samples are not images, a gradient is not finite, or the model has no
                adapter to show.
        """
        model = require_model(given)
        expect_images(given.test.card)
        adapter = model_adapter(model) if self.shows_adapted else None
        gradients = self._test_gradients(model, given.test, context)
        norms = flatten_samples(gradients).norm(dim=1)
        if not norms.isfinite().all():
            raise Inapplicable("the model's input gradients are not finite on all test images")
        metrics = {
            "gradient_norm": norms.mean().item(),
            "roughness": roughness(gradients).mean().item(),
            "flat": (norms == 0).double().mean().item(),
        }
        path = context.scratch / "saliency.png"
        self._draw_grid(path, given.test, gradients, adapter, context.device)
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

    def _draw_grid(
        self,
        path: Path,
        test: Samples,
        gradients: Tensor,
        adapter: nn.Module | None,
        device: torch.device,
    ) -> None:
        """Draw some test images above their gradients, with an adapter also as it maps them."""
        labels = all_labels(test)
        positions = round_robin_by_class(labels, self.images)
        titles = [class_name(test.card, label) for label in labels[positions].tolist()]
        images = test.inputs(positions)
        rows = {"image": [to_unit_range(image, test.card) for image in images]}
        if adapter is not None:
            with torch.no_grad():
                adapted = adapter(images.to(device)).cpu()
            rows["adapted"] = [to_unit_range(image, test.card) for image in adapted]
        rows["gradient"] = [gradient_image(gradient) for gradient in gradients[positions]]
        figures.save_figure(
            path, lambda: figures.image_grid([*rows.values()], names=[*rows], titles=titles)
        )


@runtime_checkable
class AdaptedModel(Protocol):
    """A model with an adapter in front of its network, such as those of ``finetune``."""

    @property
    def adapter(self) -> nn.Module:
        """The map from target images ``(B, C, H, W)`` to what the network takes."""


def model_adapter(model: nn.Module) -> nn.Module:
    """Return a model's own adapter, which is the trained one where it was learned.

    Raises:
        Inapplicable: The model has none.
    """
    if isinstance(model, AdaptedModel):
        return model.adapter
    raise Inapplicable(
        f"found a model of type {type(model).__name__} without an adapter; `adapted: true` draws "
        "those of models that have one, such as finetune/blocks; leave other transfers out by `only`"
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
