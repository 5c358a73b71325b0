"""Every family of torchvision's classifiers: its blocks in order, then its head, are the architecture itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2

from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.toolkit.wrapped_networks import ChainedNetwork
from advtransfer_vision.pretrained import torchvision_networks

CLASSES = 7
LARGE = ("vit_h_14", "vit_l_16", "vit_l_32", "regnet_y_128gf")
VIT = {
    "image_size": 32,
    "patch_size": 8,
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 16,
    "mlp_dim": 32,
}
SWIN = {
    "patch_size": [4, 4],
    "embed_dim": 8,
    "depths": [1, 2],
    "num_heads": [1, 2],
    "window_size": [4, 4],
}
MAXVIT = {
    "input_size": (64, 64),
    "stem_channels": 8,
    "partition_size": 4,
    "head_dim": 4,
    "stochastic_depth_prob": 0.2,
}
SMALL: dict[str, Callable[[], nn.Module]] = {
    "convnext": lambda: models.ConvNeXt(
        [CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 2)], num_classes=CLASSES
    ),
    "densenet": lambda: models.DenseNet(4, (2, 3), 8, num_classes=CLASSES),
    "vit": lambda: models.VisionTransformer(**VIT, num_classes=CLASSES),
    "vit with a hidden head": lambda: models.VisionTransformer(
        **VIT, num_classes=CLASSES, representation_size=12
    ),
    "swin": lambda: models.SwinTransformer(**SWIN, num_classes=CLASSES),
    "swin v2": lambda: models.SwinTransformer(
        **SWIN, num_classes=CLASSES, block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2
    ),
    "maxvit": lambda: models.MaxVit(
        **MAXVIT, block_channels=[8, 16], block_layers=[1, 2], num_classes=CLASSES
    ),
}
PIXELS = {"maxvit": 64, "inception_v3": 80, "maxvit_t": 224, "vit_b_16": 224, "vit_b_32": 224}


def alive(build: Callable[[], nn.Module]) -> nn.Module:
    """The architecture in eval mode, no weight zero and no batch normalisation as it is at first."""

    def built() -> nn.Module:
        model = build()
        for name, value in model.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            elif name.endswith(("running_mean", "bias")) or (
                value.is_floating_point() and not value.any()
            ):
                value.normal_(std=0.1)
        return model

    return build_initialized(built, stream_generator("families")).eval()


def same(model: nn.Module, *, pixels: int) -> ChainedNetwork:
    network = ChainedNetwork(model, torchvision_networks.forward_steps(model)).eval()
    inputs = torch.rand(2, 3, pixels, pixels, generator=stream_generator("inputs"))
    with torch.no_grad():
        expected, logits = model(inputs), network(inputs)

    assert (2, CLASSES) == tuple(logits.shape)
    assert not expected[0].equal(expected[1])
    torch.testing.assert_close(logits, expected, atol=1e-6, rtol=0)
    return network


@pytest.mark.parametrize("name", SMALL)
def test_small_network_of_each_family_equals_its_blocks_and_head(name: str) -> None:
    same(alive(SMALL[name]), pixels=PIXELS.get(name, 32))


@pytest.mark.parametrize(
    "name",
    [
        "alexnet",
        "cifar_resnet18",
        "efficientnet_b0",
        "googlenet",
        "inception_v3",
        "mnasnet0_5",
        "mobilenet_v2",
        "mobilenet_v3_small",
        "regnet_x_400mf",
        "resnet18",
        "shufflenet_v2_x0_5",
        "squeezenet1_0",
    ],
)
def test_small_classifiers_equal_their_blocks_and_head(name: str) -> None:
    pixels = PIXELS.get(name, 64)

    same(
        alive(
            lambda: torchvision_networks.build_model(
                name, outputs=CLASSES, pixels=pixels, imagenet_inputs=True
            )
        ),
        pixels=pixels,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name in models.list_models(module=models) if name not in LARGE]
)
def test_torchvision_classifiers_equal_their_blocks_and_head(name: str) -> None:
    pixels = PIXELS.get(name, 96)

    same(
        alive(
            lambda: torchvision_networks.build_model(
                name, outputs=CLASSES, pixels=pixels, imagenet_inputs=True
            )
        ),
        pixels=pixels,
    )


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("vit", ["conv_proj", "encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_1"]),
        ("convnext", ["features.0", "features.1.0", "features.2", "features.3.0", "features.3.1"]),
        ("swin", ["features.0.0", "features.1.0", "features.2", "features.3.0", "features.3.1"]),
    ],
)
def test_blocks_are_called_by_the_paths_of_the_architecture(name: str, blocks: list[str]) -> None:
    model = alive(SMALL[name])

    assert blocks == list(ChainedNetwork(model, torchvision_networks.forward_steps(model)).blocks)


def test_blocks_share_no_weights() -> None:
    network = same(alive(SMALL["vit"]), pixels=32)
    parts = [*network.blocks.values(), network.head]
    counted = [id(parameter) for part in parts for parameter in part.parameters()]

    assert sorted(map(id, network.parameters())) == sorted(counted)


def test_transformer_stem_uses_replaced_weights() -> None:
    network = same(alive(SMALL["vit"]), pixels=32)
    inputs = torch.rand(2, 3, 32, 32, generator=stream_generator("inputs"))
    moved = {
        f"model.{name}": torch.zeros_like(value) for name, value in network.model.named_parameters()
    }
    bias = torch.arange(float(CLASSES))
    logits = torch.func.functional_call(
        network, {**moved, "model.heads.head.bias": bias}, (inputs,)
    )

    assert logits.equal(bias.expand(2, -1))


@pytest.mark.parametrize("name", ["vit", "densenet", "swin"])
def test_blocks_move_with_their_network(name: str) -> None:
    network = same(alive(SMALL[name]), pixels=32).double()
    inputs = torch.rand(2, 3, 32, 32, generator=stream_generator("inputs")).double()

    torch.testing.assert_close(network(inputs), network.model(inputs), atol=1e-12, rtol=0)


def test_an_architecture_of_an_unknown_family_asks_for_its_blocks() -> None:
    with pytest.raises(
        ValueError,
        match=r"found an architecture of the unknown family Linear; .* give its `blocks`",
    ):
        torchvision_networks.forward_steps(nn.Linear(2, 2))
