"""Side effects of evaluations on a model and on random state are reported and undone."""

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


def trains(model: nn.Module) -> None:
    model.train()
    model(torch.ones(3, 2))
    model.eval()


def differentiates(model: nn.Module) -> None:
    model(torch.ones(3, 2)).sum().backward()


def draws(model: nn.Module) -> None:
    random.random()
    np.random.rand()
    torch.rand(1)


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (
            lambda model: model(torch.ones(3, 2)),
            "weights, modes, .grad and global random state are as they were",
        ),
        (trains, "the model's state was changed"),
        (lambda model: model.train(), "modules were left in another mode"),
        (differentiates, "gradients were left on the weights"),
        (draws, "global random state was used: random, numpy, torch"),
    ],
)
def test_changes_of_an_evaluation_are_reported_and_undone(
    act: Callable[[nn.Module], object], expected: str
) -> None:
    subject = model()
    before = {name: tensor.clone() for name, tensor in subject.state_dict().items()}
    randoms = random.getstate(), torch.get_rng_state()
    with guard_side_effects(subject) as found:
        act(subject)
    after = subject.state_dict()

    assert expected == found.to_check().text
    assert ("pass" if expected.startswith("weights") else "fail") == found.to_check().grade
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(module.training for module in subject.modules())
    assert all(parameter.grad is None for parameter in subject.parameters())
    assert randoms[0] == random.getstate()
    assert torch.equal(randoms[1], torch.get_rng_state())


def test_gradient_changed_in_place_is_reported_and_restored() -> None:
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


def test_unfrozen_weights_are_reported_and_frozen_again() -> None:
    subject = model().requires_grad_(False)
    with guard_side_effects(subject) as found:
        subject.requires_grad_(True)

    assert "requires_grad was changed" == found.to_check().text
    assert not any(parameter.requires_grad for parameter in subject.parameters())


def exchanges(model: nn.Module) -> None:
    model[0] = nn.Identity()  # type: ignore[operator]  # a Sequential


@pytest.mark.parametrize(
    "act",
    [exchanges, lambda model: model.half(), lambda model: model.add_module("more", nn.ReLU())],
)
def test_changed_layers_are_reported_and_restored(
    act: Callable[[nn.Module], object],
) -> None:
    subject = model()
    before = {name: tensor.clone() for name, tensor in subject.state_dict().items()}
    outputs = subject(torch.ones(3, 2))
    with guard_side_effects(subject) as found:
        act(subject)

    assert "the model's state was changed" == found.to_check().text
    assert before.keys() == subject.state_dict().keys()
    assert all(torch.equal(before[name], tensor) for name, tensor in subject.state_dict().items())
    assert torch.equal(outputs, subject(torch.ones(3, 2)))


def test_changes_before_an_error_are_undone() -> None:
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


def test_random_state_of_cuda_is_guarded_if_in_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    devices = [torch.tensor([1, 2]), torch.tensor([3])]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "get_rng_state_all", lambda: [state.clone() for state in devices]
    )
    monkeypatch.setattr(
        torch.cuda, "set_rng_state_all", lambda states: devices.__setitem__(slice(None), states)
    )
    with guard_side_effects(None) as found:
        devices[1] += 1

    assert "global random state was used: CUDA" == found.to_check().text
    assert [[1, 2], [3]] == [state.tolist() for state in devices]
