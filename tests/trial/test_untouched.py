"""An evaluation must leave everything as it found it; what it changes is told, and put back."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from advtransfer.trial.untouched import watched


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
        (lambda one: one(torch.ones(3, 2)), "weights, modes, .grad and global random state are as they were"),
        (trains, "the model's state was changed"),
        (lambda one: one.train(), "modules were left in another mode"),
        (differentiates, "gradients were left on the weights"),
        (draws, "global random state was used: random, numpy, torch"),
    ],
)
def test_what_an_evaluation_changes_is_told_and_put_back(act: Callable[[nn.Module], object], told: str) -> None:
    subject = model()
    before = {name: tensor.clone() for name, tensor in subject.state_dict().items()}
    randoms = random.getstate(), torch.get_rng_state()
    with watched(subject) as found:
        act(subject)
    after = subject.state_dict()

    assert told == found.check().text
    assert ("pass" if told.startswith("weights") else "fail") == found.check().grade
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(module.training for module in subject.modules())
    assert all(one.grad is None for one in subject.parameters())
    assert randoms[0] == random.getstate()
    assert torch.equal(randoms[1], torch.get_rng_state())
