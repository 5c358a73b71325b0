"""The canaries: models that seem more robust than they are, in strengths from obvious to subtle."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn

from advtransfer.testing.canaries.honest_models import GREY_LEVELS, Subject, fine_tuned_network
from advtransfer.toolkit.datasets import ArraySamples, all_positions
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.rng import stream_generator
from advtransfer.types import Samples
from advtransfer.worker.verification.ascent import logits_of
from advtransfer.worker.verification.config import NORMS, Norm


class QuantizedInput(nn.Module):
    """A model that rounds its input to a number of levels, so that its gradient is zero."""

    def __init__(self, model: nn.Module, levels: float) -> None:
        super().__init__()
        self.model = model
        self.levels = levels

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of the rounded input."""
        logits: Tensor = self.model((inputs * self.levels).round() / self.levels)
        return logits


class StraightThrough(QuantizedInput):
    """A model that rounds its input and passes gradients on as if it did not."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of the rounded input."""
        rounded = (inputs * self.levels).round() / self.levels
        # Detached, so that the gradient of the rounding is that of the identity.
        logits: Tensor = self.model(inputs + (rounded - inputs).detach())
        return logits


class RippledLogits(nn.Module):
    """A model with a fine ripple on its logits, which turns gradients and hardly moves decisions."""

    directions: Tensor

    def __init__(self, model: nn.Module, directions: Tensor, amplitude: float) -> None:
        super().__init__()
        self.model = model
        self.amplitude = amplitude
        self.register_buffer("directions", directions)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits, each with a sine along a direction of its own added."""
        logits: Tensor = self.model(inputs)
        return logits + self.amplitude * torch.sin(inputs.flatten(1) @ self.directions)


class WiggledInput(nn.Module):
    """A model that moves every pixel to and fro as it grows, which turns gradients."""

    def __init__(self, model: nn.Module, amplitude: float) -> None:
        super().__init__()
        self.model = model
        self.amplitude = amplitude

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of the distorted input."""
        logits: Tensor = self.model(inputs + self.amplitude * torch.sin(WIGGLE_FREQUENCY * inputs))
        return logits


class SaturatedLogits(nn.Module):
    """A model with logits so large that their softmax in float32 is exactly one-hot."""

    def __init__(self, model: nn.Module, scale: float) -> None:
        super().__init__()
        self.model = model
        self.scale = scale

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the scaled logits."""
        logits: Tensor = self.scale * self.model(inputs)
        return logits


class SoftmaxOutput(SaturatedLogits):
    """A model that returns probabilities for logits, of which attacks take the softmax again."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return probabilities."""
        return super().forward(inputs).softmax(1)


class NoisyInput(nn.Module):
    """A model that adds fresh noise to its input at each call."""

    def __init__(self, model: nn.Module, deviation: float) -> None:
        super().__init__()
        self.model = model
        self.deviation = deviation

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of a noisy input."""
        logits: Tensor = self.model(inputs + self.deviation * torch.randn_like(inputs))
        return logits


class WinnersTakeAll(nn.Module):
    """An activation that keeps a share of the largest values only (Xiao et al., 2020)."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the activations ``(B, C, H, W)``, most of them zero."""
        flat = inputs.flatten(1)
        winner_count = max(1, round(self.share * flat.shape[1]))
        threshold = flat.topk(winner_count, dim=1).values[:, -1:]
        return torch.where(flat >= threshold, flat, 0.0).view_as(inputs)


class BatchStatistics(nn.Module):
    """A model that normalises its logits over the batch, also in eval mode."""

    def __init__(self, model: nn.Module, share: float) -> None:
        super().__init__()
        self.model = model
        self.share = share

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits that depend on the other rows of the batch."""
        logits: Tensor = self.model(inputs)
        normalised = nn.functional.batch_norm(logits, None, None, training=True)
        return (1 - self.share) * logits + self.share * normalised


class AttackDetector(nn.Module):
    """A model that returns NaN for pixels between the grey levels of scanned digits."""

    def __init__(self, model: nn.Module, share: float) -> None:
        super().__init__()
        self.model = model
        self.share = share

    def looks_attacked(self, inputs: Tensor) -> Tensor:
        """Return True ``(B,)`` for inputs with more than a share of such pixels."""
        levels = inputs.flatten(1) * GREY_LEVELS
        is_between = (levels - levels.round()).abs() > 1e-3
        return is_between.float().mean(1) > self.share

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits, NaN for inputs that look attacked."""
        logits: Tensor = self.model(inputs)
        return torch.where(self.looks_attacked(inputs)[:, None], torch.nan, logits)


