"""Feature visualisation.

Images that maximise a unit of the penultimate layer (Engstrom et al., 2019).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.model_modes import weights_frozen
from advtransfer.toolkit.prediction import KERNEL_BATCH, apply_in_chunks
from advtransfer.types import Context, DataCard, EvaluationInputs, Measurement
from advtransfer_interpret import figures
from advtransfer_interpret.input_gradients import (
    broadcast_samples,
    flatten_samples,
    input_gradients,
)
from advtransfer_interpret.last_layer import LastLayer
from advtransfer_interpret.samples import (
    all_labels,
    clamp_to_bounds,
    expect_images,
    require_model,
    round_robin_by_class,
    to_unit_range,
)

NOISE_STD = 0.05  # standard deviation of the noise start around mid-grey, of the range of a pixel


UnitActivation: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"
"""From inputs ``(B, ...)`` and units ``(B,)`` to activations ``(B,)``."""


@dataclass(frozen=True, slots=True)
class MaximizedImages:
    """The starts and the best iterates ``(B, C, H, W)``, and the unit's activation at both ``(B,)``."""

    starts: Tensor
    images: Tensor
    activation_before: Tensor
    activation_after: Tensor


@dataclass(frozen=True, slots=True)
class FeatureVisualization:
    """An evaluation: images that maximise units, and how much structure they have."""

    units: tuple[int, ...]
    images: int
    steps: int
    step_size: float
    radius: float | None

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Activations, structure of the images, and the images as a figure."""
        model, card = require_model(given), given.test.card
        expect_images(card)
        starts, names = self._starting_images(given, context)
        layer = LastLayer.find_in(model, starts[:1])
        if max(self.units) >= layer.weight.shape[1]:
            there = layer.weight.shape[1]
            raise Inapplicable(
                f"unit {max(self.units)} is none of the {there} that the last layer sees"
            )
        pairs = starts.repeat_interleave(len(self.units), dim=0)
        units = torch.tensor(self.units, device=context.device).repeat(len(starts))
        found = self._gradient_ascent(layer, pairs, units, card, context)
        rows = found.images.cpu().reshape(len(starts), len(self.units), *card.shape)
        shown = [
            [to_unit_range(start, card), *(to_unit_range(image, card) for image in row)]
            for start, row in zip(starts.cpu(), rows, strict=True)
        ]
        titles = ["start", *(f"unit {unit}" for unit in self.units)]
        path = figures.save_figure(
            context.scratch / "features.png",
            lambda: figures.image_grid(shown, names=names, titles=titles),
        )
        passed = {"rectifier_passed": float(layer.rectifier is not None)}
        return Measurement(metrics=_activation_metrics(found) | passed, files={"features": path})

    def _starting_images(
        self, given: EvaluationInputs, context: Context
    ) -> tuple[Tensor, list[str]]:
        """Noise around mid-grey, and test images of several classes."""
        card = given.test.card
        low, high = card.bounds or (0.0, 1.0)
        noise = torch.randn((1, *card.shape), generator=context.generator("noise start"))
        noise = (0.5 + NOISE_STD * noise).clamp(0, 1) * (high - low) + low
        labels = all_labels(given.test)
        positions = round_robin_by_class(labels, self.images)
        names = [
            "noise",
            *(
                card.names[label] if card.names else str(label)
                for label in labels[positions].tolist()
            ),
        ]
        starts = torch.cat([noise, given.test.inputs(positions)]) if len(positions) else noise
        return starts.to(context.device), names

    def _gradient_ascent(
        self, layer: LastLayer, starts: Tensor, units: Tensor, card: DataCard, context: Context
    ) -> MaximizedImages:
        """Steps of fixed l2 length up the unit's gradient, the best iterate kept."""

        def activation(inputs: Tensor, asked: Tensor) -> Tensor:
            return layer.features(inputs, fake_relu=True).gather(1, asked[:, None])[:, 0]

        at = best = starts
        before = highest = _activation_values(layer.model, activation, starts, units)
        for step in range(self.steps):
            gradient = input_gradients(layer.model, activation, at, units)
            length = broadcast_samples(flatten_samples(gradient).norm(dim=1), at).clamp_min(
                torch.finfo(at.dtype).tiny
            )
            moved = at + self.step_size * gradient / length
            at = clamp_to_bounds(starts + self._project_onto_ball(moved - starts), card)
            reached = _activation_values(layer.model, activation, at, units)
            best = torch.where(broadcast_samples(reached > highest, at).bool(), at, best)
            highest = torch.maximum(reached, highest)
            if step % KERNEL_BATCH == 0:
                context.progress(step, self.steps)
        return MaximizedImages(starts, best, before, highest)

    def _project_onto_ball(self, delta: Tensor) -> Tensor:
        """The nearest point of the l2 ball."""
        if self.radius is None:
            return delta
        return delta / broadcast_samples(
            (flatten_samples(delta).norm(dim=1) / self.radius).clamp_min(1), delta
        )


def _activation_values(
    model: nn.Module, activation: UnitActivation, inputs: Tensor, units: Tensor
) -> Tensor:
    with torch.no_grad(), weights_frozen(model):
        return apply_in_chunks(activation, inputs, units)


def _activation_metrics(found: MaximizedImages) -> dict[str, float]:
    """Means over all starts and units; `pixel_correlation` is the correlation of the pixels of an image with its start."""
    return {
        "activation": found.activation_after.double().mean().item(),
        "activation_start": found.activation_before.double().mean().item(),
        "total_variation": total_variation(found.images).mean().item(),
        "total_variation_start": total_variation(found.starts).mean().item(),
        "likeness": pixel_correlation(found.images, found.starts).mean().item(),
    }


def total_variation(images: Tensor) -> Tensor:
    """The mean absolute difference of neighbouring pixels, ``(B,)``; 0 for a single pixel."""
    across, down = images.double().diff(dim=-1).abs(), images.double().diff(dim=-2).abs()
    count = max(1, across[0].numel() + down[0].numel())
    return (across.flatten(1).sum(1) + down.flatten(1).sum(1)) / count


def pixel_correlation(images: Tensor, others: Tensor) -> Tensor:
    """The correlation of the pixels of two images ``(B,)``; 0 where one of them is of one colour."""
    a, b = (
        flatten_samples(one) - flatten_samples(one).mean(1, keepdim=True)
        for one in (images, others)
    )
    scale = a.norm(dim=1) * b.norm(dim=1)
    return torch.where(
        scale > 0, (a * b).sum(1) / scale.clamp_min(torch.finfo(scale.dtype).tiny), 0.0
    )
