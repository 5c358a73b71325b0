"""An evaluation must leave everything as it found it; what it changes is told, and put back."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from advtransfer.worker.guards.side_effects import guard_side_effects


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).eval()


def trains(one: nn.Module) -> None:
    one.train()
    one(torch.ones(3, 2))
    one.eval()


def differentiates(one: nn.Module) -> None:
    one(torch.ones(3, 2)).sum().backward()


def draws(one: nn.Module) -> None:
    random.random()
    np.random.rand()
    torch.rand(1)


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (
            lambda one: one(torch.ones(3, 2)),
            "weights, modes, .grad and global random state are as they were",
        ),
        (trains, "the model's state was changed"),
        (lambda one: one.train(), "modules were left in another mode"),
        (differentiates, "gradients were left on the weights"),
        (draws, "global random state was used: random, numpy, torch"),
    ],
)
def test_what_an_evaluation_changes_is_told_and_put_back(
    act: Callable[[nn.Module], object], told: str
) -> None:
    subject = model()
    before = {name: tensor.clone() for name, tensor in subject.state_dict().items()}
    randoms = random.getstate(), torch.get_rng_state()
    with guard_side_effects(subject) as found:
        act(subject)
    after = subject.state_dict()

    assert told == found.to_check().text
    assert ("pass" if told.startswith("weights") else "fail") == found.to_check().grade
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(module.training for module in subject.modules())
    assert all(one.grad is None for one in subject.parameters())
    assert randoms[0] == random.getstate()
    assert torch.equal(randoms[1], torch.get_rng_state())


def test_a_gradient_added_to_in_place_is_told_and_put_back() -> None:
    subject = model()
    differentiates(subject)
    weight = next(subject.parameters())
    gradient, values = weight.grad, weight.grad.clone() if weight.grad is not None else None
    with guard_side_effects(subject) as found:
        differentiates(subject)

    assert "gradients were left on the weights" == found.to_check().text
    assert gradient is weight.grad
    assert values is not None
    assert gradient is not None
    assert torch.equal(values, gradient)


def test_weights_that_require_gradients_again_are_told_and_frozen_again() -> None:
    subject = model().requires_grad_(False)
    with guard_side_effects(subject) as found:
        subject.requires_grad_(True)

    assert "requires_grad was changed" == found.to_check().text
    assert not any(one.requires_grad for one in subject.parameters())


def exchanges(one: nn.Module) -> None:
    one[0] = nn.Identity()  # type: ignore[operator]  # a Sequential


@pytest.mark.parametrize(
    "act", [exchanges, lambda one: one.half(), lambda one: one.add_module("more", nn.ReLU())]
)
def test_a_layer_that_is_exchanged_converted_or_added_is_told_and_put_back(
    act: Callable[[nn.Module], object],
) -> None:
    subject = model()
    before = {name: tensor.clone() for name, tensor in subject.state_dict().items()}
    said = subject(torch.ones(3, 2))
    with guard_side_effects(subject) as found:
        act(subject)

    assert "the model's state was changed" == found.to_check().text
    assert before.keys() == subject.state_dict().keys()
    assert all(torch.equal(before[name], tensor) for name, tensor in subject.state_dict().items())
    assert torch.equal(said, subject(torch.ones(3, 2)))


def test_what_is_changed_before_an_error_is_put_back_too() -> None:
    subject = model()
    before = {name: tensor.clone() for name, tensor in subject.state_dict().items()}
    randoms = torch.get_rng_state()

    def fails() -> None:
        trains(subject)
        subject.train()
        draws(subject)
        raise ValueError("no luck")

    with pytest.raises(ValueError, match="no luck"), guard_side_effects(subject):
        fails()

    assert all(torch.equal(before[name], tensor) for name, tensor in subject.state_dict().items())
    assert not any(module.training for module in subject.modules())
    assert torch.equal(randoms, torch.get_rng_state())


def test_the_random_state_of_cuda_is_watched_where_it_is_in_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    devices = [torch.tensor([1, 2]), torch.tensor([3])]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: [one.clone() for one in devices])
    monkeypatch.setattr(
        torch.cuda, "set_rng_state_all", lambda states: devices.__setitem__(slice(None), states)
    )
    with guard_side_effects(None) as found:
        devices[1] += 1

    assert "global random state was used: CUDA" == found.to_check().text
    assert [[1, 2], [3]] == [one.tolist() for one in devices]
