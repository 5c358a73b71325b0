"""torchvision's classifiers and published architectures by name, with the steps of their forward passes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeAlias, cast

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
"""Prefix of ResNets for images of about 32 pixels: the first convolution is 3 x 3 with stride 1, without pooling."""

CIFAR_RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
WIDE_RESNETS = {f"wide_resnet50_{width}": 64 * width for width in (3, 4, 5, 6)}
"""Width of the middle convolutions in the robustness library's networks; torchvision has ``wide_resnet50_2`` alone."""

MNASNETS = {"mnasnet0_5": 0.5, "mnasnet0_75": 0.75, "mnasnet1_0": 1.0, "mnasnet1_3": 1.3}

CIFAR_NAMES = ((re.compile(r"^linear\."), "fc."), (re.compile(r"\.shortcut\."), ".downsample."))
"""Names in code for CIFAR (kuangliu/pytorch-cifar, ``robustness/cifar_models``) and what torchvision calls the same."""

# Without `init_weights`, torchvision warns of its slow initialisation.
WITHOUT_AUXILIARIES = {"aux_logits": False, "init_weights": False}
AUXILIARY = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
"""Prefixes of the auxiliary classifiers, which only a training uses."""
TRADES_AUXILIARY = ("sub_block1.",)
"""Prefix of a group of layers that the code of TRADES builds and never runs."""

DENSE_LAYER = re.compile(r"(.*denselayer\d+\.(?:norm|conv))\.([12]\..+)")
"""Names in DenseNets of old torchvision versions: ``norm.1`` for ``norm1``."""


def build_model(
    name: str, *, outputs: int, pixels: int, imagenet_inputs: bool = False
) -> nn.Module:
    """Build an architecture with initial weights from torch's global random state.

    Args:
        name: A name such as ``resnet50``, ``cifar_resnet18``, ``wide_resnet50_4`` or ``wide_resnet_28_10``.
        outputs: Number of logits.
        pixels: Height and width of the inputs.
        imagenet_inputs: Whether GoogLeNet and Inception v3 convert inputs normalised as for ImageNet to the
            normalisation they were trained with, as torchvision does for its own weights of these two.

    Raises:
        UnknownName: There is no such architecture.
    """
    builder = _find_builder(name)
    options: dict[str, Any] = {"num_classes": outputs}  # Any: builders take options of many types
    if name in AUXILIARY:
        options |= {**WITHOUT_AUXILIARIES, "transform_input": imagenet_inputs}
    elif name.startswith("vit_"):
        options["image_size"] = pixels
    elif name.startswith("maxvit_"):
        options["input_size"] = (pixels, pixels)
    return builder(**options)


def is_for_cifar(name: str) -> bool:
    """Return whether an architecture is one for images of about 32 pixels."""
    return name.startswith(CIFAR_PREFIX) or by_name.find_architecture(name) is not None


def current_names(name: str, tensors: Tensors) -> dict[str, Tensor]:
    """Return the tensors of a file under today's names of the architecture, without auxiliary classifiers."""
    auxiliary = TRADES_AUXILIARY if name.startswith("wide_resnet_") else AUXILIARY.get(name, ())
    used = {key: value for key, value in tensors.items() if not key.startswith(auxiliary)}
    if name.removeprefix(CIFAR_PREFIX) in CIFAR_RESNETS:
        return {_torchvision_name(key): value for key, value in used.items()}
    if name.startswith("densenet"):
        return {DENSE_LAYER.sub(r"\1\2", key): value for key, value in used.items()}
    return used


def _torchvision_name(name: str) -> str:
    for pattern, replacement in CIFAR_NAMES:
        name = pattern.sub(replacement, name)
    return name


def _find_builder(name: str) -> Callable[..., nn.Module]:
    """Return the function that builds an architecture; raise an UnknownName if there is none."""
    # Before torchvision's list, which contains the MNASNets as well.
    if name in WIDE_RESNETS:
        return partial(models.resnet50, width_per_group=WIDE_RESNETS[name])
    if name in MNASNETS:
        return partial(_MNASNet, MNASNETS[name])
    if name.removeprefix(CIFAR_PREFIX) in CIFAR_RESNETS and name.startswith(CIFAR_PREFIX):
        return partial(_cifar_resnet, name.removeprefix(CIFAR_PREFIX))
    published = by_name.find_architecture(name)
    if published is not None:
        return lambda num_classes: published(num_classes)
    # Without `module`, detection and segmentation models are listed, too.
    torchvision_names = models.list_models(module=models)
    if name in torchvision_names:
        return cast("Callable[..., nn.Module]", models.get_model_builder(name))
    cifar_names = [CIFAR_PREFIX + resnet for resnet in CIFAR_RESNETS]
    names = [*torchvision_names, *WIDE_RESNETS, *cifar_names, *by_name.EXAMPLE_NAMES]
    similar = difflib.get_close_matches(name, names)
    raise UnknownName(name, "a classifier of torchvision, such as resnet50", similar)


