"""Configuration of a battery.

Threat model, numbers of samples, steps and draws, and thresholds of its checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from advtransfer.result.battery_index import PROBED_IMAGES

# Without l0: the battery has no attack in it, so such a claim is left unverified (see `claims`).
Norm: TypeAlias = Literal["linf", "l2", "l1"]
NORMS: tuple[Norm, ...] = get_args(Norm)
Size: TypeAlias = Literal["small", "full"]


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
        targets: Classes that the targeted ascent aims at, the nearest of each image.
        starts: Random starts of the targeted ascent, for each target.
        steps: Steps of each targeted ascent.
        trial_steps: Steps after which ascents to the classes but the nearest are compared, not in l_1.
        kept_targets: Number of those classes that an ascent then goes on to, the best of each image.
        l1_targets: Number of classes in l_1, where an ascent takes more steps.
        l1_steps: Number of steps in l_1, over all phases of `sparse_ascent`.
        unbounded_steps: Steps of the attack that may use the whole box.
        noise_draws: Random points of the ball's surface for each sample.
        source_steps: Steps of the attack on the source whose examples are transferred.
        smoothed_targets: Classes that the ascent along smoothed gradients aims at.
        smoothed_steps: Steps of each such ascent.
        smoothed_draws: Points whose gradients make one of its steps.
        scan_steps: Steps of the first ascent among points like the data, to one class.
        derivative_samples: Samples whose gradient is compared with finite differences.
    """

    size: Size = "small"
    samples: int = PROBED_IMAGES
    targets: int = 9
    starts: int = 1
    steps: int = 20
    trial_steps: int = 3
    kept_targets: int = 1
    l1_targets: int = 5
    l1_steps: int = 50
    unbounded_steps: int = 20
    noise_draws: int = 10
    source_steps: int = 10
    smoothed_targets: int = 4
    smoothed_steps: int = 20
    smoothed_draws: int = 12
    scan_steps: int = 8
    derivative_samples: int = 32


BATTERY_SIZES: Mapping[Size, BatteryConfig] = {
    "small": BatteryConfig(),
    "full": BatteryConfig(
        "full",
        starts=2,
        steps=100,
        kept_targets=8,
        l1_targets=9,
        l1_steps=200,
        unbounded_steps=50,
        noise_draws=1000,
        source_steps=40,
        smoothed_targets=9,
        smoothed_steps=40,
        smoothed_draws=24,
        scan_steps=40,
    ),
}
"""Both attack the same samples.

What `foolbox/autoattack: fast` breaks and `small` leaves in l_inf, `tests/performance/battery.py` counts.
`full` takes two to ten times the steps and a hundred times the noise, and drops no class; it is for a
model that one does not trust, such as a defence that is being proposed.
"""
