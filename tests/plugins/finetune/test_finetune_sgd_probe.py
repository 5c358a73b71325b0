from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from advtransfer.errors import Cancelled, Diverged
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.prediction import predict
from advtransfer.toolkit.training_config import Schedule, Sgd
from advtransfer.types import Context, Fitted, Transfer
from advtransfer_finetune.components import linear_probe

CPU = torch.device("cpu")
DATA = toy(noise=0.9, train=90, test=60)


def fit(
    transfer: Transfer, source: BlockNetwork, *, context: Context | None = None
) -> tuple[nn.Module, Fitted]:
    model = transfer.model(source=source, adapter=None, target=DATA.card())
    fitted = transfer.fit(
        model,
        source=source,
        adapter=None,
        train=DATA.part("train"),
        validation=DATA.part("test"),
        context=context or InMemoryContext(),
    )
    return model, fitted


def probabilities(model: nn.Module) -> Tensor:
    return predict(model, DATA.part("test"), device=CPU)[0].softmax(1)


def test_small_steps_go_towards_the_optimum_of_the_convex_solver(source: BlockNetwork) -> None:
    optimum = probabilities(fit(linear_probe(), source)[0])
    gaps = []
    for epochs in (1, 10, 100):
        # C = 1 is a penalty of 1 / (C * n) on the mean loss. SGD also penalises the biases, which
        # leaves a small gap.
        steps = Sgd(lr=0.05, momentum=0.9, weight_decay=1 / 90)
        probe = linear_probe(
            solver="sgd",
            epochs=epochs,
            batch_size=90,
            optimiser=steps,
            schedule=Schedule(kind="constant"),
        )
        gaps.append((probabilities(fit(probe, source)[0]) - optimum).abs().mean().item())

    assert sorted(gaps, reverse=True) == gaps
    assert gaps[0] > 0.3
    assert gaps[-1] < 0.02


def test_features_are_standardised_as_the_convex_solver_standardises_them(
    source: BlockNetwork,
) -> None:
    trained, _ = fit(linear_probe(solver="sgd", epochs=1), source)
    solved, _ = fit(linear_probe(), source)

    for name in ("head.mean", "head.scale"):
        assert solved.get_buffer(name).equal(trained.get_buffer(name))


def test_sgd_probe_does_not_change_the_source(source: BlockNetwork) -> None:
    before = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    model, fitted = fit(linear_probe(solver="sgd", epochs=3), source)

    assert all(
        tensor.equal(model.state_dict()[f"network.{name}"]) for name, tensor in before.items()
    )
    assert {"head.weight", "head.bias"} == {
        name for name, parameter in model.named_parameters() if parameter.requires_grad
    }
    assert {"epoch", "train_loss", "train_accuracy", "validation_accuracy"} == set(fitted.curves[0])


def test_weights_may_start_from_a_normal_distribution(source: BlockNetwork) -> None:
    still = Sgd(lr=1e-30, weight_decay=0)
    model, _ = fit(
        linear_probe(solver="sgd", epochs=1, optimiser=still, head_init="normal"), source
    )
    usual, _ = fit(linear_probe(solver="sgd", epochs=1, optimiser=still), source)

    assert model.get_parameter("head.weight").std().item() == pytest.approx(1, abs=0.3)
    assert model.get_parameter("head.bias").abs().max() < 1e-20
    assert usual.get_parameter("head.weight").abs().max() <= 20**-0.5


def test_a_stopped_probe_continues_to_the_same_bits(source: BlockNetwork) -> None:
    probe = linear_probe(solver="sgd", epochs=20, snapshots=(2, 20))
    whole, expected = fit(probe, source)
    stopped = InMemoryContext(cancel_after=9)
    with pytest.raises(Cancelled):
        fit(probe, source, context=stopped)
    resumed, fitted = fit(probe, source, context=stopped.resumed())

    assert expected.curves == fitted.curves
    assert probabilities(whole).equal(probabilities(resumed))
    for epoch, weights in expected.snapshots.items():
        assert all(tensor.equal(fitted.snapshots[epoch][name]) for name, tensor in weights.items())
    assert [2, 20] == list(fitted.snapshots)


def test_too_long_steps_raise_diverged(source: BlockNetwork) -> None:
    with pytest.raises(Diverged):
        fit(linear_probe(solver="sgd", optimiser=Sgd(lr=1e30)), source)
