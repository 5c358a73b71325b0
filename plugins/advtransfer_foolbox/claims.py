"""What an accuracy under attacks is called: robust only where an attack takes steps that build on each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from advtransfer_foolbox.settings import Fgsm, Noise, Settings


def metric(asked: Sequence[Settings]) -> Literal["robust_accuracy", "accuracy"]:
    """The outcome metric's name, before ``@<eps>``, under all these attacks together.

    A single step, however often restarted, and random noise bound robust accuracy from above only: what stands under
    nothing else is shown as the accuracy under an attack. The host then asks for no evidence of robustness.
    """
    return "robust_accuracy" if any(map(_iterates, asked)) else "accuracy"


def _iterates(asked: Settings) -> bool:
    return not isinstance(asked, Fgsm | Noise) and asked.steps > 1
