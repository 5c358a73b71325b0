"""Configuration of a battery.

Threat model, numbers of samples, steps and draws, and thresholds of its checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from advtransfer.statistics import wilson_interval
from advtransfer.types import CheckStatus

# Without l0: the battery has no attack in it, so such a claim is left unverified (see `claims`).
Norm: TypeAlias = Literal["linf", "l2", "l1"]
NORMS: tuple[Norm, ...] = get_args(Norm)
Size: TypeAlias = Literal["small", "full"]

BATTERY_VERSION = 3
"""Raised whenever the same model would get other outcomes or checks."""

SUSPICIOUS_SHARE = 0.05
"""Largest lower bound of a share of samples that still passes a check."""

FAIL_SHARE = 0.15
"""Largest lower bound of a share of samples that is only suspicious; above it a check fails."""


@dataclass(frozen=True, slots=True)
class ThreatModel:
    """A ball around each image; `eps` is in the unit of the inputs."""

    norm: Norm
    eps: float


@dataclass(frozen=True, slots=True)
class BatteryConfig:
    """Amount of work that a battery does.

    Args:
        size: Name of the configuration; it is part of a battery's id.
        samples: Test samples that are attacked, a fixed draw; all of them when there are fewer.
        steps: Steps of the attack that an evaluation is compared with, whatever number the
            evaluation takes itself.
        restart_steps: Steps of each attack from another random start, on samples not yet broken.
        restarts: Number of those attacks.
        unbounded_steps: Steps of the attack that may use the whole box.
        noise_draws: Random points of the ball's surface for each sample.
        source_steps: Steps of the attack on the source whose examples are transferred.
        derivative_samples: Samples whose gradient is compared with finite differences.
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
    """Return the one-sided 95 % lower bound of the share `hits / of` (Wilson, 1927); 0 if `of` is 0."""
    if not of:
        return 0.0
    # The lower end of a two-sided 90 % interval leaves 5 % below it: a one-sided 95 % bound.
    return wilson_interval(hits, of, confidence=0.9)[0]


def status_of_share(share: float) -> CheckStatus:
    """Return the status of a check from the lower bound of its share of bad samples."""
    if share > FAIL_SHARE:
        return "fail"
    return "suspicious" if share > SUSPICIOUS_SHARE else "pass"
