"""The canaries: each a way in which a model seems robust and is not, with a strength that says how much of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias, cast

from torch import nn

from advtransfer.testing.canaries import wrappers
from advtransfer.testing.canaries.honest import Subject, tuned
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.samples import Arrays, every
from advtransfer.trial.battery.climb import logits_of
from advtransfer.types import Samples

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


def _wrapped(wrapper: Callable[[nn.Module, float], nn.Module]) -> Spoil:
    def spoil(subject: Subject, strength: float) -> Subject:
        return replace(subject, model=wrapper(subject.model, strength).eval())

    return spoil


def _saturated(wrapper: type[wrappers.Saturated]) -> Spoil:
    """Logits scaled until the median lead of the best class is the strength: float32 has no slope left at some 100."""

    def spoil(subject: Subject, strength: float) -> Subject:
        best = logits_of(subject.model, subject.test.inputs(every(subject.test))).topk(2, dim=1).values
        scale = strength / float((best[:, 0] - best[:, 1]).median())
        return replace(subject, model=wrapper(subject.model, scale).eval())

    return spoil


def _winners(subject: Subject, strength: float) -> Subject:
    """A copy of the network in which `WinnersTakeAll` follows every activation, trained on for a few epochs."""
    model = copy.deepcopy(subject.model)
    for block in cast(BlockNetwork, model).blocks.values():
        if isinstance(block, nn.Sequential) and isinstance(block[-1], nn.ReLU):
            block.append(wrappers.WinnersTakeAll(strength))
    return replace(subject, model=tuned(model))


def _train_mode(subject: Subject, strength: float) -> Subject:
    """A batch normalisation before the network, left in training mode; `strength` is its momentum."""
    norm = nn.BatchNorm2d(subject.test.card.shape[0], momentum=strength)
    model = nn.Sequential(norm, subject.model).eval()
    norm.train()
    return replace(subject, model=model)


def _wrong_bounds(subject: Subject, strength: float) -> Subject:
    """Images and model in [0, strength] (in [-1, 1] for a strength of -1), where eps of [0, 1] is next to nothing."""
    low, high = (-1.0, 1.0) if strength < 0 else (0.0, strength)
    images = low + (high - low) * subject.test.inputs(every(subject.test))
    test: Samples = Arrays(
        card=subject.test.card, inputs=images, labels=subject.test.labels(every(subject.test)), keys=subject.test.keys
    )
    return replace(subject, model=wrappers.Stretched(subject.model, low, high).eval(), test=test)


CANARIES: Mapping[str, Canary] = {
    "quantised input": Canary(_wrapped(wrappers.Quantised), (4, 16, 256), "rounds its input, so gradients are zero"),
    "straight through": Canary(
        _wrapped(wrappers.StraightThrough), (2, 4, 16), "rounds its input and hides it from gradients"
    ),
    "saturated logits": Canary(_saturated(wrappers.Saturated), (1e4, 1e3, 300), "logits too large for float32"),
    "softmax output": Canary(_saturated(wrappers.Probabilities), (1e3, 100, 10), "gives probabilities for logits"),
    "random noise": Canary(_wrapped(wrappers.Noisy), (0.3, 0.1, 0.01), "adds noise at each call"),
    "k winners take all": Canary(_winners, (0.1, 0.2, 0.4), "drops all but the largest activations"),
    "NaN under attack": Canary(_wrapped(wrappers.Suspecting), (0, 0.1, 0.3), "answers NaN to what looks attacked"),
    "raising detector": Canary(_wrapped(wrappers.Raising), (0, 0.1, 0.3), "raises on what looks attacked"),
    "batch statistics": Canary(_wrapped(wrappers.BatchStatistics), (1, 0.3, 0.1), "normalises by the batch at hand"),
    "training mode": Canary(_train_mode, (0.9, 0.1, 0.01), "batch normalisation left in training mode"),
    "wrong bounds": Canary(_wrong_bounds, (255, -1, 1.1), "images outside [0, 1]"),
}
