"""What a battery does, in numbers: how many samples, steps and draws, and where a share becomes suspicious."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from advtransfer.statistics import wilson
from advtransfer.types import Grade

Norm: TypeAlias = Literal["linf", "l2", "l1"]
NORMS: tuple[Norm, ...] = get_args(Norm)
Size: TypeAlias = Literal["small", "full"]

VERSION = 2
"""Goes up when the same model gets other findings."""

SUSPICIOUS, FAIL = 0.05, 0.15
"""Shares of the samples: what the lower bound of a share may reach before it is doubted, and before it is refused."""


@dataclass(frozen=True, slots=True)
class Threat:
    """A ball around each image; `eps` in the unit of the inputs."""

    norm: Norm
    eps: float


@dataclass(frozen=True, slots=True)
class Battery:
    """How much is done.

    Args:
        size: Its name, part of a battery's id.
        samples: Test samples that are probed, a fixed draw; all when there are fewer.
        steps: Steps of the attack that an evaluation is compared with, however many the evaluation takes.
        restart_steps: Steps of each attack from another start, on what still stands.
        restarts: How many of those.
        huge_steps: Steps inside the whole box.
        noise: Random points of the ball's surface.
        source_steps: Steps of the attack on the source whose examples are carried over.
        derivatives: Samples whose gradient is compared with finite differences.
    """

    size: Size = "small"
    samples: int = 200
    steps: int = 40
    restart_steps: int = 10
    restarts: int = 1
    huge_steps: int = 20
    noise: int = 10
    source_steps: int = 10
    derivatives: int = 32


SIZES: Mapping[Size, Battery] = {
    "small": Battery(),
    "full": Battery("full", 1000, steps=100, restart_steps=50, restarts=4, huge_steps=50, noise=1000, source_steps=40),
}


def lower_bound(hits: int, of: int) -> float:
    """The one-sided 95 % lower bound of a share (Wilson, 1927); 0 of no samples."""
    return wilson(hits, of, confidence=0.9)[0] if of else 0.0


def graded(share: float) -> Grade:
    """What the lower bound of a share of overlooked samples is worth."""
    return "fail" if share > FAIL else "suspicious" if share > SUSPICIOUS else "pass"
