"""What a unit of the penultimate layer looks for: images that make it large (Engstrom et al., 2019)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.freezing import weights_frozen
from advtransfer.toolkit.prediction import KERNEL_BATCH, apply_in_chunks
from advtransfer.types import Context, DataCard, Given, Measurement
from advtransfer_interpret import canvas
from advtransfer_interpret.gradients import flat, input_gradients, per_sample
from advtransfer_interpret.last_layer import LastLayer
from advtransfer_interpret.samples import boxed, by_turns, expect_images, in_unit, labels_of, model_of

NOISE = 0.05  # standard deviation of the noise start around mid-grey, of the range of a pixel


Activation: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"
"""From inputs ``(B, ...)`` and units ``(B,)`` to activations ``(B,)``."""


@dataclass(frozen=True, slots=True)
class Maximised:
    """The starts and the best iterates ``(B, C, H, W)``, and the unit's activation at both ``(B,)``."""

    starts: Tensor
    images: Tensor
    before: Tensor
    after: Tensor


@dataclass(frozen=True, slots=True)
class FeatureVisualisation:
    """An evaluation: images that maximise units, and how much structure they have."""

    units: tuple[int, ...]
    images: int
    steps: int
    step_size: float
    radius: float | None

    def measure(self, given: Given, *, context: Context) -> Measurement:
        """Activations, structure of the images, and the images as a figure."""
        model, card = model_of(given), given.test.card
        expect_images(card)
        starts, names = self._starts(given, context)
        layer = LastLayer.of(model, starts[:1])
        if max(self.units) >= layer.weight.shape[1]:
            there = layer.weight.shape[1]
            raise Inapplicable(f"unit {max(self.units)} is none of the {there} that the last layer sees")
        pairs = starts.repeat_interleave(len(self.units), dim=0)
        units = torch.tensor(self.units, device=context.device).repeat(len(starts))
        found = self._climb(layer, pairs, units, card, context)
        rows = found.images.cpu().reshape(len(starts), len(self.units), *card.shape)
        shown = [
            [in_unit(start, card), *(in_unit(image, card) for image in row)]
            for start, row in zip(starts.cpu(), rows, strict=True)
        ]
        titles = ["start", *(f"unit {unit}" for unit in self.units)]
        path = canvas.saved(context.scratch / "features.png", lambda: canvas.grid(shown, names=names, titles=titles))
        passed = {"rectifier_passed": float(layer.rectifier is not None)}
        return Measurement(metrics=_metrics(found) | passed, files={"features": path})

    def _starts(self, given: Given, context: Context) -> tuple[Tensor, list[str]]:
        """Noise around mid-grey, and test images of several classes."""
        card = given.test.card
        low, high = card.bounds or (0.0, 1.0)
        noise = torch.randn((1, *card.shape), generator=context.generator("noise start"))
        noise = (0.5 + NOISE * noise).clamp(0, 1) * (high - low) + low
        labels = labels_of(given.test)
        positions = by_turns(labels, self.images)
        names = ["noise", *(card.names[label] if card.names else str(label) for label in labels[positions].tolist())]
        starts = torch.cat([noise, given.test.inputs(positions)]) if len(positions) else noise
        return starts.to(context.device), names

    def _climb(self, layer: LastLayer, starts: Tensor, units: Tensor, card: DataCard, context: Context) -> Maximised:
        """Steps of fixed l2 length up the unit's gradient, the best iterate kept."""

        def activation(inputs: Tensor, asked: Tensor) -> Tensor:
            return layer.features(inputs, fake_relu=True).gather(1, asked[:, None])[:, 0]

        at = best = starts
        before = highest = _values(layer.model, activation, starts, units)
        for step in range(self.steps):
            gradient = input_gradients(layer.model, activation, at, units)
            length = per_sample(flat(gradient).norm(dim=1), at).clamp_min(torch.finfo(at.dtype).tiny)
            moved = at + self.step_size * gradient / length
            at = boxed(starts + self._within(moved - starts), card)
            reached = _values(layer.model, activation, at, units)
            best = torch.where(per_sample(reached > highest, at).bool(), at, best)
            highest = torch.maximum(reached, highest)
            if step % KERNEL_BATCH == 0:
                context.progress(step, self.steps)
        return Maximised(starts, best, before, highest)

    def _within(self, delta: Tensor) -> Tensor:
        """The nearest point of the l2 ball."""
        if self.radius is None:
            return delta
        return delta / per_sample((flat(delta).norm(dim=1) / self.radius).clamp_min(1), delta)


def _values(model: nn.Module, activation: Activation, inputs: Tensor, units: Tensor) -> Tensor:
    with torch.no_grad(), weights_frozen(model):
        return apply_in_chunks(activation, inputs, units)


def _metrics(found: Maximised) -> dict[str, float]:
    """Means over all starts and units; `likeness` is the correlation of the pixels of an image with its start."""
    return {
        "activation": found.after.double().mean().item(),
        "activation_start": found.before.double().mean().item(),
        "total_variation": total_variation(found.images).mean().item(),
        "total_variation_start": total_variation(found.starts).mean().item(),
        "likeness": likeness(found.images, found.starts).mean().item(),
    }


def total_variation(images: Tensor) -> Tensor:
    """The mean absolute difference of neighbouring pixels, ``(B,)``; 0 for a single pixel."""
    across, down = images.double().diff(dim=-1).abs(), images.double().diff(dim=-2).abs()
    count = max(1, across[0].numel() + down[0].numel())
    return (across.flatten(1).sum(1) + down.flatten(1).sum(1)) / count


def likeness(images: Tensor, others: Tensor) -> Tensor:
    """The correlation of the pixels of two images ``(B,)``; 0 where one of them is of one colour."""
    a, b = (flat(one) - flat(one).mean(1, keepdim=True) for one in (images, others))
    scale = a.norm(dim=1) * b.norm(dim=1)
    return torch.where(scale > 0, (a * b).sum(1) / scale.clamp_min(torch.finfo(scale.dtype).tiny), 0.0)