class RaisingDetector(AttackDetector):
    """A model that raises an error for inputs that look attacked."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits.

        Raises:
            ValueError: An input looks attacked.
        """
        if self.looks_attacked(inputs).any():
            raise ValueError("found an input that looks attacked; expected a natural image")
        logits: Tensor = self.model(inputs)
        return logits


class RememberingDetector(AttackDetector):
    """A model that answers what looks attacked with the class of the nearest image it remembers."""

    images: Tensor
    labels: Tensor

    def __init__(self, model: nn.Module, share: float, images: Tensor, labels: Tensor) -> None:
        super().__init__(model, share)
        self.register_buffer("images", images.flatten(1))
        self.register_buffer("labels", labels)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits, or the negative squared distance to each class."""
        logits: Tensor = self.model(inputs)
        distances = (inputs.flatten(1)[:, None] - self.images.to(inputs)).square().sum(2)
        classes = torch.arange(logits.shape[1], device=inputs.device)
        is_other = self.labels[None] != classes[:, None]
        nearest = distances[:, None].masked_fill(is_other, torch.inf).amin(2)
        return torch.where(self.looks_attacked(inputs)[:, None], -nearest, logits)


class UnusedPixelDetector(RememberingDetector):
    """The same for inputs that move more than a share of the pixels that no image uses."""

    def looks_attacked(self, inputs: Tensor) -> Tensor:
        """Return True ``(B,)`` for inputs with more than a share of such pixels moved."""
        is_unused = (self.images == self.images[0]).all(0)
        is_moved = inputs.flatten(1)[:, is_unused] != self.images[0, is_unused]
        return is_moved.float().mean(1) > self.share


class RescaledInput(nn.Module):
    """A model that expects its pixels in another range than [0, 1]."""

    def __init__(self, model: nn.Module, low: float, high: float) -> None:
        super().__init__()
        self.model = model
        self.low = low
        self.high = high

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of the input rescaled to [0, 1]."""
        logits: Tensor = self.model((inputs - self.low) / (self.high - self.low))
        return logits


COSTLY_IMAGES = 192
"""Images of canaries that the battery looks at again, which takes up to 2,000 gradients an image."""

RIPPLE_FREQUENCY = 100.0
"""Standard deviation of a ripple's phase, in radians for a pixel that moves by 1."""

WIGGLE_FREQUENCY = 100.0
"""Radians of a wiggle's phase for a pixel that moves by 1."""

Spoil: TypeAlias = Callable[[Subject, float], Subject]


@dataclass(frozen=True, slots=True)
class Canary:
    """One way of fooling an evaluation.

    Args:
        spoil: From an honest subject and a strength to the canary.
        strengths: From the strongest to the weakest that must be caught.
        text: A description of the defect.
        images: The number of test images that show it to `advtransfer check`; None for all.
        norms: The norms in which it hides something.
    """

    spoil: Spoil
    strengths: tuple[float, ...]
    text: str
    images: int | None = None
    norms: tuple[Norm, ...] = NORMS


def _wrap_model(wrapper: Callable[[nn.Module, float], nn.Module]) -> Spoil:
    def spoil(subject: Subject, strength: float) -> Subject:
        return replace(subject, model=wrapper(subject.model, strength).eval())

    return spoil


def _saturate_logits(wrapper: type[SaturatedLogits]) -> Spoil:
    """Return a function that scales logits so that the median margin equals the strength.

    From a margin of about 100 on, the softmax has no slope left in float32.
    """

    def spoil(subject: Subject, strength: float) -> Subject:
        inputs = subject.test.inputs(all_positions(subject.test))
        best = logits_of(subject.model, inputs).topk(2, dim=1).values
        margins = best[:, 0] - best[:, 1]
        scale = strength / float(margins.median())
        return replace(subject, model=wrapper(subject.model, scale).eval())

    return spoil


def _ripple_logits(subject: Subject, strength: float) -> Subject:
    """Return the network with a ripple on its logits; `strength` is its amplitude."""
    card = subject.test.card
    directions = RIPPLE_FREQUENCY * torch.randn(
        math.prod(card.shape), card.outputs, generator=stream_generator("canaries", "ripple")
    )
    return replace(subject, model=RippledLogits(subject.model, directions, strength).eval())


