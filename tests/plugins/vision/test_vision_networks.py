from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.types import DataCard, Shape
from advtransfer_vision.architectures.wide_resnet import PreActivatedUnit, Standardize
from advtransfer_vision.networks import NetworkName, SizedNetwork, build_network, sized_network

SMALL = {
    "small_cnn": 4,
    "mnist_2conv": 4,
    "resnet18": 4,
    "resnet50": 4,
    "wide_resnet": 1,
    "one_hidden": 4,
}
MNIST, CIFAR = (1, 28, 28), (3, 32, 32)


def _card(shape: Shape, outputs: int = 5) -> DataCard:
    return DataCard(
        shape, (0.0, 1.0), "classes", outputs, tuple(map(str, range(outputs))), "digest"
    )


def _built(network: SizedNetwork, shape: Shape, outputs: int = 5) -> BlockNetwork:
    return build_initialized(
        lambda: build_network(network, data=_card(shape, outputs)), stream_generator("init")
    ).eval()


def _small(name: NetworkName) -> SizedNetwork:
    return SizedNetwork(
        name=name, width=SMALL.get(name), depth=8 if name == "wide_resnet" else None
    )


def _parameters(network: SizedNetwork, shape: Shape, outputs: int = 10) -> int:
    with torch.device("meta"):
        return sum(
            parameter.numel()
            for parameter in build_network(network, data=_card(shape, outputs)).parameters()
        )


@pytest.mark.parametrize("name", get_args(NetworkName))
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 11), (1, 28, 28), (3, 32, 32)])
def test_every_network_takes_images_of_these_shapes(name: NetworkName, shape: Shape) -> None:
    network = _built(_small(name), shape)
    inputs = torch.rand((2, *shape), generator=stream_generator("inputs"))
    activations = network.normalise(inputs)
    for block in network.blocks.values():
        activations = block(activations)

    assert (2, 5) == tuple(network(inputs).shape)
    assert network.features(inputs).equal(activations)
    assert 2 == activations.ndim
    assert network.head(activations).equal(network(inputs))


@pytest.mark.parametrize("name", ["fcnet", "one_hidden"])
def test_fully_connected_networks_take_unbounded_vectors_as_they_are(name: NetworkName) -> None:
    network = _built(_small(name), (50,))
    inputs = 100 * torch.randn((4, 50), generator=stream_generator("inputs"))

    assert (4, 5) == tuple(network(inputs).shape)
    assert inputs.equal(network.normalise(inputs))


@pytest.mark.parametrize(
    ("network", "shape", "outputs", "expected"),
    [
        # 9 * 3 * 16 + 16, 9 * 16 * 32 + 32, 9 * 32 * 64 + 64, 64 * 10 + 10
        (SizedNetwork(name="small_cnn"), CIFAR, 10, 448 + 4_640 + 18_496 + 650),
        # 25 * 32 + 32, 25 * 32 * 64 + 64, 7 * 7 * 64 * 1024 + 1024, 1024 * 10 + 10
        (SizedNetwork(name="mnist_2conv"), MNIST, 10, 832 + 51_264 + 3_212_288 + 10_250),
        # 25 * 6 + 6, 25 * 6 * 16 + 16, 5 * 5 * 16 * 120 + 120, 120 * 84 + 84, 84 * 10 + 10
        (SizedNetwork(name="lenet5"), MNIST, 10, 156 + 2_416 + 48_120 + 10_164 + 850),
        (SizedNetwork(name="lenet5"), CIFAR, 10, 456 + 2_416 + 48_120 + 10_164 + 850),
        # 3072 * 1176 + 1176, 1176 * 400 + 400, 400 * 120 + 120, 120 * 84 + 84, 84 * 10 + 10
        (SizedNetwork(name="fcnet"), CIFAR, 10, 3_613_848 + 470_800 + 48_120 + 10_164 + 850),
        # stem; per stage its 3 x 3 convolutions, two numbers a channel and normalisation, the 1 x 1 shortcuts; head
        (
            SizedNetwork(name="resnet18"),
            CIFAR,
            10,
            (27 * 64 + 128)
            + 4 * (9 * 64 * 64 + 128)
            + (9 * 64 * 128 + 256) + 3 * (9 * 128 * 128 + 256) + (64 * 128 + 256)
            + (9 * 128 * 256 + 512) + 3 * (9 * 256 * 256 + 512) + (128 * 256 + 512)
            + (9 * 256 * 512 + 1024) + 3 * (9 * 512 * 512 + 1024) + (256 * 512 + 1024)
            + 5_130,
        ),
        # one bottleneck of inner width w: 1 x 1 in, 3 x 3, 1 x 1 out to 4 w, their normalisations
        (
            SizedNetwork(name="resnet50"),
            CIFAR,
            10,
            (27 * 64 + 128)
            + sum(
                sum(
                    (first if unit == 0 else 4 * w) * w + 9 * w * w + 4 * w * w + 2 * (w + w + 4 * w)
                    for unit in range(units)
                )
                + first * 4 * w + 8 * w  # the shortcut
                for first, w, units in ((64, 64, 3), (256, 128, 4), (512, 256, 6), (1024, 512, 3))
            )
            + 20_490,
        ),
        # stem, three groups of five units as in the module's description, last normalisation, head
        (
            SizedNetwork(name="wide_resnet"),
            CIFAR,
            10,
            432
            + sum(
                (2 * a + 9 * a * b + 2 * b + 9 * b * b) + 4 * 2 * (2 * b + 9 * b * b)
                for a, b in ((16, 160), (160, 320), (320, 640))
            )
            + 1_280
            + 6_410,
        ),
        # 50 * 100 + 100, 100 * 10 + 10
        (SizedNetwork(name="one_hidden"), (50,), 10, 5_100 + 1_010),
    ],
    ids=lambda value: str(value) if isinstance(value, SizedNetwork) else "",
)  # fmt: skip
def test_parameter_counts_match_a_count_by_hand(
    network: SizedNetwork, shape: Shape, outputs: int, expected: int
) -> None:
    assert expected == _parameters(network, shape, outputs)


