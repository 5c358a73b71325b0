"""L2-SP against closed forms (Li et al., 2018)."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.adversary import Adversary, Free
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.training_config import Schedule, Sgd
from advtransfer.types import Fitted, Tensors, Transfer
from advtransfer_finetune.components import full, l2_sp
from advtransfer_finetune.starting_point import StartingPointPenalty
from advtransfer_finetune.target_model import TargetModel, as_target_model

PLAIN = Sgd(lr=0.05, weight_decay=0.0)
CONSTANT = Schedule(kind="constant")


def fit(transfer: Transfer, source: BlockNetwork) -> tuple[nn.Module, Fitted]:
    data = toy(noise=0.9)
    model = transfer.model(source=source, adapter=None, target=data.card())
    fitted = transfer.fit(
        model,
        source=source,
        adapter=None,
        train=data.part("train"),
        validation=None,
        context=InMemoryContext(),
    )
    return model, fitted


def assert_equal_bits(states: Tensors, others: Tensors) -> None:
    assert set(states) == set(others)
    assert [] == [name for name, tensor in states.items() if not tensor.equal(others[name])]


@pytest.mark.parametrize(
    "adversary",
    [None, Adversary(eps=0.1, steps=2), Free(kind="free", eps=0.1, replays=2)],
    ids=["natural", "pgd", "free"],
)
def test_without_weights_it_is_full_fine_tuning_to_the_bit(
    source: BlockNetwork, adversary: Adversary | Free | None
) -> None:
    shared = {"epochs": 4, "optimiser": PLAIN, "adversary": adversary, "snapshots": (1,)}
    penalized, fitted = fit(l2_sp(alpha=0, beta=0, **shared), source)  # type: ignore[arg-type]  # options of one factory
    plain, expected = fit(full(**shared), source)  # type: ignore[arg-type]  # as above

    assert_equal_bits(penalized.state_dict(), plain.state_dict())
    assert fitted.curves == expected.curves
    assert_equal_bits(fitted.snapshots[1], expected.snapshots[1])


def test_beta_alone_is_weight_decay_of_the_new_weights(source: BlockNetwork) -> None:
    def head_after(transfer: Transfer) -> torch.Tensor:
        return fit(transfer, source)[0].get_parameter("head.weight").detach()

    one_step = {"epochs": 1, "batch_size": 100, "schedule": CONSTANT}
    plain = head_after(full(optimiser=PLAIN, **one_step))  # type: ignore[arg-type]  # options of one factory
    decayed = head_after(full(optimiser=Sgd(lr=0.05, weight_decay=0.3), **one_step))  # type: ignore[arg-type]  # as above
    penalized = head_after(l2_sp(alpha=0, beta=0.3, optimiser=PLAIN, **one_step))  # type: ignore[arg-type]  # as above

    torch.testing.assert_close(penalized, decayed)
    assert not penalized.allclose(plain)


def test_a_source_without_weights_before_its_head_is_penalized_by_beta_alone() -> None:
    network = BlockNetwork({"pixels": nn.Flatten()}, nn.Linear(16, 4)).eval()
    model = as_target_model(l2_sp().model(source=network, adapter=None, target=toy().card()))
    penalty = StartingPointPenalty.from_model(model, alpha=0.7, beta=0.2)
    norm = sum(weight.square().sum().item() for weight in model.head.parameters())

    assert penalty().item() == pytest.approx(0.1 * norm)


def test_penalty_and_gradient_are_those_of_the_paper(source: BlockNetwork) -> None:
    model = as_target_model(full().model(source=source, adapter=None, target=toy().card()))
    penalty = StartingPointPenalty.from_model(model, alpha=0.7, beta=0.2)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    start = {parameter: parameter.detach().clone() for parameter in trained}
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in trained:
            parameter.add_(torch.randn(parameter.shape, generator=generator))
    heads = list(model.head.parameters())
    terms = [
        0.1 * weight.square().sum()
        if any(weight is head for head in heads)
        else 0.35 * (weight - start[weight]).square().sum()
        for weight in trained
    ]
    expected = torch.stack(terms).sum()
    gradients = torch.autograd.grad(penalty(), trained)

    torch.testing.assert_close(penalty(), expected)
    for weight, gradient in zip(trained, gradients, strict=True):
        is_head = any(weight is head for head in heads)
        torch.testing.assert_close(
            gradient, 0.2 * weight if is_head else 0.7 * (weight - start[weight])
        )


def test_a_large_alpha_holds_the_source_where_it_was(source: BlockNetwork) -> None:
    def distance(alpha: float) -> float:
        model, _ = fit(l2_sp(alpha=alpha, optimiser=PLAIN, epochs=10), source)
        moved = [
            (model.get_parameter(f"network.{name}") - weight).detach().flatten()
            for name, weight in source.named_parameters()
        ]
        return float(torch.cat(moved).norm())

    near, far = distance(10.0), distance(0.0)

    assert 0 < near < far / 10


class Ramp(nn.Module):
    """A block with one weight a, so that the minimum can be computed by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor([2.0]))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.gain * inputs.flatten(1)[:, :1]


def test_the_learned_adapter_counts_as_new() -> None:
    network = BlockNetwork(OrderedDict(ramp=Ramp()), nn.Linear(1, 2))
    adapter = nn.Conv2d(1, 1, 1)
    model = full().model(source=network, adapter=adapter, target=toy().card())
    assert isinstance(model, TargetModel)
    penalty = StartingPointPenalty.from_model(model, alpha=1.0, beta=1.0)

    assert [1] == [weight.numel() for weight in penalty.shared]
    new = {id(weight) for weight in (*model.adapter.parameters(), *model.head.parameters())}
    assert {id(weight) for weight in penalty.new} == new
