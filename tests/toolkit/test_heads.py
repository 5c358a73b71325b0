"""A new head for every kind of network: really in use, really trained, drawn from no global state."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from advtransfer.toolkit.heads import with_head
from advtransfer.toolkit.network import BlockNetwork, Normalize
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.toolkit.wrapped_networks import ChainedNetwork, HookedNetwork
from advtransfer.types import Network
from advtransfer_vision.pretrained.network_spec import NetworkSpec

SHAPE = (3, 64, 64)
INPUTS = torch.linspace(0, 1, 4 * 3 * 64 * 64).view(4, *SHAPE)


class Plain(nn.Module):
    """An architecture with its own forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.fc = (
            nn.Conv2d(3, 4, 16, stride=16),
            nn.BatchNorm2d(4),
            nn.Linear(64, 3),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.norm(self.first(inputs)).relu().flatten(1))
        return logits


class Own(nn.Module):
    """A third party's network: the protocol, and nothing of the toolkit's; its features are not flat."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.last = (
            nn.Conv2d(3, 4, 16, stride=16),
            nn.Sequential(nn.Flatten(), nn.Linear(64, 5)),
        )

    @property
    def blocks(self) -> Mapping[str, nn.Module]:
        return {"body": self.body}

    @property
    def head(self) -> nn.Module:
        return self.last

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.last(self.features(inputs))
        return logits

    def features(self, inputs: Tensor, *, upto: str | None = None) -> Tensor:
        activations: Tensor = self.body(inputs)
        return activations


def block_network() -> Network:
    blocks = OrderedDict(
        first=nn.Conv2d(3, 4, 16, stride=16), second=nn.Sequential(nn.ReLU(), nn.Flatten())
    )
    return BlockNetwork(blocks, nn.Linear(64, 3), Normalize([0.5], [0.25]))


def chained() -> Network:
    return ChainedNetwork(Plain(), ["first", "norm", nn.ReLU(), nn.Flatten(), "fc"])


def hooked() -> Network:
    return HookedNetwork(Plain(), blocks=["first"], head="fc")


def headed() -> Network:
    return with_head(hooked(), 7, shape=SHAPE)


KINDS = [block_network, chained, hooked, headed, Own]
OF_THE_TOOLKIT = [block_network, chained, hooked, headed]


def made(kind: Callable[[], Network]) -> Network:
    return build_initialized(kind, stream_generator("network"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_new_head_is_used_and_trained_on_every_kind_of_network(
    kind: Callable[[], Network],
) -> None:
    network = made(kind)
    before = {
        name: tensor.clone() for name, tensor in cast(nn.Module, network).state_dict().items()
    }
    changed = with_head(network, 6, shape=SHAPE, generator=stream_generator("head"))

    optimiser = torch.optim.SGD(
        [weight for weight in changed.head.parameters() if weight.requires_grad], lr=0.1
    )
    first = changed(INPUTS)
    nn.functional.cross_entropy(first, torch.tensor([0, 1, 2, 5])).backward()  # type: ignore[no-untyped-call]  # torch
    optimiser.step()
    second = changed(INPUTS)

    assert (4, 6) == first.shape
    assert not first.equal(second)
    assert second.equal(changed.head(changed.features(INPUTS)))
    assert list(network.blocks) == list(changed.blocks)
    assert all(
        tensor.equal(before[name]) for name, tensor in cast(nn.Module, network).state_dict().items()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_all_but_the_old_head_can_be_trained_with_the_new_one(kind: Callable[[], Network]) -> None:
    changed = with_head(made(kind), 6, shape=SHAPE, generator=stream_generator("head")).train()
    changed(INPUTS).sum().backward()
    trained = {name for name, weight in changed.named_parameters() if weight.requires_grad}

    assert trained == {
        name for name, weight in changed.named_parameters() if weight.grad is not None
    }
    assert {"head.weight", "head.bias"} < trained
    assert all(any(name.startswith("network.") for name in trained) for _ in changed.blocks)


@pytest.mark.parametrize("kind", OF_THE_TOOLKIT)
def test_a_head_cannot_be_assigned_on_any_kind_of_network(kind: Callable[[], Network]) -> None:
    network = made(kind)
    with pytest.raises(
        AttributeError, match=r"found an assignment to the head of a \w+Network; .*with_head\("
    ):
        network.head = nn.Linear(64, 6)  # type: ignore[misc]  # wrong on purpose


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1"])
def test_architectures_of_checkpoints_take_a_new_head(name: str) -> None:
    network = NetworkSpec(name=name, outputs=4, pixels=64).draw_network(stream_generator(name))
    changed = with_head(network, 6, shape=SHAPE, generator=stream_generator("head")).eval()

    assert (4, 6) == changed(INPUTS).shape
    with pytest.raises(AttributeError, match=r"with_head\("):
        network.head = nn.Linear(512, 6)  # type: ignore[misc]  # wrong on purpose


def test_a_head_is_drawn_from_its_generator_alone() -> None:
    network = made(hooked)
    state = torch.get_rng_state()
    torch.manual_seed(1)
    first = with_head(network, 6, shape=SHAPE, generator=stream_generator("head"))
    torch.manual_seed(2)
    second = with_head(network, 6, shape=SHAPE)

    assert not second.head.weight.any()
    assert not second(INPUTS).any()
    second.draw_head(stream_generator("head"))
    after = torch.get_rng_state()
    torch.manual_seed(2)
    assert after.equal(torch.get_rng_state())
    assert first.head.weight.equal(second.head.weight)
    assert first.head.bias.equal(second.head.bias)
    assert first.head.weight.std() > 0.01
    torch.set_rng_state(state)


def test_a_copy_with_a_new_head_keeps_modes_and_frozen_weights() -> None:
    network = cast(HookedNetwork, made(hooked)).eval().requires_grad_(False)
    network.model.get_submodule("norm").train()
    changed = with_head(network, 6, shape=SHAPE)
    body = cast(HookedNetwork, changed.network)

    assert (False, True) == (body.training, body.model.get_submodule("norm").training)
    assert ["head.weight", "head.bias"] == [
        name for name, weight in changed.named_parameters() if weight.requires_grad
    ]