def test_parameter_counts_match_the_published_networks() -> None:
    assert 11_173_962 == _parameters(SizedNetwork(name="resnet18"), CIFAR)
    assert 23_520_842 == _parameters(SizedNetwork(name="resnet50"), CIFAR)
    assert 45_901_914 == _parameters(SizedNetwork(name="wide_resnet"), CIFAR)
    assert 61_706 == _parameters(SizedNetwork(name="lenet5"), MNIST)


@pytest.mark.parametrize(
    ("network", "blocks"),
    [
        (SizedNetwork(name="small_cnn"), ["block1", "block2", "block3"]),
        (SizedNetwork(name="mnist_2conv"), ["conv1", "conv2", "fc1"]),
        (SizedNetwork(name="lenet5"), ["conv1", "conv2", "fc1", "fc2"]),
        (SizedNetwork(name="fcnet"), ["fc1", "fc2", "fc3", "fc4"]),
        (SizedNetwork(name="one_hidden"), ["hidden"]),
        (
            SizedNetwork(name="resnet18"),
            ["stem", *[f"layer{stage}_{unit}" for stage in range(1, 5) for unit in range(2)]],
        ),
        (
            SizedNetwork(name="resnet50"),
            [
                "stem",
                *[
                    f"layer{stage}_{u}"
                    for stage, units in enumerate((3, 4, 6, 3), 1)
                    for u in range(units)
                ],
            ],
        ),
        (
            SizedNetwork(name="wide_resnet"),
            ["stem", *[f"group{group}_{unit}" for group in range(1, 4) for unit in range(5)]],
        ),
    ],
)
def test_blocks_are_named_from_the_input_to_the_head(
    network: SizedNetwork, blocks: list[str]
) -> None:
    with torch.device("meta"):
        built = build_network(network, data=_card((50,) if network.name == "one_hidden" else CIFAR))

    assert blocks == list(built.blocks)


def test_a_small_cnn_has_three_blocks_with_1_2_and_4_times_its_width() -> None:
    network = _built(SizedNetwork(name="small_cnn", width=4), (1, 8, 8))
    inputs = torch.zeros(2, 1, 8, 8)
    shapes = {name: tuple(network.features(inputs, upto=name).shape) for name in network.blocks}

    assert {"block1": (2, 4, 8, 8), "block2": (2, 8, 4, 4), "block3": (2, 16)} == shapes


def test_residual_stages_halve_the_sides_and_double_the_channels() -> None:
    network = _built(SizedNetwork(name="resnet18", width=4), CIFAR)
    shapes = [
        tuple(network.features(torch.zeros(1, *CIFAR), upto=f"layer{stage}_0").shape)
        for stage in range(1, 5)
    ]

    assert [(1, 4, 32, 32), (1, 8, 16, 16), (1, 16, 8, 8), (1, 32, 4, 4)] == shapes


def test_small_digits_lie_in_the_middle_of_lenets_black_field() -> None:
    network = _built(SizedNetwork(name="lenet5"), MNIST)
    field = network.normalise(torch.ones(1, *MNIST))

    assert (1, 1, 32, 32) == tuple(field.shape)
    assert 1.0 == field[..., 2:-2, 2:-2].min()
    assert -1.0 == field[..., :2, :].max() == field[..., -2:].max()


def test_the_regression_network_is_two_affine_maps_around_a_sigmoid() -> None:
    network = _built(SizedNetwork(name="one_hidden", width=7), (50,), outputs=3)
    inputs = torch.randn((4, 50), generator=stream_generator("inputs"))
    w1, b1, w2, b2 = network.parameters()

    assert ((inputs @ w1.T + b1).sigmoid() @ w2.T + b2).allclose(network(inputs), atol=1e-5)
    assert all(-0.5 <= one.min() and one.max() <= 0.5 for one in (w1, b1, w2, b2))
    assert w1.abs().max() > 0.45


