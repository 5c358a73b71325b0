"""What the forward passes of torchvision's classifiers do, step by step, so that they can be cut into blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from advtransfer.toolkit.blocks import Step
from advtransfer_vision.published.alexnet import CifarAlexNet
from advtransfer_vision.published.dm_preact_resnet import DMPreActResNet
from advtransfer_vision.published.dm_wide_resnet import DMWideResNet
from advtransfer_vision.published.parts import Pool
from advtransfer_vision.published.preact_resnet import PreActResNet
from advtransfer_vision.published.wide_resnet import WideResNet

PUBLISHED = (CifarAlexNet, DMPreActResNet, DMWideResNet, PreActResNet, WideResNet)
"""Those that say their steps themselves."""


def steps(model: nn.Module) -> list[Step]:
    """The forward pass of a classifier of torchvision, or of a published one, for a `ChainedNetwork`.

    Raises:
        ValueError: It is of a family that is not known here.
    """
    if isinstance(model, PUBLISHED):
        return list(model.steps())
    for family, order in _ORDERS.items():
        if isinstance(model, family):
            return list(order(model))
    found = f"an architecture of the unknown family {type(model).__name__}"
    raise ValueError(f"found {found}; expected one of torchvision's; give its `blocks` and its `head` by name")


class Grown(nn.Module):
    """A dense layer with what came before it: ``(B, C, H, W)`` to ``(B, C + growth, H, W)``."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, inputs: Tensor) -> Tensor:
        """The inputs, and what the layer adds to them."""
        return torch.cat([inputs, self.layer(inputs)], 1)


class Tokens(nn.Module):
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


def _children(model: nn.Module, *, without: tuple[str, ...] = ()) -> list[str]:
    """The names of the children, which some families call in the order in which they have them."""
    return [name for name, _ in model.named_children() if name not in without]


def _resnet(model: models.ResNet) -> Iterator[Step]:
    yield from _children(model, without=("fc",))
    yield from (nn.Flatten(), "fc")


def _convolutional(model: models.VGG) -> Iterator[Step]:
    yield from ("features", "avgpool", nn.Flatten(), "classifier")


def _squeezenet(model: models.SqueezeNet) -> Iterator[Step]:
    yield from ("features", "classifier", nn.Flatten())


def _densenet(model: models.DenseNet) -> Iterator[Step]:
    for name, module in model.features.named_children():
        if name.startswith("denseblock"):
            for layer, child in module.named_children():
                yield f"features.{name}.{layer}", Grown(child)
        else:
            yield f"features.{name}"
    yield from (nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), "classifier")


def _mobilenet_v2(model: models.MobileNetV2) -> Iterator[Step]:
    yield from ("features", nn.AdaptiveAvgPool2d(1), nn.Flatten(), "classifier")


def _mnasnet(model: models.MNASNet) -> Iterator[Step]:
    yield from ("layers", Pool(), "classifier")


def _shufflenet(model: models.ShuffleNetV2) -> Iterator[Step]:
    yield from _children(model, without=("fc",))
    yield from (Pool(), "fc")


def _convnext(model: models.ConvNeXt) -> Iterator[Step]:
    yield from ("features", "avgpool", "classifier.0", "classifier.1", "classifier.2")


def _regnet(model: models.RegNet) -> Iterator[Step]:
    yield "stem"
    for stage, blocks in model.trunk_output.named_children():
        yield from (f"trunk_output.{stage}.{name}" for name in _children(blocks))
    yield from ("avgpool", nn.Flatten(), "fc")


def _swin(model: models.SwinTransformer) -> Iterator[Step]:
    yield from ("features", "norm", "permute", "avgpool", "flatten", "head")


def _maxvit(model: models.MaxVit) -> Iterator[Step]:
    yield "stem"
    for stage, blocks in model.blocks.named_children():
        yield from (f"blocks.{stage}.layers.{name}" for name in _children(blocks.layers))
    yield "classifier"


def _vision_transformer(model: models.VisionTransformer) -> Iterator[Step]:
    yield "conv_proj", Tokens(model)
    yield from ("encoder.layers", "encoder.ln", ClassToken(), "heads")


def _googlenet(model: models.GoogLeNet) -> Iterator[Step]:
    yield ImagenetInputs(model)
    yield from _children(model, without=("dropout", "fc"))
    yield from (nn.Flatten(), "dropout", "fc")


def _inception(model: models.Inception3) -> Iterator[Step]:
    yield ImagenetInputs(model)
    yield from _children(model, without=("fc",))
    yield from (nn.Flatten(), "fc")


_ORDERS: dict[type[nn.Module], Callable[[Any], Iterator[Step]]] = {  # Any: each takes its own family
    models.ResNet: _resnet,
    models.AlexNet: _convolutional,
    models.VGG: _convolutional,
    models.SqueezeNet: _squeezenet,
    models.DenseNet: _densenet,
    models.MobileNetV2: _mobilenet_v2,
    models.MobileNetV3: _convolutional,
    models.EfficientNet: _convolutional,
    models.MNASNet: _mnasnet,
    models.ShuffleNetV2: _shufflenet,
    models.ConvNeXt: _convnext,
    models.RegNet: _regnet,
    models.SwinTransformer: _swin,
    models.MaxVit: _maxvit,
    models.VisionTransformer: _vision_transformer,
    models.GoogLeNet: _googlenet,
    models.Inception3: _inception,
}
