"""torchvision's classifiers and published architectures by name, and the steps of their forward passes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torchvision import models

from advtransfer.errors import UnknownName
from advtransfer.toolkit.wrapped_networks import ForwardStep
from advtransfer.types import Tensors
from advtransfer_vision.published import by_name
from advtransfer_vision.published.alexnet import CifarAlexNet
from advtransfer_vision.published.layers import GlobalMeanPool
from advtransfer_vision.published.preact_resnets import DMPreActResNet, PreActResNet
from advtransfer_vision.published.wide_resnets import DMWideResNet, WideResNet

CIFAR_PREFIX = "cifar_"
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


def build_model(
    name: str, *, outputs: int, pixels: int, imagenet_inputs: bool = False
) -> nn.Module:
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
    builder = _find_builder(name)
    options: dict[str, Any] = {"num_classes": outputs}  # Any: as varied as torchvision's builders
    if name in AUXILIARY:
        options |= {**WITHOUT_AUXILIARIES, "transform_input": imagenet_inputs}
    elif name.startswith("vit_"):
        options["image_size"] = pixels
    elif name.startswith("maxvit_"):
        options["input_size"] = (pixels, pixels)
    return builder(**options)


def is_for_cifar(name: str) -> bool:
    """Whether an architecture is one for images of some 32 pixels."""
    return name.startswith(CIFAR_PREFIX) or by_name.find_architecture(name) is not None


def current_names(name: str, tensors: Tensors) -> dict[str, Tensor]:
    """The tensors of a file under the names that the architecture has today, without those of auxiliary classifiers."""
    left_out = TRADES_AUXILIARY if name.startswith("wide_resnet_") else AUXILIARY.get(name, ())
    kept = {key: value for key, value in tensors.items() if not key.startswith(left_out)}
    if name.removeprefix(CIFAR_PREFIX) in CIFAR_RESNETS:
        return {_torchvision_name(key): value for key, value in kept.items()}
    if name.startswith("densenet"):
        return {DENSE_LAYER.sub(r"\1\2", key): value for key, value in kept.items()}
    return kept


def _torchvision_name(name: str) -> str:
    for theirs, ours in CIFAR_NAMES:
        name = theirs.sub(ours, name)
    return name


def _find_builder(name: str) -> Callable[..., nn.Module]:
    if name in WIDE_RESNETS:
        return partial(models.resnet50, width_per_group=WIDE_RESNETS[name])
    if name in MNASNETS:
        return partial(_MNASNet, MNASNETS[name])
    if name.removeprefix(CIFAR_PREFIX) in CIFAR_RESNETS and name.startswith(CIFAR_PREFIX):
        return partial(_cifar_resnet, name.removeprefix(CIFAR_PREFIX))
    if (published := by_name.find_architecture(name)) is not None:
        return lambda num_classes: published(num_classes)
    known = models.list_models(module=models)
    if name in known:
        return cast("Callable[..., nn.Module]", models.get_model_builder(name))
    near = difflib.get_close_matches(
        name,
        [
            *known,
            *WIDE_RESNETS,
            *(CIFAR_PREFIX + one for one in CIFAR_RESNETS),
            *by_name.EXAMPLE_NAMES,
        ],
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


PUBLISHED_FAMILIES = (CifarAlexNet, DMPreActResNet, DMWideResNet, PreActResNet, WideResNet)
"""Those that say their steps themselves."""


def forward_steps(model: nn.Module) -> list[ForwardStep]:
    """The forward pass of a classifier of torchvision, or of a published one, for a `ChainedNetwork`.

    Raises:
        ValueError: It is of a family that is not known here.
    """
    if isinstance(model, PUBLISHED_FAMILIES):
        return list(model.forward_steps())
    for family, order in _STEPS_BY_FAMILY.items():
        if isinstance(model, family):
            return list(order(model))
    found = f"an architecture of the unknown family {type(model).__name__}"
    raise ValueError(
        f"found {found}; expected one of torchvision's; give its `blocks` and its `head` by name"
    )


class DenseConcatenation(nn.Module):
    """A dense layer with what came before it: ``(B, C, H, W)`` to ``(B, C + growth, H, W)``."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, inputs: Tensor) -> Tensor:
        """The inputs, and what the layer adds to them."""
        return torch.cat([inputs, self.layer(inputs)], 1)


class PatchTokens(nn.Module):
    """The stem of a vision transformer: images ``(B, C, H, W)`` to tokens ``(B, 1 + patches, D)``.

    It lists the stem's parameters as its own, and reads them where they are at home, so that it follows whoever puts
    others in their place for a while (``torch.func.functional_call``).
    """

    def __init__(self, model: models.VisionTransformer) -> None:
        super().__init__()
        self.conv_proj, self.class_token = model.conv_proj, model.class_token
        self.pos_embedding = model.encoder.pos_embedding
        self._home = (model,)

    def forward(self, inputs: Tensor) -> Tensor:
        """One token a patch, row by row, after the class token; positions added."""
        (model,) = self._home
        patches = model.conv_proj(inputs).flatten(2).transpose(1, 2)
        tokens = torch.cat([model.class_token.expand(len(inputs), -1, -1), patches], 1)
        embedded: Tensor = model.encoder.dropout(tokens + model.encoder.pos_embedding)
        return embedded