def _cifar_resnet(name: str, **options: int) -> nn.Module:
    """Build the ResNet of ``robustness.cifar_models``, which computes the same, from torchvision's modules."""
    model: nn.Module = models.get_model(name, **options)
    model.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model


class _MNASNet(models.MNASNet):  # type: ignore[misc]  # torchvision is not annotated
    """torchvision's MNASNet for state dicts without a version.

    torchvision reads the version from the metadata of a state dict, which files often lack, and refuses others.
    """

    def _load_from_state_dict(
        self, state_dict: Tensors, prefix: str, local_metadata: Mapping[str, int], *others: object
    ) -> None:
        metadata = {"version": self._version, **local_metadata}
        super()._load_from_state_dict(state_dict, prefix, metadata, *others)


PUBLISHED_FAMILIES = (CifarAlexNet, DMPreActResNet, DMWideResNet, PreActResNet, WideResNet)
"""Families whose models have a method `forward_steps`."""


def forward_steps(model: nn.Module) -> list[ForwardStep]:
    """Return the forward pass of a torchvision or published classifier as steps of a `ChainedNetwork`.

    Raises:
        ValueError: The family of the model is unknown.
    """
    if isinstance(model, PUBLISHED_FAMILIES):
        return list(model.forward_steps())
    for family, family_steps in _STEPS_BY_FAMILY.items():
        if isinstance(model, family):
            return list(family_steps(model))
    found = f"an architecture of the unknown family {type(model).__name__}"
    raise ValueError(
        f"found {found}; expected one of torchvision's; give its `blocks` and its `head` by name"
    )


class DenseConcatenation(nn.Module):
    """A dense layer whose outputs are appended to its inputs: ``(B, C, H, W)`` to ``(B, C + growth, H, W)``."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, inputs: Tensor) -> Tensor:
        """Append the layer's outputs to its inputs, along the channels."""
        return torch.cat([inputs, self.layer(inputs)], 1)


class PatchTokens(nn.Module):
    """The stem of a vision transformer: images ``(B, C, H, W)`` to tokens ``(B, 1 + patches, D)``.

    It registers the stem's parameters as its own, but reads them from the model, so that replacements by
    ``torch.func.functional_call`` take effect.
    """

    def __init__(self, model: models.VisionTransformer) -> None:
        super().__init__()
        self.conv_proj = model.conv_proj
        self.class_token = model.class_token
        self.pos_embedding = model.encoder.pos_embedding
        # In a tuple, since torch would register the model itself as a submodule.
        self._home = (model,)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the class token and one token for each patch, row by row, with their positions added."""
        (model,) = self._home
        patches = model.conv_proj(inputs).flatten(2).transpose(1, 2)
        tokens = torch.cat([model.class_token.expand(len(inputs), -1, -1), patches], 1)
        embedded: Tensor = model.encoder.dropout(tokens + model.encoder.pos_embedding)
        return embedded


class ClassToken(nn.Module):
    """Selection of the class token, the first one: ``(B, T, D)`` to ``(B, D)``."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the class token."""
        return inputs[:, 0]


class ImagenetInputs(nn.Module):
    """Conversion of ImageNet-normalised inputs in GoogLeNet and Inception v3, if the model is set to do it."""

    def __init__(self, model: models.GoogLeNet | models.Inception3) -> None:
        super().__init__()
        self._convert = model._transform_input

    def forward(self, inputs: Tensor) -> Tensor:
        """Convert ``(B, 3, H, W)`` to the same shape."""
        converted: Tensor = self._convert(inputs)
        return converted


def _child_names(model: nn.Module, *, without: tuple[str, ...] = ()) -> list[str]:
    """Return the names of the children, which some families call in the order of their definition."""
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
    # torchvision's forward pass calls these layers as functions.
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


_FamilySteps: TypeAlias = Callable[[Any], Iterator[ForwardStep]]  # Any: a model of the family
_STEPS_BY_FAMILY: dict[type[nn.Module], _FamilySteps] = {
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