@pytest.mark.parametrize(
    ("channels", "stride", "activate_both"),
    [(6, 1, False), (3, 1, True), (3, 2, False), (6, 2, False)],
)
def test_wide_unit_computes_its_formula(channels: int, stride: int, activate_both: bool) -> None:
    """Written out from its description: shortcuts average, and fill up with zeros on either side."""

    def make() -> PreActivatedUnit:
        return PreActivatedUnit(channels, 6, stride=stride, activate_both=activate_both)

    unit = build_initialized(make, stream_generator("unit")).eval()
    inputs = torch.randn((2, channels, 8, 8), generator=stream_generator("inputs"))
    first, _, second = (layer for layer in unit.residual if not isinstance(layer, nn.LeakyReLU))
    assert isinstance(first, nn.Conv2d)
    assert isinstance(second, nn.Conv2d)
    # a normalisation that has seen nothing divides by sqrt(1 + 0.001)
    active = functional.leaky_relu(inputs / 1.001**0.5, 0.1)
    inner = functional.conv2d(active, first.weight, stride=stride, padding=1)
    outer = functional.conv2d(
        functional.leaky_relu(inner / 1.001**0.5, 0.1), second.weight, padding=1
    )
    shortcut = active if activate_both else inputs
    if stride == 2:
        shortcut = shortcut.unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2))
    expected = outer.clone()
    before = (6 - channels) // 2
    expected[:, before : before + channels] += shortcut

    assert expected.allclose(unit(inputs), atol=1e-5)


def test_wide_networks_start_from_the_challenges_initial_weights() -> None:
    network = _built(SizedNetwork(name="wide_resnet", width=2, depth=8), CIFAR)
    convolutions = [module.weight for module in network.modules() if isinstance(module, nn.Conv2d)]
    head = network.head.weight

    assert isinstance(head, Tensor)
    assert 7 == len(convolutions)
    assert [(2 / (9 * len(one))) ** 0.5 for one in convolutions] == pytest.approx(
        [one.std().item() for one in convolutions], rel=0.1
    )
    assert (3 / 128) ** 0.5 == pytest.approx(head.abs().max().item(), rel=0.05)
    assert not network.state_dict()["head.bias"].any()


def test_wide_networks_standardise_each_image() -> None:
    images = 0.3 * torch.rand((3, 3, 8, 8), generator=stream_generator("inputs")) + 0.5
    images[2] = 0.5
    images.requires_grad_()
    standardized = Standardize()(images)
    (gradient,) = torch.autograd.grad(standardized.pow(3).sum(), images)

    assert [0.0] * 3 == pytest.approx(standardized.mean((1, 2, 3)).tolist(), abs=1e-5)
    assert [1.0, 1.0, 0.0] == pytest.approx(
        standardized.std((1, 2, 3), correction=0).tolist(), abs=1e-5
    )
    assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("name", "shape", "smallest"),
    [
        ("small_cnn", (1, 7, 8), 8),
        ("small_cnn", (64,), 8),
        ("resnet18", (64,), 8),
        ("wide_resnet", (3, 3, 9), 4),
    ],
)
def test_inputs_it_cannot_take_are_refused(name: NetworkName, shape: Shape, smallest: int) -> None:
    expected = rf"for {name}; expected .* at least {smallest} x {smallest} pixels; give the data set a size"
    with pytest.raises(ValueError, match=expected):
        build_network(_small(name), data=_card(shape))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SizedNetwork(name="resnet18", width=0), "width: at least 1, not 0"),
        (lambda: SizedNetwork(name="lenet5", width=3), "width: none: lenet5 has one size, not 3"),
        (lambda: SizedNetwork(name="wide_resnet", depth=30), r"depth: 8, 14, 20, \.\.\., not 30"),
        (lambda: SizedNetwork(name="wide_resnet", depth=2), r"depth: 8, 14, 20, \.\.\., not 2"),
        (
            lambda: SizedNetwork(name="resnet18", depth=20),
            "depth: none: resnet18 has no option depth, not 20",
        ),
    ],
)
def test_unavailable_network_size_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_option_width_is_refused_for_other_networks() -> None:
    assert SizedNetwork(name="small_cnn", width=8) == sized_network("small_cnn", width=8)
    assert SizedNetwork(name="resnet18") == sized_network("resnet18", width=16)
    assert SizedNetwork(name="resnet18", width=8) == sized_network(
        SizedNetwork(name="resnet18", width=8), width=16
    )
    expected = r"found width 8 beside the network 'resnet18'; expected .* write network: {name: resnet18, width: 8}"
    with pytest.raises(ValueError, match=expected):
        sized_network("resnet18", width=8)


def test_networks_are_named_with_their_sizes() -> None:
    assert "small_cnn, width 16" == str(sized_network("small_cnn", width=16))
    assert "resnet18, width 64" == str(SizedNetwork(name="resnet18"))
    assert "wide_resnet, width 10, depth 32" == str(SizedNetwork(name="wide_resnet"))
    assert "lenet5" == str(SizedNetwork(name="lenet5"))
