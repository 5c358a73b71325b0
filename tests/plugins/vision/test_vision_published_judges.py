"""Weights saved by the classes of robustbench, robustness and timm themselves load strictly, with the same logits.

These packages are judges only: where one is not installed, its tests are skipped.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.toolkit.wrapped_networks import ChainedNetwork
from advtransfer.types import File, Source
from advtransfer_vision.components.hub_sources import timm as timm_source
from advtransfer_vision.components.pretrained_sources import checkpoint, robustness_checkpoint

pytestmark = pytest.mark.slow

UNUSED = "0" * 64
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)
INPUTS = torch.rand(2, 3, 32, 32, generator=stream_generator("inputs"))
SKIP = "a judge of the architectures, installed by hand: pip install --no-deps {}"


@cache
def robustbench(name: str) -> Any:  # noqa: ANN401  # Any: a module of a package that is not installed here
    """A module of robustbench's architectures, without the package, whose own imports want more packages."""
    package = importlib.util.find_spec("robustbench")
    if package is None or package.origin is None:
        pytest.skip(SKIP.format("robustbench"))
    path = Path(package.origin).parent / "model_zoo" / "architectures" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"judge_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def robustness() -> Any:  # noqa: ANN401  # Any: as above
    """The CIFAR ResNets of the robustness library."""
    package = importlib.util.find_spec("robustness")
    if package is None or package.origin is None:
        pytest.skip(SKIP.format("robustness"))
    for name in (
        "robustness",
        "robustness.cifar_models",
        "robustness.tools",
    ):  # their own imports want more packages
        module = ModuleType(name)
        module.__path__ = [
            str(
                Path(package.origin).parent
                / name.replace(".", "/").removeprefix("robustness").strip("/")
            )
        ]
        sys.modules.setdefault(name, module)
    return importlib.import_module("robustness.cifar_models.resnet")


def wide(depth: int, width: int, **options: bool) -> Callable[[], nn.Module]:
    return lambda: robustbench("wide_resnet").WideResNet(depth=depth, widen_factor=width, **options)


