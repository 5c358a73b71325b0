"""Released robust checkpoints whose accuracy their authors state, as presets. Light: no torch.

Engstrom et al., Robustness (Python Library), 2019, README of github.com/MadryLab/robustness (ResNet-50; ImageNet's
50,000 validation images, CIFAR-10's test images); and Salman et al., Do Adversarially Robust ImageNet Models Transfer
Better?, NeurIPS 2020, README of github.com/microsoft/robust-models-transfer (files named as in its release).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from advtransfer.types import Json

IMAGENET, CIFAR = "ImageNet-1K", "CIFAR-10"

ENGSTROM = (
    ("imagenet_l2_3_0", "resnet50", "l2 eps 3", 0.5790),
    ("imagenet_linf_4", "resnet50", "linf eps 4/255", 0.6242),
    ("imagenet_linf_8", "resnet50", "linf eps 8/255", 0.4791),
    ("cifar_nat", "cifar_resnet50", "none", 0.9525),
    ("cifar_l2_0_25", "cifar_resnet50", "l2 eps 0.25", 0.9277),
    ("cifar_l2_0_5", "cifar_resnet50", "l2 eps 0.5", 0.9083),
    ("cifar_l2_1_0", "cifar_resnet50", "l2 eps 1", 0.8162),
    ("cifar_linf_8", "cifar_resnet50", "linf eps 8/255", 0.8703),
)

SALMAN_L2 = {
    "resnet50": (75.80, 75.68, 75.76, 75.59, 74.78, 74.14, 73.16, 70.43, 62.83, 56.13),
    "resnet18": (69.79, 69.90, 69.24, 69.15, 68.77, 67.43, 65.49, 62.32, 53.12, 45.59),
}
L2 = ("0", "0.01", "0.03", "0.05", "0.1", "0.25", "0.5", "1", "3", "5")
SALMAN_LINF = {
    "resnet50": (73.73, 72.05, 69.10, 63.86, 54.53),
    "resnet18": (66.13, 63.46, 59.63, 52.49, 42.11),
}
LINF = ("0.5", "1.0", "2.0", "4.0", "8.0")


def _engstrom() -> Iterator[tuple[str, Mapping[str, Json]]]:
    for name, architecture, constraint, accuracy in ENGSTROM:
        data = CIFAR if architecture.startswith("cifar_") else IMAGENET
        yield name, _preset(architecture, constraint, data=data, accuracy=accuracy, citation="Engstrom et al., 2019")


def _salman() -> Iterator[tuple[str, Mapping[str, Json]]]:
    for architecture in SALMAN_L2:
        l2 = zip(L2, SALMAN_L2[architecture], strict=True)
        linf = zip(LINF, SALMAN_LINF[architecture], strict=True)
        constraints = [("l2", eps, "", percent) for eps, percent in l2]
        constraints += [("linf", eps, "/255", percent) for eps, percent in linf]
        for norm, eps, unit, percent in constraints:
            constraint = f"{norm} eps {float(eps):g}{unit}" if float(eps) else "none"
            accuracy = round(percent / 100, 4)
            preset = _preset(architecture, constraint, data=IMAGENET, accuracy=accuracy, citation="Salman et al., 2020")
            yield f"{architecture}_{norm}_eps{eps}", preset


def _preset(architecture: str, constraint: str, *, data: str, accuracy: float, citation: str) -> Mapping[str, Json]:
    card: Mapping[str, Json] = {
        "constraint": constraint,
        "data": data,
        "clean_accuracy": accuracy,
        "citation": citation,
    }
    return {"architecture": architecture, "card": card}


PRESETS: Mapping[str, Mapping[str, Json]] = {**dict(_engstrom()), **dict(_salman())}
"""By the name of the released file, without its ending."""
