"""What TRADES, fast and free adversarial training minimise, held against their papers' formulas."""

from __future__ import annotations

from typing import TypeAlias

import pytest
import torch
from torch import Tensor, nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.adversarial_training import (
    FreeSteps,
    TradesLoss,
    kl_divergence,
    training_objective,
)
from advtransfer.toolkit.adversary import Adversary, Fast, Free, Trades
from advtransfer.toolkit.pgd import pgd_perturb
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.toolkit.training import train
from advtransfer.toolkit.training_config import Schedule, Sgd

Method: TypeAlias = Adversary | Trades | Fast | Free
DATA = toy(noise=0.4)
PLAIN, CONSTANT = Sgd(lr=0.1, momentum=0, weight_decay=0), Schedule(kind="constant")
TRADES = Trades(kind="trades", eps=0.2, steps=5, beta=3.0)


def _model() -> nn.Module:
    def build() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))

    return build_initialized(build, stream_generator("model"))


def _batch(count: int = 20) -> tuple[Tensor, Tensor]:
    part, positions = DATA.part("train"), torch.arange(count)
    return part.inputs(positions), part.labels(positions)


def _trained(adversary: Method | None, *, epochs: int = 3, batch_size: int = 25) -> nn.Module:
    model = _model()
    train(
        model,
        DATA.part("train"),
        epochs=epochs,
        batch_size=batch_size,
        optimiser=PLAIN,
        schedule=CONSTANT,
        context=InMemoryContext(),
        objective=training_objective(adversary),
    )
    return model


def _weights(model: nn.Module) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in model.state_dict().values()])


def test_the_divergence_equals_that_of_kullback_and_leibler() -> None:
    reference, other = torch.tensor([[0.5, 0.25, 0.25]]), torch.tensor([[0.25, 0.5, 0.25]])

    assert [0.25 * torch.tensor(2.0).log().item()] == pytest.approx(
        kl_divergence(reference.log(), other.log()).tolist()
    )


def test_trades_minimises_its_papers_loss_at_a_point_of_the_ball() -> None:
    model, (inputs, labels) = _model(), _batch()
    method = TradesLoss(TRADES, (0.0, 1.0))
    moved = method._find_adversarial(model, inputs, stream_generator("noise"))
    ((loss, logits),) = method(model, inputs, labels, stream_generator("noise"))
    clean, perturbed = model(inputs).softmax(1), model(moved).softmax(1)
    apart = (clean * (clean / perturbed).log()).sum(1).mean()

    assert (moved - inputs).abs().max() <= 0.2 + 1e-6
    assert 0 <= moved.min()
    assert moved.max() <= 1
    assert (nn.functional.cross_entropy(model(inputs), labels) + 3 * apart).item() == pytest.approx(
        loss.item()
    )
    assert model(inputs).allclose(logits)


def test_trades_searches_the_point_of_the_largest_divergence() -> None:
    model, (inputs, _) = _model(), _batch()
    clean = model(inputs).log_softmax(1)
    divergence = kl_divergence(
        clean,
        model(
            TradesLoss(TRADES, None)._find_adversarial(model, inputs, stream_generator("n"))
        ).log_softmax(1),
    )
    for draw in range(20):
        signs = torch.randn(inputs.shape, generator=stream_generator("signs", draw)).sign()
        assert (
            divergence >= kl_divergence(clean, model(inputs + 0.2 * signs).log_softmax(1)) - 1e-6
        ).all()


def test_the_gradient_of_trades_flows_through_both_predictions() -> None:
    model, (inputs, labels) = _model(), _batch()
    method = TradesLoss(TRADES, (0.0, 1.0))
    moved = method._find_adversarial(model, inputs, stream_generator("noise"))
    ((loss, _),) = method(model, inputs, labels, stream_generator("noise"))
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    clean, perturbed = model(inputs).log_softmax(1), model(moved).log_softmax(1)
    expected = torch.autograd.grad(
        nn.functional.nll_loss(clean, labels)
        + 3 * (clean.exp() * (clean - perturbed)).sum(1).mean(),
        list(model.parameters()),
    )

    assert all(
        gradient.allclose(other, atol=1e-6)
        for gradient, other in zip(gradients, expected, strict=True)
    )