def deepmind(depth: int, width: int, activation: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        module = robustbench("dm_wide_resnet")
        chosen = module.Swish if activation == "silu" else nn.ReLU
        return cast(nn.Module, module.DMWideResNet(10, depth, width, chosen, MEAN, STD))

    return build


def deepmind_preact(depth: int, activation: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        module = robustbench("dm_wide_resnet")
        chosen = module.Swish if activation == "silu" else nn.ReLU
        return cast(nn.Module, module.DMPreActResNet(10, depth, 0, chosen, MEAN, STD))

    return build


def preact(block: str, **options: bool) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        module = robustbench("resnet")
        return cast(nn.Module, module.PreActResNet(getattr(module, block), [2, 2, 2, 2], **options))

    return build


JUDGES: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "wrn 10-1": ("wide_resnet_10_1", wide(10, 1)),
    "wrn 28-10": ("wide_resnet_28_10", wide(28, 10)),
    "wrn 28-10 of TRADES": ("wide_resnet_28_10", wide(28, 10, sub_block1=True)),
    "wrn 34-10": ("wide_resnet_34_10", wide(34, 10)),
    "wrn 70-16": ("wide_resnet_70_16", wide(70, 16)),
    "dm wrn 10-1": ("dm_wide_resnet_10_1", deepmind(10, 1, "relu")),
    "dm wrn 28-10": ("dm_wide_resnet_28_10", deepmind(28, 10, "relu")),
    "dm wrn 28-10 silu": ("dm_wide_resnet_28_10_silu", deepmind(28, 10, "silu")),
    "dm wrn 34-10 silu": ("dm_wide_resnet_34_10_silu", deepmind(34, 10, "silu")),
    "dm wrn 70-16 silu": ("dm_wide_resnet_70_16_silu", deepmind(70, 16, "silu")),
    "Wong 2020": ("preact_resnet18_raw", preact("PreActBlock")),
    "Rice 2020": ("preact_resnet18_bn", preact("PreActBlockV2", bn_before_fc=True)),
    "Rice 2020, CIFAR-100": (
        "preact_resnet18_bn",
        preact("PreActBlock", bn_before_fc=True, out_shortcut=True),
    ),
    "preact": ("preact_resnet18", preact("PreActBlockV2")),
    "preact raw, bn": ("preact_resnet18_raw_bn", preact("PreActBlock", bn_before_fc=True)),
    "dm preact": ("dm_preact_resnet18", deepmind_preact(18, "relu")),
    "dm preact silu": ("dm_preact_resnet18_silu", deepmind_preact(18, "silu")),
    "dm preact 34": ("dm_preact_resnet34_silu", deepmind_preact(34, "silu")),
    "resnet18": ("cifar_resnet18", lambda: robustbench("resnet").ResNet18()),
    "resnet50": ("cifar_resnet50", lambda: robustbench("resnet").ResNet50()),
    "robustness resnet18": ("cifar_resnet18", lambda: robustness().ResNet18()),
    "robustness resnet50": ("cifar_resnet50", lambda: robustness().ResNet50()),
}


def alive(build: Callable[[], nn.Module]) -> nn.Module:
    """The judge in eval mode, no weight and no average as it was drawn."""
    model = build_initialized(build, stream_generator("judge")).eval()
    source = stream_generator("alive")
    for key, value in model.state_dict().items():
        if key.endswith("running_var"):
            value.copy_(0.5 + torch.rand(value.shape, generator=source))
        elif key.endswith(("running_mean", "bias")) or value.ndim == 1:
            value.add_(0.2 * (torch.rand(value.shape, generator=source) - 0.5))
    return model


def filled(source: Source) -> Tensor:
    module = cast(nn.Module, source.network())
    module.load_state_dict(dict(source.weights(InMemoryContext()).tensors))
    with torch.no_grad():
        logits: Tensor = module.eval()(INPUTS)
    if isinstance(module, ChainedNetwork):
        module.check_logits(INPUTS)
    return logits


def normalised(std: tuple[float, float, float] = STD) -> Tensor:
    return (INPUTS - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def close(found: Tensor, expected: Tensor) -> None:
    assert expected.abs().max() > 1e-3
    scale = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(found, expected, atol=1e-5 * scale, rtol=0)


@pytest.mark.parametrize("judge", JUDGES)
def test_weights_of_a_judge_load_strictly_and_give_its_logits(tmp_path: Path, judge: str) -> None:
    name, build = JUDGES[judge]
    model = alive(build)
    torch.save({"state_dict": nn.DataParallel(model).state_dict(), "epoch": 3}, tmp_path / "own.pt")
    with torch.no_grad():
        expected = model(INPUTS if name.startswith("dm_") else normalised())
    source = checkpoint(
        file=File(tmp_path / "own.pt", UNUSED), architecture=name, mean=MEAN, std=STD
    )

    close(filled(source), expected)


@pytest.mark.parametrize("name", ["ResNet18", "ResNet50"])
def test_an_attacker_model_of_robustness_loads_strictly_and_gives_its_logits(
    tmp_path: Path, name: str
) -> None:
    model = alive(lambda: getattr(robustness(), name)())

    class Normaliser(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("new_mean", torch.tensor(MEAN).view(3, 1, 1))
            self.register_buffer("new_std", torch.tensor(STD).view(3, 1, 1))

    attacker = nn.ModuleDict({"normalize": Normaliser(), "model": model})
    whole = nn.DataParallel(
        nn.ModuleDict({"normalizer": Normaliser(), "model": model, "attacker": attacker})
    )
    torch.save({"model": whole.state_dict(), "epoch": 3}, tmp_path / "own.pt")
    with torch.no_grad():
        expected = model(normalised())
    source = robustness_checkpoint(
        architecture=f"cifar_{name.lower()}", file=File(tmp_path / "own.pt", UNUSED)
    )

    close(filled(source), expected)


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "resnet26d",
        "vit_tiny_patch16_224",
        "convnext_atto",
        "efficientnet_b0",
        "xcit_nano_12_p16_224",
    ],
)
def test_weights_of_timm_load_strictly_and_give_its_logits(tmp_path: Path, name: str) -> None:
    timm = pytest.importorskip("timm", reason="timm, the extra `hub`, is not installed")
    pixels = 32
    options = {"img_size": pixels} if name.startswith("vit") else {}
    model = alive(lambda: timm.create_model(name, num_classes=10, **options))
    torch.save(
        {"state_dict": model.state_dict(), "state_dict_ema": model.state_dict()},
        tmp_path / "own.pt",
    )
    file = File(tmp_path / "own.pt", UNUSED)
    source = checkpoint(
        file=file, architecture=name, library="timm", mean=MEAN, std=STD, outputs=10, pixels=pixels
    )
    with torch.no_grad():
        expected = model(normalised())

    close(filled(source), expected)
    assert timm_source(name=name, file=file).card().architecture == name
