"""Published protocols as presets. Light: no torch."""

from __future__ import annotations

from collections.abc import Mapping

from advtransfer.types import Json

_CIFAR: Mapping[str, Json] = {"norm": "linf", "eps": 8 / 255}

FGSM: Mapping[str, Mapping[str, Json]] = {"chan2020-fgsm": {**_CIFAR, "random_start": False}}
"""Chan et al. (2020): one sign step from the image."""

PGD: Mapping[str, Mapping[str, Json]] = {
    **{f"chan2020-pgd{steps}": {**_CIFAR, "steps": steps, "step_size": 2 / 255} for steps in (5, 10, 20, 50, 100)},
    "madry2018-mnist": {"norm": "linf", "eps": 0.3, "steps": 40, "step_size": 0.01},
    "madry2018-cifar10": {**_CIFAR, "steps": 20, "step_size": 2 / 255},
}
"""Chan et al. (2020), and the 40 steps for MNIST and 20 steps for CIFAR-10 of Madry et al. (2018, section 5)."""