class ClassToken(nn.Module):
    """The first of the tokens: ``(B, T, D)`` to ``(B, D)``."""

    def forward(self, inputs: Tensor) -> Tensor:
        """The class token."""
        return inputs[:, 0]


class ImagenetInputs(nn.Module):
    """Inputs normalised as for ImageNet to what GoogLeNet and Inception v3 take, where the model is set to do so."""

    def __init__(self, model: models.GoogLeNet | models.Inception3) -> None:
        super().__init__()
        self._convert = model._transform_input

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, 3, H, W)`` to the same shape."""
        converted: Tensor = self._convert(inputs)
        return converted


def _child_names(model: nn.Module, *, without: tuple[str, ...] = ()) -> list[str]:
    """The names of the children, which some families call in the order in which they have them."""
    return [name for name, _ in model.named_children() if name not in without]


def _resnet_steps(model: models.ResNet) -> Iterator[ForwardStep]:
    yield from _child_names(model, without=("fc",))
    yield from (nn.Flatten(), "fc")


def _features_classifier_steps(model: models.VGG) -> Iterator[ForwardStep]:
    yield from ("features", "avgpool", nn.Flatten(), "classifier")


def _squeezenet_steps(model: models.SqueezeNet) -> Iterator[ForwardStep]:
    yield from ("features", "classifier", nn.Flatten())


def _densenet_steps(model: models.DenseNet) -> Iterator[ForwardStep]:
    for name, module in model.features.named_children():
        if name.startswith("denseblock"):
            for layer, child in module.named_children():
                yield f"features.{name}.{layer}", DenseConcatenation(child)
        else:
            yield f"features.{name}"
    yield from (nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), "classifier")


def _mobilenet_v2_steps(model: models.MobileNetV2) -> Iterator[ForwardStep]:
    yield from ("features", nn.AdaptiveAvgPool2d(1), nn.Flatten(), "classifier")


def _mnasnet_steps(model: models.MNASNet) -> Iterator[ForwardStep]:
    yield from ("layers", GlobalMeanPool(), "classifier")


def _shufflenet_steps(model: models.ShuffleNetV2) -> Iterator[ForwardStep]:
    yield from _child_names(model, without=("fc",))
    yield from (GlobalMeanPool(), "fc")


def _convnext_steps(model: models.ConvNeXt) -> Iterator[ForwardStep]:
    yield from ("features", "avgpool", "classifier.0", "classifier.1", "classifier.2")


def _regnet_steps(model: models.RegNet) -> Iterator[ForwardStep]:
    yield "stem"
    for stage, blocks in model.trunk_output.named_children():
        yield from (f"trunk_output.{stage}.{name}" for name in _child_names(blocks))
    yield from ("avgpool", nn.Flatten(), "fc")


def _swin_steps(model: models.SwinTransformer) -> Iterator[ForwardStep]:
    yield from ("features", "norm", "permute", "avgpool", "flatten", "head")


def _maxvit_steps(model: models.MaxVit) -> Iterator[ForwardStep]:
    yield "stem"
    for stage, blocks in model.blocks.named_children():
        yield from (f"blocks.{stage}.layers.{name}" for name in _child_names(blocks.layers))
    yield "classifier"


def _vision_transformer_steps(model: models.VisionTransformer) -> Iterator[ForwardStep]:
    yield "conv_proj", PatchTokens(model)
    yield from ("encoder.layers", "encoder.ln", ClassToken(), "heads")


def _googlenet_steps(model: models.GoogLeNet) -> Iterator[ForwardStep]:
    yield ImagenetInputs(model)
    yield from _child_names(model, without=("dropout", "fc"))
    yield from (nn.Flatten(), "dropout", "fc")


def _inception_steps(model: models.Inception3) -> Iterator[ForwardStep]:
    yield ImagenetInputs(model)
    yield from _child_names(model, without=("fc",))
    yield from (nn.Flatten(), "fc")


_STEPS_BY_FAMILY: dict[
    type[nn.Module], Callable[[Any], Iterator[ForwardStep]]
] = {  # Any: each takes its own family
    models.ResNet: _resnet_steps,
    models.AlexNet: _features_classifier_steps,
    models.VGG: _features_classifier_steps,
    models.SqueezeNet: _squeezenet_steps,
    models.DenseNet: _densenet_steps,
    models.MobileNetV2: _mobilenet_v2_steps,
    models.MobileNetV3: _features_classifier_steps,
    models.EfficientNet: _features_classifier_steps,
    models.MNASNet: _mnasnet_steps,
    models.ShuffleNetV2: _shufflenet_steps,
    models.ConvNeXt: _convnext_steps,
    models.RegNet: _regnet_steps,
    models.SwinTransformer: _swin_steps,
    models.MaxVit: _maxvit_steps,
    models.VisionTransformer: _vision_transformer_steps,
    models.GoogLeNet: _googlenet_steps,
    models.Inception3: _inception_steps,
}