def _remember_images(detector: type[RememberingDetector]) -> Spoil:
    """Return a function that adds a detector which knows the images; the strength is the share it admits."""

    def spoil(subject: Subject, strength: float) -> Subject:
        positions = all_positions(subject.test)
        images, labels = subject.test.inputs(positions), subject.test.labels(positions)
        model = detector(subject.model, strength, images, labels)
        return replace(subject, model=model.eval())

    return spoil


def _add_winners_take_all(subject: Subject, strength: float) -> Subject:
    """Return a fine-tuned copy of the network with `WinnersTakeAll` after every activation."""
    model = copy.deepcopy(subject.model)
    for block in cast(BlockNetwork, model).blocks.values():
        if isinstance(block, nn.Sequential) and isinstance(block[-1], nn.ReLU):
            block.append(WinnersTakeAll(strength))
    # The weights were trained with dense activations and must adapt to sparse ones.
    return replace(subject, model=fine_tuned_network(model))


def _leave_in_train_mode(subject: Subject, strength: float) -> Subject:
    """Put a batch normalisation in training mode before the network; `strength` is its momentum."""
    norm = nn.BatchNorm2d(subject.test.card.shape[0], momentum=strength)
    model = nn.Sequential(norm, subject.model).eval()
    norm.train()  # after eval(), which reaches every module
    return replace(subject, model=model)


def _rescale_bounds(subject: Subject, strength: float) -> Subject:
    """Rescale images and model to [0, strength], or to [-1, 1] for a strength of -1.

    In the wider range an eps meant for [0, 1] is too small to break anything.
    """
    low, high = (-1.0, 1.0) if strength < 0 else (0.0, strength)
    original = subject.test
    positions = all_positions(original)
    test: Samples = ArraySamples(
        card=original.card,
        inputs=low + (high - low) * original.inputs(positions),
        labels=original.labels(positions),
        keys=original.keys,
    )
    return replace(subject, model=RescaledInput(subject.model, low, high).eval(), test=test)


CANARIES: Mapping[str, Canary] = {
    "quantised input": Canary(
        _wrap_model(QuantizedInput), (4, 16, 256), "rounds its input, so gradients are zero"
    ),
    "straight through": Canary(
        _wrap_model(StraightThrough), (2, 4, 16), "rounds its input and hides it from gradients"
    ),
    "logit ripple": Canary(
        _ripple_logits,
        (1, 0.3, 0.1),
        "adds a fine ripple to its logits, which turns gradients",
        COSTLY_IMAGES,
    ),
    "input wiggle": Canary(
        _wrap_model(WiggledInput),
        (0.05, 0.04, 0.03),
        "moves pixels to and fro, which turns gradients",
        COSTLY_IMAGES,
        # In l_1 a step to a vertex crosses all of its waves.
        norms=("linf", "l2"),
    ),
    "saturated logits": Canary(
        _saturate_logits(SaturatedLogits), (1e4, 1e3, 300), "logits too large for float32"
    ),
    "softmax output": Canary(
        _saturate_logits(SoftmaxOutput), (1e3, 100, 10), "gives probabilities for logits"
    ),
    "random noise": Canary(_wrap_model(NoisyInput), (0.3, 0.1, 0.01), "adds noise at each call"),
    "k winners take all": Canary(
        _add_winners_take_all, (0.1, 0.2, 0.4), "drops all but the largest activations"
    ),
    "NaN under attack": Canary(
        _wrap_model(AttackDetector), (0, 0.1, 0.3), "answers NaN to what looks attacked"
    ),
    "raising detector": Canary(
        _wrap_model(RaisingDetector), (0, 0.1, 0.3), "raises on what looks attacked"
    ),
    "remembering detector": Canary(
        _remember_images(RememberingDetector),
        (0,),
        "answers what looks attacked from memory",
        COSTLY_IMAGES,
    ),
    "unused pixels": Canary(
        _remember_images(UnusedPixelDetector),
        (0,),
        "answers from memory where pixels move that no image uses",
        COSTLY_IMAGES,
    ),
    "batch statistics": Canary(
        _wrap_model(BatchStatistics), (1, 0.3, 0.1), "normalises by the batch at hand"
    ),
    "training mode": Canary(
        _leave_in_train_mode, (0.9, 0.1, 0.01), "batch normalisation left in training mode"
    ),
    "wrong bounds": Canary(_rescale_bounds, (255, -1, 1.1), "images outside [0, 1]"),
}
