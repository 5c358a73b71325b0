from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from advtransfer.toolkit.network import Normalize
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.toolkit.wrapped_networks import ChainedNetwork, ForwardStep
from advtransfer.types import Network

INPUTS = torch.rand(4, 3, 8, 8, generator=stream_generator("inputs"))
STEPS: tuple[ForwardStep, ...] = (
    "conv",
    "norm",
    "act",
    "layers",
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    "drop",
    "fc",
)


class Residual(nn.Module):
    """A block whose inside is nobody's business."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(5, 5, 3, padding=1), nn.BatchNorm2d(5)

    def forward(self, inputs: Tensor) -> Tensor:
        changed: Tensor = self.norm(self.conv(inputs))
        return inputs + changed


class Plain(nn.Module):
    """An architecture as a library has it: what it does between its modules is said in its forward pass only."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.act = (
            nn.Conv2d(3, 5, 3),
            nn.BatchNorm2d(5),
            nn.ReLU(inplace=True),
        )
        self.layers = nn.Sequential(Residual(), nn.Sequential(Residual(), nn.ReLU()))
        self.drop, self.fc = nn.Dropout(0.5), nn.Linear(5, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        activations = self.layers(self.act(self.norm(self.conv(inputs))))
        logits: Tensor = self.fc(self.drop(activations.mean([2, 3])))
        return logits


def plain() -> Plain:
    return build_initialized(Plain, stream_generator("plain")).eval()


def chained(
    model: nn.Module | None = None, steps: tuple[ForwardStep, ...] = STEPS
) -> ChainedNetwork:
    return ChainedNetwork(model or plain(), steps, Normalize([0.5] * 3, [0.25] * 3)).eval()


def test_a_block_begins_at_each_module_with_weights_that_is_no_normalisation() -> None:
    network: Network = chained()

    assert ["conv", "layers.0", "layers.1.0"] == list(network.blocks)
    assert isinstance(network.head, nn.Linear)


def test_modules_between_belong_to_the_block_before_them() -> None:
    blocks = chained().blocks
    types = {
        name: [type(part).__name__ for part in block.children()] for name, block in blocks.items()
    }

    assert ["Conv2d", "BatchNorm2d", "ReLU"] == types["conv"]
    assert ["Residual", "ReLU", "AdaptiveAvgPool2d", "Flatten", "Dropout"] == types["layers.1.0"]
    assert isinstance(blocks["layers.0"], Residual)


def test_the_parameters_keep_the_names_of_the_architecture() -> None:
    names = {f"model.{name}" for name in plain().state_dict()}

    assert names | {"normalise.mean", "normalise.std"} == set(chained().state_dict())


def test_logits_are_those_of_the_architecture() -> None:
    network, model = chained(), plain()
    normalised = (INPUTS - 0.5) / 0.25

    torch.testing.assert_close(network(INPUTS), model(normalised), atol=1e-6, rtol=0)
    assert network(INPUTS).equal(network.head(network.features(INPUTS)))


def test_features_of_a_block_passed_through_later_blocks_are_the_features() -> None:
    network = chained()
    first, *others = network.blocks.values()
    activations = network.features(INPUTS, upto="conv")

    assert activations.equal(first((INPUTS - 0.5) / 0.25))
    assert network.features(INPUTS).equal(nn.Sequential(*others)(activations))
    with pytest.raises(
        ValueError, match=r"found block 'fc'; expected one of \['conv', 'layers.0', 'layers.1.0'\]"
    ):
        network.features(INPUTS, upto="fc")


def test_a_sequence_that_begins_with_a_normalisation_is_one_step() -> None:
    model = nn.Sequential(
        nn.Linear(4, 4), nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 4)), nn.Linear(4, 2)
    )

    assert ["0", "1"] == list(ChainedNetwork(model, ["0", "1", "2"]).blocks)


def test_steps_before_the_first_weights_belong_to_the_first_block() -> None:
    network = chained(steps=(nn.Identity(), *STEPS))

    assert ["conv", "layers.0", "layers.1.0"] == list(network.blocks)


def test_changes_to_a_block_change_the_network() -> None:
    network = chained()
    network.requires_grad_(False)
    network.blocks["layers.1.0"].requires_grad_(True).train()
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    training = {name for name, module in network.named_modules() if module.training}

    assert {f"model.layers.1.0.{name}" for name, _ in Residual().named_parameters()} == trained
    assert {"model.layers.1.0", "model.layers.1.1", "model.drop"} <= training
    assert not {"model.conv", "model.layers.0"} & training


def test_a_copy_has_blocks_of_its_own() -> None:
    network = chained()
    before = network(INPUTS)
    other = copy.deepcopy(network)
    with torch.no_grad():
        other.blocks["conv"].get_parameter("0.weight").zero_()

    assert other.model.get_parameter("conv.weight").eq(0).all()
    assert network(INPUTS).equal(before)
    assert not other(INPUTS).equal(before)


def test_loaded_and_substituted_weights_are_those_that_the_blocks_use() -> None:
    network, zero = (
        chained(),
        {name: torch.zeros_like(value) for name, value in chained().state_dict().items()},
    )
    substituted = torch.func.functional_call(network, {"model.fc.bias": torch.ones(2)}, (INPUTS,))
    before = network(INPUTS) - network.model.get_parameter("fc.bias")
    network.load_state_dict(
        {**zero, "normalise.std": torch.ones(3, 1, 1), "model.fc.bias": torch.ones(2)}
    )

    torch.testing.assert_close(substituted, before + 1)
    assert network(INPUTS).equal(torch.ones(4, 2))


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (
            ("conv", "layers", "fc"),
            r"found norm.weight, norm.bias \(2 in all\) in no step of Plain",
        ),
        (
            ("conv", "layer1", "fc"),
            r"found the path 'layer1', but no 'layer1' of Plain; expected one of conv, .*, fc",
        ),
        (
            ("layers.2", "fc"),
            r"found the path 'layers.2', but no '2' in 'layers' of Plain; expected one of 0, 1",
        ),
        (("act", "fc"), r"found the steps with weights \['fc'\]; expected a block and a head"),
    ],
)
def test_steps_that_make_no_network_are_refused(
    steps: tuple[ForwardStep, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        chained(steps=steps)


def test_a_chain_with_other_logits_than_the_architecture_is_refused() -> None:
    chained().check_logits(INPUTS)
    wrong = chained(steps=("conv", "norm", *STEPS[3:]))

    with pytest.raises(
        ValueError, match=r"found logits that differ by .* from those of Plain; expected the same"
    ):
        wrong.check_logits(INPUTS)
