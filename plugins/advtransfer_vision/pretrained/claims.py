"""Claims about a checkpoint's origin for the source's card, and those of released robust checkpoints as presets.

Does not import torch.

Engstrom et al., Robustness (Python Library), 2019, README of github.com/MadryLab/robustness (ResNet-50; ImageNet's
50,000 validation images, CIFAR-10's test images); and Salman et al., Do Adversarially Robust ImageNet Models Transfer
Better?, NeurIPS 2020, README of github.com/microsoft/robust-models-transfer (files named as in its release).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from advtransfer.types import Json

CONSTRAINT_PATTERN = re.compile(r"none|(linf|l2|l1) eps \d+(\.\d+)?(/\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """Claims about a source; they do not change its weights.

    Args:
        constraint: Threat model of its training: ``none``, or such as ``l2 eps 3`` or ``linf eps 4/255``, eps for
            inputs in [0, 1].
        data: Data set it was trained on.
        clean_accuracy: Accuracy on the test part of its own data, in [0, 1], which the start-up probe verifies.
        tolerance: Largest difference between the claimed and the measured accuracy.
        licence: Licence of the weights.
        citation: Authors and origin of the weights and of these claims.
    """

    constraint: str = "none"
    data: str = "not stated"
    clean_accuracy: float | None = None
    tolerance: float = 0.01
    licence: str | None = None
    citation: str | None = None

    def __post_init__(self) -> None:
        if not CONSTRAINT_PATTERN.fullmatch(self.constraint):
            raise ValueError(
                f"constraint: none, or such as 'l2 eps 3' or 'linf eps 4/255', not {self.constraint!r}"
            )
        if self.clean_accuracy is not None and not 0 <= self.clean_accuracy <= 1:
            raise ValueError(f"clean_accuracy: a share from 0 to 1, not {self.clean_accuracy!r}")
        if not 0 <= self.tolerance <= 1:
            raise ValueError(f"tolerance: a share from 0 to 1, not {self.tolerance!r}")


IMAGENET_DATA = "ImageNet-1K"
CIFAR_DATA = "CIFAR-10"

# File, architecture, constraint and clean accuracy, from the README of MadryLab/robustness.
ENGSTROM_CHECKPOINTS = (
    ("imagenet_l2_3_0", "resnet50", "l2 eps 3", 0.5790),
    ("imagenet_linf_4", "resnet50", "linf eps 4/255", 0.6242),
    ("imagenet_linf_8", "resnet50", "linf eps 8/255", 0.4791),
    ("cifar_nat", "cifar_resnet50", "none", 0.9525),
    ("cifar_l2_0_25", "cifar_resnet50", "l2 eps 0.25", 0.9277),
    ("cifar_l2_0_5", "cifar_resnet50", "l2 eps 0.5", 0.9083),
    ("cifar_l2_1_0", "cifar_resnet50", "l2 eps 1", 0.8162),
    ("cifar_linf_8", "cifar_resnet50", "linf eps 8/255", 0.8703),
)

# Clean accuracies in percent by eps, from the README of microsoft/robust-models-transfer.
SALMAN_L2_ACCURACIES = {
    "resnet50": (75.80, 75.68, 75.76, 75.59, 74.78, 74.14, 73.16, 70.43, 62.83, 56.13),
    "resnet18": (69.79, 69.90, 69.24, 69.15, 68.77, 67.43, 65.49, 62.32, 53.12, 45.59),
}
SALMAN_L2_EPS = ("0", "0.01", "0.03", "0.05", "0.1", "0.25", "0.5", "1", "3", "5")
SALMAN_LINF_ACCURACIES = {
    "resnet50": (73.73, 72.05, 69.10, 63.86, 54.53),
    "resnet18": (66.13, 63.46, 59.63, 52.49, 42.11),
}
SALMAN_LINF_EPS = ("0.5", "1.0", "2.0", "4.0", "8.0")


def _engstrom_presets() -> Iterator[tuple[str, Mapping[str, Json]]]:
    for name, architecture, constraint, accuracy in ENGSTROM_CHECKPOINTS:
        data = CIFAR_DATA if architecture.startswith("cifar_") else IMAGENET_DATA
        citation = "Engstrom et al., 2019"
        preset = _checkpoint_preset(
            architecture, constraint, data=data, accuracy=accuracy, citation=citation
        )
        yield name, preset


def _salman_presets() -> Iterator[tuple[str, Mapping[str, Json]]]:
    for architecture in SALMAN_L2_ACCURACIES:
        l2 = zip(SALMAN_L2_EPS, SALMAN_L2_ACCURACIES[architecture], strict=True)
        linf = zip(SALMAN_LINF_EPS, SALMAN_LINF_ACCURACIES[architecture], strict=True)
        rows = [("l2", eps, "", percent) for eps, percent in l2]
        rows += [("linf", eps, "/255", percent) for eps, percent in linf]
        for norm, eps, unit, percent in rows:
            preset = _checkpoint_preset(
                architecture,
                f"{norm} eps {float(eps):g}{unit}" if float(eps) else "none",
                data=IMAGENET_DATA,
                accuracy=round(percent / 100, 4),
                citation="Salman et al., 2020",
            )
            yield f"{architecture}_{norm}_eps{eps}", preset


def _checkpoint_preset(
    architecture: str, constraint: str, *, data: str, accuracy: float, citation: str
) -> Mapping[str, Json]:
    card: Mapping[str, Json] = {
        "constraint": constraint,
        "data": data,
        "clean_accuracy": accuracy,
        "citation": citation,
    }
    return {"architecture": architecture, "card": card}


RELEASED_CHECKPOINTS: Mapping[str, Mapping[str, Json]] = {
    **dict(_engstrom_presets()),
    **dict(_salman_presets()),
}
"""Presets of released checkpoints, by the name of the released file without its suffix."""
