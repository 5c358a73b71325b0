"""Feature visualisation.

Images that maximise a unit of the penultimate layer (Engstrom et al., 2019).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.kernel_batch import KERNEL_BATCH
from advtransfer.toolkit.model_modes import weights_frozen
from advtransfer.toolkit.prediction import apply_in_chunks
from advtransfer.types import Context, DataCard, EvaluationInputs, Folder, Measurement
from advtransfer_interpret import figures
from advtransfer_interpret.input_gradients import (
    broadcast_samples,
    flatten_samples,
    input_gradients,
)
from advtransfer_interpret.last_layer import LastLayer
from advtransfer_interpret.photographs import load_photographs
from advtransfer_interpret.samples import (
    all_labels,
    clamp_to_bounds,
    class_name,
    expect_images,
    require_model,
    round_robin_by_class,
    to_unit_range,
)

NOISE_STD = 0.05
"""Standard deviation of the noise image around mid-grey, as a fraction of the pixel range."""


UnitActivation: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"
"""Map inputs ``(B, ...)`` and units ``(B,)`` to activations ``(B,)``."""


@dataclass(frozen=True, slots=True)
class MaximizedImages:
    """Result of gradient ascent on units.

    Args:
        starts: The starting images, ``(B, C, H, W)``.
        images: The iterates with the highest activation, ``(B, C, H, W)``.
        activation_before: The unit's activation at the starts, ``(B,)``.
        activation_after: The unit's activation at the images, ``(B,)``.
    """

    starts: Tensor
    images: Tensor
    activation_before: Tensor
    activation_after: Tensor


@dataclass(frozen=True, slots=True)
class FeatureVisualization:
    """An evaluation of images that maximise units, and of how much structure these images have.

    Args:
        units: Indices of the units, from 0.
        images: Number of test images to start from, beside one image of noise.
        steps: Number of gradient steps.
        step_size: Their l2 length, in pixel space.
        radius: Largest l2 distance from the start; None for any.
        photographs: Folder of photographs to start from, too.
    """

    units: tuple[int, ...]
    images: int
    steps: int
    step_size: float
    radius: float | None
    photographs: Folder | None = None

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Return activations and structure of the images, and the images as a figure.

        Raises:
            ValueError: There is no model, it is in training mode, or a photograph is no image.
            Inapplicable: The samples are not images, the model has no last layer, or it lacks a
                unit.
        """
        model = require_model(given)
        card = given.test.card
        expect_images(card)
        starts, names = self._starting_images(given, context)
        layer = LastLayer.find_in(model, starts[:1])
        unit_count = layer.weight.shape[1]
        if max(self.units) >= unit_count:
            raise Inapplicable(
                f"unit {max(self.units)} is none of the {unit_count} that the last layer sees"
            )
        # One row for each pair of a start and a unit.
        pair_starts = starts.repeat_interleave(len(self.units), dim=0)
        pair_units = torch.tensor(self.units, device=context.device).repeat(len(starts))
        maximized = self._gradient_ascent(layer, pair_starts, pair_units, card, context)
        metrics = _activation_metrics(maximized)
        metrics["rectifier_passed"] = float(layer.rectifier is not None)
        path = self._draw_grid(context.scratch / "features.png", starts, maximized, names, card)
        return Measurement(metrics=metrics, files={"features": path})

    def _starting_images(
        self, given: EvaluationInputs, context: Context
    ) -> tuple[Tensor, list[str]]:
        """Return noise around mid-grey, test images of several classes and photographs, with names."""
        card = given.test.card
        low, high = card.bounds or (0.0, 1.0)
        # Drawn on the CPU by the host's generator, so that every device has the same start.
        noise = torch.randn((1, *card.shape), generator=context.generator("noise start"))
        noise = (0.5 + NOISE_STD * noise).clamp(0, 1) * (high - low) + low
        labels = all_labels(given.test)
        positions = round_robin_by_class(labels, self.images)
        names = ["noise", *(class_name(card, label) for label in labels[positions].tolist())]
        parts = [noise, given.test.inputs(positions)] if len(positions) else [noise]
        if self.photographs is not None:
            photographs, photograph_names = load_photographs(self.photographs, card)
            parts.append(photographs)
            names += photograph_names
        return torch.cat(parts).to(context.device), names

    def _gradient_ascent(
        self, layer: LastLayer, starts: Tensor, units: Tensor, card: DataCard, context: Context
    ) -> MaximizedImages:
        """Take steps of fixed l2 length along the unit's gradient, and keep the best iterate."""

        def unit_activation(inputs: Tensor, row_units: Tensor) -> Tensor:
            # A unit that is 0 at the start has no gradient, unless it passes the rectifier.
            features = layer.features(inputs, fake_relu=True)
            return features.gather(1, row_units[:, None])[:, 0]

        images = starts
        best_images = starts
        activation_before = _activation_values(layer.model, unit_activation, starts, units)
        highest = activation_before
        for step in range(self.steps):
            gradients = input_gradients(layer.model, unit_activation, images, units)
            norms = broadcast_samples(flatten_samples(gradients).norm(dim=1), images)
            norms = norms.clamp_min(torch.finfo(images.dtype).tiny)
            # The radius limits the distance from the start, not the length of the path.
            moved = images + self.step_size * gradients / norms
            images = clamp_to_bounds(starts + self._project_onto_ball(moved - starts), card)

            activation = _activation_values(layer.model, unit_activation, images, units)
            is_higher = broadcast_samples(activation > highest, images).bool()
            best_images = torch.where(is_higher, images, best_images)
            highest = torch.maximum(activation, highest)
            # Progress is also where a run is cancelled; every step would report too often.
            if step % KERNEL_BATCH == 0:
                context.progress(step, self.steps)
        return MaximizedImages(starts, best_images, activation_before, highest)

    def _project_onto_ball(self, offsets: Tensor) -> Tensor:
        """Return the nearest points of the l2 ball around 0."""
        if self.radius is None:
            return offsets
        excess = (flatten_samples(offsets).norm(dim=1) / self.radius).clamp_min(1)
        return offsets / broadcast_samples(excess, offsets)

    def _draw_grid(
        self,
        path: Path,
        starts: Tensor,
        maximized: MaximizedImages,
        names: list[str],
        card: DataCard,
    ) -> Path:
        """Draw one row per start: the start and its image for each unit."""
        images = maximized.images.cpu().reshape(len(starts), len(self.units), *card.shape)
        rows = [
            [to_unit_range(image, card) for image in (start, *start_images)]
            for start, start_images in zip(starts.cpu(), images, strict=True)
        ]
        titles = ["start", *(f"unit {unit}" for unit in self.units)]
        return figures.save_figure(
            path, lambda: figures.image_grid(rows, names=names, titles=titles)
        )


