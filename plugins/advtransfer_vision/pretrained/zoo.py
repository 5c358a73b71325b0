"""Architectures by name: torchvision's classifiers, and those of published checkpoints that it does not have."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

from torch import Tensor, nn
from torchvision import models

from advtransfer.errors import UnknownName
from advtransfer.types import Tensors
from advtransfer_vision.published import names

CIFAR = "cifar_"
"""Begins the name of a ResNet for images of some 32 pixels: its first convolution is 3 x 3 with stride 1, unpooled."""

CIFAR_RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
WIDE_RESNETS = {f"wide_resnet50_{width}": 64 * width for width in (3, 4, 5, 6)}
"""The robustness library's, by the width of their middle convolutions; torchvision stops at ``wide_resnet50_2``."""

MNASNETS = {"mnasnet0_5": 0.5, "mnasnet0_75": 0.75, "mnasnet1_0": 1.0, "mnasnet1_3": 1.3}

CIFAR_NAMES = ((re.compile(r"^linear\."), "fc."), (re.compile(r"\.shortcut\."), ".downsample."))
"""How code for CIFAR (kuangliu/pytorch-cifar, ``robustness/cifar_models``) names what torchvision names otherwise."""

WITHOUT_AUXILIARIES = {"aux_logits": False, "init_weights": False}
AUXILIARY = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
TRADES_AUXILIARY = ("sub_block1.",)
"""A group that the code of TRADES builds and never runs."""

DENSE_LAYER = re.compile(r"(.*denselayer\d+\.(?:norm|conv))\.([12]\..+)")


def build(name: str, *, outputs: int, pixels: int, imagenet_inputs: bool = False) -> nn.Module:
    """The named architecture, its weights from torch's global random state.

    Args:
        name: Such as ``resnet50``, ``cifar_resnet18``, ``wide_resnet50_4`` or ``wide_resnet_28_10``.
        outputs: Logits.
        pixels: The inputs' height and width.
        imagenet_inputs: Convert inputs normalised as for ImageNet to what GoogLeNet and Inception v3 were trained on,
            as torchvision does for its own weights of these two.

    Raises:
        UnknownName: There is no such architecture.
    """
    builder = _builder(name)
    options: dict[str, Any] = {"num_classes": outputs}  # Any: as varied as torchvision's builders
    if name in AUXILIARY:
        options |= {**WITHOUT_AUXILIARIES, "transform_input": imagenet_inputs}
    elif name.startswith("vit_"):
        options["image_size"] = pixels
    elif name.startswith("maxvit_"):
        options["input_size"] = (pixels, pixels)
    return builder(**options)


def for_cifar(name: str) -> bool:
    """Whether an architecture is one for images of some 32 pixels."""
    return name.startswith(CIFAR) or names.find(name) is not None


def own_names(name: str, tensors: Tensors) -> dict[str, Tensor]:
    """The tensors of a file under the names that the architecture has today, without those of auxiliary classifiers."""
    left_out = TRADES_AUXILIARY if name.startswith("wide_resnet_") else AUXILIARY.get(name, ())
    kept = {key: value for key, value in tensors.items() if not key.startswith(left_out)}
    if name.removeprefix(CIFAR) in CIFAR_RESNETS:
        return {_torchvision(key): value for key, value in kept.items()}
    if name.startswith("densenet"):
        return {DENSE_LAYER.sub(r"\1\2", key): value for key, value in kept.items()}
    return kept


def _torchvision(name: str) -> str:
    for theirs, ours in CIFAR_NAMES:
        name = theirs.sub(ours, name)
    return name


def _builder(name: str) -> Callable[..., nn.Module]:
    if name in WIDE_RESNETS:
        return partial(models.resnet50, width_per_group=WIDE_RESNETS[name])
    if name in MNASNETS:
        return partial(_MNASNet, MNASNETS[name])
    if name.removeprefix(CIFAR) in CIFAR_RESNETS and name.startswith(CIFAR):
        return partial(_cifar_resnet, name.removeprefix(CIFAR))
    if (published := names.find(name)) is not None:
        return lambda num_classes: published(num_classes)
    known = models.list_models(module=models)
    if name in known:
        return cast("Callable[..., nn.Module]", models.get_model_builder(name))
    near = difflib.get_close_matches(
        name, [*known, *WIDE_RESNETS, *(CIFAR + one for one in CIFAR_RESNETS), *names.EXAMPLES]
    )
    raise UnknownName(name, "a classifier of torchvision, such as resnet50", near)


def _cifar_resnet(name: str, **options: int) -> nn.Module:
    """The ResNet of ``robustness.cifar_models`` in torchvision's modules: what is computed is the same."""
    model: nn.Module = models.get_model(name, **options)
    model.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model


class _MNASNet(models.MNASNet):  # type: ignore[misc]  # torchvision is not annotated
    """torchvision's, which otherwise refuses a state dict that does not say which version wrote it."""

    def _load_from_state_dict(
        self, state_dict: Tensors, prefix: str, local_metadata: Mapping[str, int], *others: object
    ) -> None:
        said = {"version": self._version, **local_metadata}
        super()._load_from_state_dict(state_dict, prefix, said, *others)
