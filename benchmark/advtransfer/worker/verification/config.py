"""Configuration of a battery.

Threat model, numbers of samples, steps and draws, and thresholds of its checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from advtransfer.statistics import wilson_interval
from advtransfer.types import CheckStatus

Norm: TypeAlias = Literal["linf", "l2", "l1"]
NORMS: tuple[Norm, ...] = get_args(Norm)
Size: TypeAlias = Literal["small", "full"]

BATTERY_VERSION = 2
"""Goes up when the same model gets other findings."""

SUSPICIOUS_SHARE, FAIL_SHARE = 0.05, 0.15
"""Shares of the samples: what the lower bound of a share may reach before it is doubted, and before it is refused."""


@dataclass(frozen=True, slots=True)
class ThreatModel:
    """A ball around each image; `eps` in the unit of the inputs."""

    norm: Norm
    eps: float


@dataclass(frozen=True, slots=True)
class BatteryConfig:
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
    unbounded_steps: int = 20
    noise_draws: int = 10
    source_steps: int = 10
    derivative_samples: int = 32


BATTERY_SIZES: Mapping[Size, BatteryConfig] = {
    "small": BatteryConfig(),
    "full": BatteryConfig(
        "full",
        1000,
        steps=100,
        restart_steps=50,
        restarts=4,
        unbounded_steps=50,
        noise_draws=1000,
        source_steps=40,
    ),
}


def share_lower_bound(hits: int, of: int) -> float:
    """The one-sided 95 % lower bound of a share (Wilson, 1927); 0 of no samples."""
    return wilson_interval(hits, of, confidence=0.9)[0] if of else 0.0


def status_of_share(share: float) -> CheckStatus:
    """What the lower bound of a share of overlooked samples is worth."""
    return "fail" if share > FAIL_SHARE else "suspicious" if share > SUSPICIOUS_SHARE else "pass"
