"""Published architectures by name: family, depth, width and variant."""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import nn

from advtransfer_vision.published.alexnet import ALEXNET_WIDTH, CifarAlexNet
from advtransfer_vision.published.preact_resnets import DMPreActResNet, PreActResNet
from advtransfer_vision.published.wide_resnets import DMWideResNet, WideResNet

EXAMPLE_NAMES = (
    "wide_resnet_28_10",
    "wide_resnet_34_10",
    "wide_resnet_70_16",
    "dm_wide_resnet_28_10",
    "dm_wide_resnet_28_10_silu",
    "dm_wide_resnet_70_16_silu",
    "preact_resnet18",
    "preact_resnet18_raw",
    "preact_resnet18_bn",
    "dm_preact_resnet18_silu",
    "cifar_alexnet",
)
"""Names that error messages suggest; other depths and widths are possible."""

PREACT_WIDTH = 64
ACTIVATIONS_BY_SUFFIX = {None: nn.ReLU, "_silu": nn.SiLU}


def find_architecture(name: str) -> Callable[[int], nn.Module] | None:
    """Return the function that builds an architecture for a number of outputs, or None for other names.

    - ``wide_resnet_<depth>_<width>``: TRADES, and most of RobustBench's.
    - ``dm_wide_resnet_<depth>_<width>``: DeepMind's with ReLU; ``..._silu`` with SiLU, as its robust ones.
    - ``preact_resnet<depth>``: depth 18 or 34, shortcuts from activated inputs, no normalisation before the pooling;
      with ``_raw`` shortcuts from inputs that are not activated, with ``_bn`` a normalisation before the pooling, with
      ``_w<width>`` another width.
    - ``dm_preact_resnet<depth>``, likewise with ``_silu`` and ``_w<width>``.
    - ``cifar_alexnet``, likewise with ``_w<width>``.
    """
    # The whole name must match: "wide_resnet_28_10" is also the end of another family's name.
    for pattern, builder in _FAMILIES.items():
        if match := re.fullmatch(pattern, name):
            return builder(match)
    return None


def _wide_resnet(match: re.Match[str]) -> Callable[[int], nn.Module]:
    depth = int(match["depth"])
    width = int(match["width"])
    return lambda outputs: WideResNet(depth=depth, width=width, outputs=outputs)


def _dm_wide_resnet(match: re.Match[str]) -> Callable[[int], nn.Module]:
    depth = int(match["depth"])
    width = int(match["width"])
    activation = ACTIVATIONS_BY_SUFFIX[match["silu"]]
    return lambda outputs: DMWideResNet(
        depth=depth, width=width, outputs=outputs, activation=activation
    )


def _preact_resnet(match: re.Match[str]) -> Callable[[int], nn.Module]:
    depth = int(match["depth"])
    width = _matched_width(match, PREACT_WIDTH)
    raw = bool(match["raw"])
    final_norm = bool(match["bn"])
    return lambda outputs: PreActResNet(
        depth=depth, width=width, outputs=outputs, raw=raw, final_norm=final_norm
    )


def _dm_preact_resnet(match: re.Match[str]) -> Callable[[int], nn.Module]:
    depth = int(match["depth"])
    width = _matched_width(match, PREACT_WIDTH)
    activation = ACTIVATIONS_BY_SUFFIX[match["silu"]]
    return lambda outputs: DMPreActResNet(
        depth=depth, width=width, outputs=outputs, activation=activation
    )


def _cifar_alexnet(match: re.Match[str]) -> Callable[[int], nn.Module]:
    width = _matched_width(match, ALEXNET_WIDTH)
    return lambda outputs: CifarAlexNet(width=width, outputs=outputs)


def _matched_width(match: re.Match[str], usual: int) -> int:
    return int(match["width"] or usual)


_WIDTH_PATTERN = r"(_w(?P<width>[1-9]\d*))?"
_FAMILIES: dict[str, Callable[[re.Match[str]], Callable[[int], nn.Module]]] = {
    r"wide_resnet_(?P<depth>\d+)_(?P<width>[1-9]\d*)": _wide_resnet,
    r"dm_wide_resnet_(?P<depth>\d+)_(?P<width>[1-9]\d*)(?P<silu>_silu)?": _dm_wide_resnet,
    r"preact_resnet(?P<depth>18|34)(?P<raw>_raw)?(?P<bn>_bn)?" + _WIDTH_PATTERN: _preact_resnet,
    r"dm_preact_resnet(?P<depth>18|34)(?P<silu>_silu)?" + _WIDTH_PATTERN: _dm_preact_resnet,
    "cifar_alexnet" + _WIDTH_PATTERN: _cifar_alexnet,
}
