"""The architectures of published CIFAR checkpoints: in blocks, from files, and trained."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from advtransfer.errors import AdvTransferError, UnknownName
from advtransfer.host import Host
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.rng import stream_generator
from advtransfer.toolkit.wrapped_networks import ChainedNetwork
from advtransfer.types import File, Json, Source
from advtransfer_vision.components.pretrained_sources import checkpoint, robustness_checkpoint
from advtransfer_vision.components.training import random_init, trained
from advtransfer_vision.networks import LibraryNetwork
from advtransfer_vision.pretrained import torchvision_networks
from advtransfer_vision.pretrained.network_spec import default_spec

TINY = (
    "wide_resnet_10_1",
    "wide_resnet_16_1",
    "dm_wide_resnet_10_1",
    "dm_wide_resnet_10_1_silu",
    "preact_resnet18_w4",
    "preact_resnet18_raw_w4",
    "preact_resnet18_bn_w4",
    "preact_resnet18_raw_bn_w4",
    "preact_resnet34_w2",
    "dm_preact_resnet18_w4",
    "dm_preact_resnet18_silu_w4",
    "cifar_alexnet_w4",
)
FEW = (
    "wide_resnet_10_1",
    "dm_wide_resnet_10_1_silu",
    "preact_resnet18_w4",
    "dm_preact_resnet18_w4",
    "cifar_alexnet_w4",
)
UNUSED = "0" * 64
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)
INPUTS = torch.rand(2, 3, 32, 32, generator=stream_generator("inputs"))


def drawn(name: str, stream: str = "published") -> ChainedNetwork:
    network = default_spec(name).draw_network(stream_generator(stream)).eval()
    assert isinstance(network, ChainedNetwork)
    return network


def alive(name: str) -> dict[str, Tensor]:
    """Weights of which none is as it was drawn, so that no layer is like another."""
    source = stream_generator("alive")
    state = drawn(name).model.state_dict()
    for key, value in state.items():
        if value.is_floating_point():
            noise = torch.rand(value.shape, generator=source)
            value.add_(noise if key.endswith("running_var") else 0.1 * (noise - 0.5))
    return state


@pytest.mark.parametrize("name", TINY)
def test_blocks_and_head_are_the_architecture(name: str) -> None:
    network = drawn(name)
    network.model.load_state_dict(alive(name))
    network.check_logits(INPUTS)
    activations = network.normalise(INPUTS)
    for block in network.blocks.values():
        activations = block(activations)

    assert (2, 10) == tuple(network(INPUTS).shape)
    assert network.head(activations).equal(network(INPUTS))
    assert len(list(network.blocks)) > 3


@pytest.mark.parametrize(
    ("name", "first", "last", "parameters"),
    [
        ("wide_resnet_28_10", "conv1.weight", "fc.bias", 36_479_194),
        ("wide_resnet_34_10", "conv1.weight", "fc.bias", 46_160_474),
        ("dm_wide_resnet_28_10_silu", "init_conv.weight", "logits.bias", 36_479_194),
        ("dm_wide_resnet_70_16", "init_conv.weight", "logits.bias", 266_796_506),
        ("preact_resnet18", "conv1.weight", "linear.bias", 11_171_146),
        ("cifar_resnet18", "conv1.weight", "fc.bias", 11_173_962),
        ("cifar_alexnet", "features.0.weight", "classifier.bias", 2_472_266),
    ],
)
def test_sizes_are_those_of_the_papers(name: str, first: str, last: str, parameters: int) -> None:
    with torch.device("meta"):
        model = torchvision_networks.build_model(name, outputs=10, pixels=32)
    names = [key for key, _ in model.named_parameters()]

    assert (first, last) == (names[0], names[-1])
    assert parameters == sum(parameter.numel() for parameter in model.parameters())


def test_names_of_weights_are_those_of_their_writers() -> None:
    names = {name: set(drawn(name).model.state_dict()) for name in TINY}

    assert {
        "block2.layer.0.convShortcut.weight",
        "block3.layer.1.bn2.bias",
        "bn1.running_var",
    } < names["wide_resnet_16_1"]
    assert {"layer.1.block.0.shortcut.weight", "layer.0.block.0.batchnorm_1.weight"} < names[
        "dm_wide_resnet_10_1"
    ]
    assert {"layer2.0.shortcut.0.weight", "layer4.1.conv2.weight"} < names["preact_resnet18_w4"]
    assert names["preact_resnet18_bn_w4"] - names["preact_resnet18_w4"] == {
        f"bn.{one}"
        for one in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    }
    assert {"layer_1.0.shortcut.weight", "layer_0.1.conv_2d_2.weight"} < names[
        "dm_preact_resnet18_w4"
    ]


def own(name: str, content: object, folder: Path) -> Source:
    torch.save(content, folder / "own.pt")
    return checkpoint(file=File(folder / "own.pt", UNUSED), architecture=name, mean=MEAN, std=STD)


def logits(source: Source) -> Tensor:
    module = cast(nn.Module, source.network())
    module.load_state_dict(dict(source.weights(InMemoryContext()).tensors))
    found: Tensor = module.eval()(INPUTS)
    return found


def expected(name: str) -> Tensor:
    model = drawn(name).model
    model.load_state_dict(alive(name))
    found: Tensor = model(
        (INPUTS - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    )
    return found


@pytest.mark.parametrize(
    "name",
    ["wide_resnet_10_1", "dm_wide_resnet_10_1_silu", "preact_resnet18_w4", "cifar_alexnet_w4"],
)
def test_a_file_is_read_into_each_with_its_buffers(tmp_path: Path, name: str) -> None:
    """As RobustBench writes them: DataParallel, and the normalisation beside the weights."""
    buffers = {
        "mu": torch.tensor(MEAN).view(1, 3, 1, 1),
        "sigma": torch.tensor(STD).view(1, 3, 1, 1),
    }
    content = {f"module.{key}": one for key, one in {**buffers, **alive(name)}.items()}

    torch.testing.assert_close(
        logits(own(name, content, tmp_path)), expected(name), atol=1e-5, rtol=0
    )


def test_unused_group_of_trades_is_left_out(tmp_path: Path) -> None:
    state = alive("wide_resnet_10_1")
    unused = {
        key.replace("block1.", "sub_block1."): one + 1
        for key, one in state.items()
        if key.startswith("block1.")
    }
    content = {"state_dict": {f"module.{key}": one for key, one in {**state, **unused}.items()}}

    torch.testing.assert_close(
        logits(own("wide_resnet_10_1", content, tmp_path)),
        expected("wide_resnet_10_1"),
        atol=1e-5,
        rtol=0,
    )


def test_kuangliu_s_names_are_read_into_a_cifar_resnet(tmp_path: Path) -> None:
    state = alive("cifar_resnet18")
    theirs = {
        key.replace("fc.", "linear.").replace("downsample", "shortcut"): one
        for key, one in state.items()
        if not key.endswith("num_batches_tracked")
    }
    content = {
        "net": {f"module.{key}": one for key, one in theirs.items()},
        "acc": 95.0,
        "epoch": 1,
    }

    torch.testing.assert_close(
        logits(own("cifar_resnet18", content, tmp_path)),
        expected("cifar_resnet18"),
        atol=1e-4,
        rtol=0,
    )


def test_a_robustness_file_is_read_into_a_wide_resnet(tmp_path: Path) -> None:
    state, name = alive("wide_resnet_10_1"), "wide_resnet_10_1"
    buffers = {"normalizer.new_mean": torch.tensor(MEAN), "normalizer.new_std": torch.tensor(STD)}
    parts = {
        f"{part}{key}": one for part in ("model.", "attacker.model.") for key, one in state.items()
    }
    torch.save(
        {"model": {f"module.{key}": one for key, one in {**buffers, **parts}.items()}},
        tmp_path / "own.pt",
    )
    source = robustness_checkpoint(architecture=name, file=File(tmp_path / "own.pt", UNUSED))

    assert ((3, 32, 32), 10) == (source.card().shape, source.card().outputs)
    torch.testing.assert_close(logits(source), expected(name), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("architecture", "near"),
    [
        ("wide_resnet_28x10", "wide_resnet_28_10"),
        ("preactresnet18", "preact_resnet18"),
        ("dm_wide_resnet_28_10_swish", ""),
    ],
)
def test_wrong_name_is_reported_with_similar_names(architecture: str, near: str) -> None:
    with pytest.raises(UnknownName) as caught:
        torchvision_networks.build_model(architecture, outputs=10, pixels=32)

    assert near in (caught.value.near or [""])[0]


def test_impossible_depth_is_an_error() -> None:
    with pytest.raises(ValueError, match="found depth 32; expected 10, 16, 22, 28, 34"):
        torchvision_networks.build_model("wide_resnet_32_10", outputs=10, pixels=32)


DATA = toy(classes=3, shape=(3, 32, 32), train=12, test=6)


@pytest.mark.parametrize(
    "name",
    ["wide_resnet_10_1", "dm_wide_resnet_10_1_silu", "dm_preact_resnet18_w4", "cifar_alexnet_w4"],
)
def test_published_networks_are_trained(name: str) -> None:
    source = trained(data=DATA, network=LibraryNetwork(architecture=name), epochs=1, batch_size=6)
    before = (
        random_init(data=DATA, network=LibraryNetwork(architecture=name))
        .weights(InMemoryContext())
        .tensors
    )
    first, again = (source.weights(InMemoryContext()) for _ in range(2))

    assert all(first.tensors[key].equal(one) for key, one in again.tensors.items())
    assert any(not first.tensors[key].equal(one) for key, one in before.items())
    assert name == source.card().architecture
    assert [1] == [row["epoch"] for row in first.curves]


@pytest.mark.parametrize("name", ["resnet18", "shufflenet_v2_x0_5"])
def test_torchvision_s_are_trained_from_weights_of_our_streams(name: str) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    source = trained(data=DATA, network=LibraryNetwork(architecture=name), epochs=1, batch_size=6)
    network = cast(ChainedNetwork, source.network())
    curves = source.weights(InMemoryContext()).curves

    assert state.equal(torch.get_rng_state())
    assert (2, 3) == tuple(network.eval()(INPUTS).shape)
    assert 1 == len(curves)


@pytest.mark.parametrize(
    ("shape", "name", "message"),
    [
        (
            (1, 32, 32),
            "resnet18",
            r"found inputs of shape \(1, 32, 32\) for resnet18; .*`channels: 3`",
        ),
        ((3, 32, 16), "resnet18", r"found inputs of shape \(3, 32, 16\)"),
        (
            (3, 32, 32),
            "alexnet",
            r"found a alexnet that fails on inputs of shape \(3, 32, 32\) \(.*\); .* another `size`",
        ),
    ],
)
def test_data_that_an_architecture_cannot_take_are_told_before_the_training(
    shape: tuple[int, int, int], name: str, message: str
) -> None:
    source = trained(data=toy(shape=shape), network=LibraryNetwork(architecture=name))
    with pytest.raises((AdvTransferError, ValueError), match=message):
        source.weights(InMemoryContext())


@pytest.mark.parametrize(
    ("network", "found"),
    [
        ({"name": "resnet19"}, [("network", "name")]),
        ({"architecture": "resnet18", "library": "timmm"}, [("network", "library")]),
        ({"architecture": "resnet18", "width": 3}, [("network", "width")]),
    ],
)
def test_mistake_is_reported_for_the_kind_of_network_in_use(
    network: dict[str, Json], found: list[tuple[str, ...]]
) -> None:
    _, faults = (
        Host.discover().component("vision/trained", "source").options.validate({"network": network})
    )

    assert found == [fault.path for fault in faults]


def test_canonical_options_of_older_networks_have_not_changed() -> None:
    component = Host.discover().component("vision/trained", "source")
    values, _ = component.options.validate({"network": {"name": "resnet18", "width": 4}})

    assert {"name": "resnet18", "width": 4, "depth": None} == values["network"]