def test_trades_is_for_classes() -> None:
    with pytest.raises(ValueError, match="found the task 'values' for TRADES; expected 'classes'"):
        training_objective(TRADES, task="values")


def test_fast_training_is_training_against_one_step_from_a_random_start() -> None:
    one_step = Adversary(eps=0.1, steps=1, step_size=0.125)

    assert _weights(_trained(one_step)).equal(_weights(_trained(Fast(kind="fast", eps=0.1))))


def test_free_training_takes_the_steps_of_its_algorithm() -> None:
    """Shafahi et al. (2019), algorithm 1, written out."""
    free = Free(kind="free", eps=0.1, replays=3)
    model, expected = _model(), _model()
    inputs, labels = _batch(20)
    delta = torch.zeros_like(inputs)
    for _ in range(3):
        delta.requires_grad_()
        seen = (inputs + delta).clamp(0, 1)
        # a pixel at a bound is moved as any other; one outside is not
        seen = torch.where(seen == inputs + delta, inputs + delta, seen.detach())
        loss = nn.functional.cross_entropy(expected(seen), labels)
        *weights, moved = torch.autograd.grad(loss, [*expected.parameters(), delta])
        with torch.no_grad():
            for parameter, gradient in zip(expected.parameters(), weights, strict=True):
                parameter.sub_(0.1 * gradient)
            delta = (delta + 0.1 * moved.sign()).clamp(-0.1, 0.1)
    steps = FreeSteps(free, "classes", (0.0, 1.0))
    for loss, _ in steps(model, inputs, labels, stream_generator("unused")):
        gradients = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter.sub_(0.1 * gradient)

    assert _weights(expected).allclose(_weights(model), atol=1e-6)
    assert delta.allclose(steps.state["delta"])
    assert 0.1 == pytest.approx(delta.abs().max().item())


def test_free_training_goes_on_from_the_perturbation_of_the_batch_before() -> None:
    steps = FreeSteps(Free(kind="free", eps=0.1, replays=1), "classes", (0.0, 1.0))
    model, (inputs, labels) = _model(), _batch(20)
    seen: list[Tensor] = []
    model.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].detach()))
    for count in (8, 20, 5):
        for loss, _ in steps(model, inputs[:count], labels[:count], stream_generator("unused")):
            loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward
        if count == 8:
            warm = steps.state["delta"].clone()

    assert inputs[:8].equal(seen[0])
    assert (inputs[:8] + warm).clamp(0, 1).equal(seen[1][:8])
    assert inputs[8:].equal(seen[1][8:])
    assert 20 == len(steps.state["delta"])


def test_free_training_with_one_replay_begins_as_natural_training() -> None:
    free = _trained(Free(kind="free", eps=0.1, replays=1), epochs=1, batch_size=60)

    assert _weights(_trained(None, epochs=1, batch_size=60)).allclose(_weights(free), atol=1e-7)


@pytest.mark.parametrize(
    "adversary",
    [
        Trades(kind="trades", eps=0.35),
        Fast(kind="fast", eps=0.35),
        Free(kind="free", eps=0.35, replays=2),
    ],
)
def test_each_method_makes_the_attack_succeed_less_often(adversary: Method) -> None:
    def left(model: nn.Module) -> float:
        inputs, labels = _batch(60)
        attack = pgd_perturb(Adversary(eps=0.35, steps=10))
        right: Tensor = (
            model(attack(model, inputs, labels, stream_generator("test"))).argmax(1) == labels
        )
        return right.float().mean().item()

    assert left(_trained(adversary, epochs=40)) > left(_trained(None, epochs=40)) + 0.1


def test_the_perturbations_build_no_gradient_of_weights() -> None:
    model, (inputs, labels) = _model(), _batch()
    for adversary in (Adversary(eps=0.1, steps=2, best=True), TRADES):
        for loss, _ in training_objective(adversary)(
            model, inputs, labels, stream_generator("noise")
        ):
            assert all(parameter.grad is None for parameter in model.parameters())
            assert all(parameter.requires_grad for parameter in model.parameters())
            assert loss.requires_grad
