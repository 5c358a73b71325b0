"""The architectures by name: family, depth, width and what else tells one from another."""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import nn

from advtransfer_vision.published.alexnet import WIDTH, CifarAlexNet
from advtransfer_vision.published.dm_preact_resnet import DMPreActResNet
from advtransfer_vision.published.dm_wide_resnet import DMWideResNet
from advtransfer_vision.published.preact_resnet import PreActResNet
from advtransfer_vision.published.wide_resnet import WideResNet

EXAMPLES = (
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
"""Names to suggest; depth and width may be others."""

STEM = 64
SILU = {None: nn.ReLU, "_silu": nn.SiLU}


def find(name: str) -> Callable[[int], nn.Module] | None:
    """What builds the named architecture for so many outputs; None where the name is none of these.

    - ``wide_resnet_<depth>_<width>``: TRADES, and most of RobustBench's.
    - ``dm_wide_resnet_<depth>_<width>``: DeepMind's with ReLU; ``..._silu`` with SiLU, as its robust ones.
    - ``preact_resnet<depth>``: depth 18 or 34, shortcuts from activated inputs, no normalisation before the pooling;
      with ``_raw`` shortcuts from the inputs as they are, with ``_bn`` a normalisation at the end, with ``_w<width>``
      another width.
    - ``dm_preact_resnet<depth>``, likewise with ``_silu`` and ``_w<width>``.
    - ``cifar_alexnet``, likewise with ``_w<width>``.
    """
    for pattern, builder in _FAMILIES.items():
        if match := re.fullmatch(pattern, name):
            return builder(match)
    return None


def _wide_resnet(match: re.Match[str]) -> Callable[[int], nn.Module]:
    depth, width = int(match["depth"]), int(match["width"])
    return lambda outputs: WideResNet(depth=depth, width=width, outputs=outputs)


def _dm_wide_resnet(match: re.Match[str]) -> Callable[[int], nn.Module]:
    depth, width, activation = int(match["depth"]), int(match["width"]), SILU[match["silu"]]
    return lambda outputs: DMWideResNet(depth=depth, width=width, outputs=outputs, activation=activation)


def _preact_resnet(match: re.Match[str]) -> Callable[[int], nn.Module]:
    depth, width, raw, norm = int(match["depth"]), _width(match, STEM), bool(match["raw"]), bool(match["bn"])
    return lambda outputs: PreActResNet(depth=depth, width=width, outputs=outputs, raw=raw, final_norm=norm)


def _dm_preact_resnet(match: re.Match[str]) -> Callable[[int], nn.Module]:
    depth, width, activation = int(match["depth"]), _width(match, STEM), SILU[match["silu"]]
    return lambda outputs: DMPreActResNet(depth=depth, width=width, outputs=outputs, activation=activation)


def _alexnet(match: re.Match[str]) -> Callable[[int], nn.Module]:
    width = _width(match, WIDTH)
    return lambda outputs: CifarAlexNet(width=width, outputs=outputs)


def _width(match: re.Match[str], usual: int) -> int:
    return int(match["width"] or usual)


_WIDTH = r"(_w(?P<width>[1-9]\d*))?"
_FAMILIES: dict[str, Callable[[re.Match[str]], Callable[[int], nn.Module]]] = {
    r"wide_resnet_(?P<depth>\d+)_(?P<width>[1-9]\d*)": _wide_resnet,
    r"dm_wide_resnet_(?P<depth>\d+)_(?P<width>[1-9]\d*)(?P<silu>_silu)?": _dm_wide_resnet,
    r"preact_resnet(?P<depth>18|34)(?P<raw>_raw)?(?P<bn>_bn)?" + _WIDTH: _preact_resnet,
    r"dm_preact_resnet(?P<depth>18|34)(?P<silu>_silu)?" + _WIDTH: _dm_preact_resnet,
    "cifar_alexnet" + _WIDTH: _alexnet,
}
