from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from advtransfer.toolkit.network import Normalize
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.toolkit.wrapped_networks import HookedNetwork
from advtransfer.types import Network

INPUTS = torch.rand(4, 3, 8, 8, generator=stream_generator("inputs"))


class Encoder(nn.Module):
    """Layers with a parameter of their own before them and a normalisation after them."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.full((6,), 0.1))
        self.layers = nn.ModuleList([nn.Linear(6, 6), nn.Linear(6, 6)])
        self.norm, self.unused = nn.LayerNorm(6), nn.Linear(2, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.shift
        for layer in self.layers:
            tokens = tokens + layer(tokens).relu()
        normed: Tensor = self.norm(tokens)
        return normed


class Plain(nn.Module):
    """An architecture with parameters that are in no module, and a forward pass that is no chain."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.full((1, 1, 6), 0.2))
        self.patches, self.encoder = nn.Conv2d(3, 6, 4, stride=4), Encoder()
        self.drop, self.head = nn.Dropout(0.5), nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        patches = self.patches(inputs).flatten(2).transpose(1, 2)
        tokens = self.encoder(torch.cat([self.token.expand(len(inputs), -1, -1), patches], 1))
        logits: Tensor = self.head(self.drop(tokens[:, 0]))
        return logits


BLOCKS = ("encoder.layers.0", "encoder.layers.1")


def plain() -> Plain:
    return build_initialized(Plain, stream_generator("plain")).eval()


def hooked(blocks: Sequence[str] = BLOCKS, head: str = "head") -> HookedNetwork:
    return HookedNetwork(
        plain(), blocks=blocks, head=head, normalise=Normalize([0.5] * 3, [0.25] * 3)
    ).eval()


def names_of(network: HookedNetwork, block: str) -> set[str]:
    own = {id(parameter) for parameter in network.blocks[block].parameters()}
    return {name for name, parameter in network.model.named_parameters() if id(parameter) in own}


def test_logits_are_those_of_the_architecture_to_the_bit() -> None:
    network: Network = hooked()

    assert network(INPUTS).equal(plain()((INPUTS - 0.5) / 0.25))


def test_features_are_the_inputs_of_the_head() -> None:
    network = hooked()

    assert (4, 6) == tuple(network.features(INPUTS).shape)
    assert network.head(network.features(INPUTS)).equal(network(INPUTS))


def test_features_after_a_block_are_the_inputs_of_the_next_block() -> None:
    network = hooked()
    stem, first, last = (network.features(INPUTS, upto=name) for name in ("stem", *BLOCKS))

    assert first.equal(stem + network.model.get_submodule("encoder.layers.0")(stem).relu())
    assert last.equal(network.features(INPUTS))
    with pytest.raises(ValueError, match=r"found block 'head'; expected one of \['stem', 'encoder"):
        network.features(INPUTS, upto="head")


def test_every_weight_before_the_head_is_in_the_nearest_block() -> None:
    network = hooked()

    assert ["stem", *BLOCKS] == list(network.blocks)
    assert {"token", "patches.weight", "patches.bias", "encoder.shift"} == names_of(network, "stem")
    assert {"encoder.layers.0.weight", "encoder.layers.0.bias"} == names_of(network, BLOCKS[0])
    others = {
        f"encoder.{name}.{part}"
        for name in ("layers.1", "norm", "unused")
        for part in ("weight", "bias")
    }
    assert others == names_of(network, BLOCKS[1])


def test_the_stem_is_absent_if_the_first_block_begins_at_the_input() -> None:
    sequence = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    network = HookedNetwork(sequence, blocks=["0", "1"], head="2")

    assert ["0", "1"] == list(network.blocks)


def test_the_parameters_keep_the_names_of_the_architecture() -> None:
    names = {f"model.{name}" for name in plain().state_dict()}

    assert names | {"normalise.mean", "normalise.std"} == set(hooked().state_dict())


def test_features_leave_no_hook_and_can_be_differentiated() -> None:
    network, inputs = hooked(), INPUTS.clone().requires_grad_()
    network.features(inputs).sum().backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward

    assert inputs.grad is not None
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_a_copy_has_blocks_of_its_own() -> None:
    network = hooked()
    before = network(INPUTS)
    other = copy.deepcopy(network)
    other.requires_grad_(False)
    other.blocks["stem"].requires_grad_(True)
    with torch.no_grad():
        for parameter in other.blocks["stem"].parameters():
            parameter.zero_()
    trained = {name for name, parameter in other.named_parameters() if parameter.requires_grad}

    assert {
        "model.token",
        "model.patches.weight",
        "model.patches.bias",
        "model.encoder.shift",
    } == trained
    assert network(INPUTS).equal(before)
    assert not other.features(INPUTS).equal(network.features(INPUTS))


@pytest.mark.parametrize(
    ("blocks", "head", "message"),
    [
        ((), "head", r"found the blocks \[\] and the head 'head'; expected different paths"),
        (
            ("head",),
            "head",
            r"found the blocks \['head'\] and the head 'head'; expected different paths",
        ),
        (
            ("encoder.layer",),
            "head",
            r"found the path 'encoder.layer', but no 'layer' in 'encoder' of Plain",
        ),
        (
            ("encoder",),
            "fc",
            r"found the path 'fc', but no 'fc' of Plain; expected one of patches, .*, head",
        ),
    ],
)
def test_paths_that_lead_nowhere_are_refused(
    blocks: tuple[str, ...], head: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        hooked(blocks, head)


def test_a_module_that_no_input_passes_has_no_features() -> None:
    with pytest.raises(
        ValueError,
        match=r"found 'encoder.unused' not in use; expected a module that every input passes",
    ):
        hooked(["encoder.layers.0", "encoder.unused"]).features(INPUTS, upto="encoder.layers.0")