def _activation_values(
    model: nn.Module, activation: UnitActivation, inputs: Tensor, units: Tensor
) -> Tensor:
    with torch.no_grad(), weights_frozen(model):
        return apply_in_chunks(activation, inputs, units)


def _activation_metrics(maximized: MaximizedImages) -> dict[str, float]:
    """Return means over all starts and units; ``likeness`` is the correlation with the start."""
    return {
        "activation": maximized.activation_after.double().mean().item(),
        "activation_start": maximized.activation_before.double().mean().item(),
        "total_variation": total_variation(maximized.images).mean().item(),
        "total_variation_start": total_variation(maximized.starts).mean().item(),
        "likeness": pixel_correlation(maximized.images, maximized.starts).mean().item(),
    }


def total_variation(images: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbouring pixels, ``(B,)``; 0 for one pixel."""
    across = images.double().diff(dim=-1).abs()
    down = images.double().diff(dim=-2).abs()
    neighbour_count = max(1, across[0].numel() + down[0].numel())
    return (across.flatten(1).sum(1) + down.flatten(1).sum(1)) / neighbour_count


def pixel_correlation(images: Tensor, others: Tensor) -> Tensor:
    """Return the correlation of the pixels of two images, ``(B,)``; 0 if one image is constant."""
    first = _centre_pixels(images)
    second = _centre_pixels(others)
    scale = first.norm(dim=1) * second.norm(dim=1)
    correlation = (first * second).sum(1) / scale.clamp_min(torch.finfo(scale.dtype).tiny)
    return torch.where(scale > 0, correlation, 0.0)


def _centre_pixels(images: Tensor) -> Tensor:
    pixels = flatten_samples(images)
    return pixels - pixels.mean(1, keepdim=True)
