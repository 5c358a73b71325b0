"""The canaries.

Models that seem more robust than they are, each with strengths from obvious to subtle.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn

from advtransfer.testing.canaries.honest_models import GREY_LEVELS, Subject, fine_tuned_network
from advtransfer.toolkit.datasets import ArraySamples, all_positions
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.types import Samples
from advtransfer.worker.verification.ascent import logits_of


class QuantizedInput(nn.Module):
    """Rounds its input to so many levels: the gradient is zero wherever there is one."""

    def __init__(self, model: nn.Module, levels: float) -> None:
        super().__init__()
        self.model, self.levels = model, levels

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits of the rounded input."""
        logits: Tensor = self.model((inputs * self.levels).round() / self.levels)
        return logits


class StraightThrough(QuantizedInput):
    """Rounds its input, and passes gradients on as if it did not."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits of the rounded input."""
        rounded = (inputs * self.levels).round() / self.levels
        logits: Tensor = self.model(inputs + (rounded - inputs).detach())
        return logits


class SaturatedLogits(nn.Module):
    """Logits so large that the softmax of float32 is exactly one-hot."""

    def __init__(self, model: nn.Module, scale: float) -> None:
        super().__init__()
        self.model, self.scale = model, scale

    def forward(self, inputs: Tensor) -> Tensor:
        """Scaled logits."""
        logits: Tensor = self.scale * self.model(inputs)
        return logits


class SoftmaxOutput(SaturatedLogits):
    """Gives probabilities where logits are expected, so that an attack takes their softmax once more."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Probabilities."""
        return super().forward(inputs).softmax(1)


class NoisyInput(nn.Module):
    """Adds fresh noise to its input at each call."""

    def __init__(self, model: nn.Module, deviation: float) -> None:
        super().__init__()
        self.model, self.deviation = model, deviation

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits of a noisy input."""
        logits: Tensor = self.model(inputs + self.deviation * torch.randn_like(inputs))
        return logits


class WinnersTakeAll(nn.Module):
    """Keeps the largest share of a layer's activations, and sets the others to zero (Xiao et al., 2020)."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, C, H, W)`` activations, most of them zero."""
        flat = inputs.flatten(1)
        kept = max(1, round(self.share * flat.shape[1]))
        threshold = flat.topk(kept, dim=1).values[:, -1:]
        return torch.where(flat >= threshold, flat, 0.0).view_as(inputs)


class BatchStatistics(nn.Module):
    """Normalises its logits by the batch at hand, also in eval mode."""

    def __init__(self, model: nn.Module, share: float) -> None:
        super().__init__()
        self.model, self.share = model, share

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits that depend on the other rows."""
        logits: Tensor = self.model(inputs)
        return (1 - self.share) * logits + self.share * nn.functional.batch_norm(
            logits, None, None, training=True
        )


class AttackDetector(nn.Module):
    """Looks for pixels that no scan of a digit has."""

    def __init__(self, model: nn.Module, share: float) -> None:
        super().__init__()
        self.model, self.share = model, share

    def looks_attacked(self, inputs: Tensor) -> Tensor:
        """Which inputs have more than a share of such pixels, ``(B,)`` bool."""
        levels = inputs.flatten(1) * GREY_LEVELS
        return ((levels - levels.round()).abs() > 1e-3).float().mean(1) > self.share

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits, NaN for what looks attacked."""
        logits: Tensor = self.model(inputs)
        return torch.where(self.looks_attacked(inputs)[:, None], torch.nan, logits)


class RaisingDetector(AttackDetector):
    """Raises on what looks attacked."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits.

        Raises:
            ValueError: An input looks attacked.
        """
        if self.looks_attacked(inputs).any():
            raise ValueError("found an input that looks attacked; expected a natural image")
        logits: Tensor = self.model(inputs)
        return logits


class RescaledInput(nn.Module):
    """Expects its pixels in another range than [0, 1]."""

    def __init__(self, model: nn.Module, low: float, high: float) -> None:
        super().__init__()
        self.model, self.low, self.high = model, low, high

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits of the input brought back to [0, 1]."""
        logits: Tensor = self.model((inputs - self.low) / (self.high - self.low))
        return logits


Spoil: TypeAlias = Callable[[Subject, float], Subject]


@dataclass(frozen=True, slots=True)
class Canary:
    """One way of fooling an evaluation.

    Args:
        spoil: From an honest subject and a strength to the canary.
        strengths: From the strongest to the weakest that must be caught.
        text: What is wrong with it.
    """

    spoil: Spoil
    strengths: tuple[float, ...]
    text: str


def _wrap_model(wrapper: Callable[[nn.Module, float], nn.Module]) -> Spoil:
    def spoil(subject: Subject, strength: float) -> Subject:
        return replace(subject, model=wrapper(subject.model, strength).eval())

    return spoil


def _saturate_logits(wrapper: type[SaturatedLogits]) -> Spoil:
    """Logits scaled until the median lead of the best class is the strength: float32 has no slope left at some 100."""

    def spoil(subject: Subject, strength: float) -> Subject:
        best = (
            logits_of(subject.model, subject.test.inputs(all_positions(subject.test)))
            .topk(2, dim=1)
            .values
        )
        scale = strength / float((best[:, 0] - best[:, 1]).median())
        return replace(subject, model=wrapper(subject.model, scale).eval())

    return spoil


def _add_winners_take_all(subject: Subject, strength: float) -> Subject:
    """A copy of the network in which `WinnersTakeAll` follows every activation, trained on for a few epochs."""
    model = copy.deepcopy(subject.model)
    for block in cast(BlockNetwork, model).blocks.values():
        if isinstance(block, nn.Sequential) and isinstance(block[-1], nn.ReLU):
            block.append(WinnersTakeAll(strength))
    return replace(subject, model=fine_tuned_network(model))


def _leave_in_train_mode(subject: Subject, strength: float) -> Subject:
    """A batch normalisation before the network, left in training mode; `strength` is its momentum."""
    norm = nn.BatchNorm2d(subject.test.card.shape[0], momentum=strength)
    model = nn.Sequential(norm, subject.model).eval()
    norm.train()
    return replace(subject, model=model)


def _rescale_bounds(subject: Subject, strength: float) -> Subject:
    """Images and model in [0, strength] (in [-1, 1] for a strength of -1), where eps of [0, 1] is next to nothing."""
    low, high = (-1.0, 1.0) if strength < 0 else (0.0, strength)
    images = low + (high - low) * subject.test.inputs(all_positions(subject.test))
    test: Samples = ArraySamples(
        card=subject.test.card,
        inputs=images,
        labels=subject.test.labels(all_positions(subject.test)),
        keys=subject.test.keys,
    )
    return replace(subject, model=RescaledInput(subject.model, low, high).eval(), test=test)


CANARIES: Mapping[str, Canary] = {
    "quantised input": Canary(
        _wrap_model(QuantizedInput), (4, 16, 256), "rounds its input, so gradients are zero"
    ),
    "straight through": Canary(
        _wrap_model(StraightThrough), (2, 4, 16), "rounds its input and hides it from gradients"
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
    "batch statistics": Canary(
        _wrap_model(BatchStatistics), (1, 0.3, 0.1), "normalises by the batch at hand"
    ),
    "training mode": Canary(
        _leave_in_train_mode, (0.9, 0.1, 0.01), "batch normalisation left in training mode"
    ),
    "wrong bounds": Canary(_rescale_bounds, (255, -1, 1.1), "images outside [0, 1]"),
}
