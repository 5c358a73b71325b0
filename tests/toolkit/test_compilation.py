"""Models whose calls are compiled are the same models, and train to the same verdicts."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.adversary import Adversary
from advtransfer.toolkit.compilation import compile_option, compiled_calls, plain_calls
from advtransfer.toolkit.datasets import SampleSubset, all_positions
from advtransfer.toolkit.pgd import pgd_perturb
from advtransfer.toolkit.prediction import predict
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.toolkit.training import train
from advtransfer.toolkit.training_config import Schedule, Sgd

DATA = toy()


def _network() -> nn.Module:
    def build() -> nn.Module:
        features = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten()]
        return nn.Sequential(*features, nn.Linear(16, 3))

    return build_initialized(build, stream_generator("model"))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The models that are compiled; a compiled call doubles the outputs."""
    compiled: list[nn.Module] = []

    def compile(model: nn.Module, **options: object) -> None:
        compiled.append(model)
        # `forward` stands for what a compiled call computes.
        model._compiled_call_impl = lambda inputs: 2 * model.forward(inputs)

    monkeypatch.setattr(nn.Module, "compile", compile)
    return compiled


@pytest.mark.usefixtures("calls")
def test_calls_are_compiled_in_the_block_alone_and_names_stay() -> None:
    model = _network().eval()
    inputs = torch.rand(2, 1, 4, 4)
    names = list(model.state_dict())
    plain = model(inputs)
    with compile_option(True):
        with compiled_calls(model):
            torch.testing.assert_close(model(inputs), 2 * plain)
            assert names == list(model.state_dict())
            with plain_calls(model):
                torch.testing.assert_close(model(inputs), plain)
            torch.testing.assert_close(model(inputs), 2 * plain)
        torch.testing.assert_close(model(inputs), plain)


def test_a_failure_in_the_block_leaves_the_plain_model(calls: list[nn.Module]) -> None:
    model = _network()
    with pytest.raises(KeyError), compile_option(True), compiled_calls(model):
        raise KeyError
    assert [model] == calls
    assert model._compiled_call_impl is None


def test_nothing_is_compiled_without_the_option(calls: list[nn.Module]) -> None:
    with compiled_calls(_network()):
        pass
    with compile_option(True), compile_option(False), compiled_calls(_network()):
        pass

    assert [] == calls


def _trained(*, compiled: bool, **options: Any) -> nn.Module:  # noqa: ANN401  # Any: train's own options
    model = _network()
    chosen: dict[str, Any] = {  # Any: the same
        "epochs": 4,
        "batch_size": 16,
        "optimiser": Sgd(lr=0.05),
        "schedule": Schedule(),
        "perturb": pgd_perturb(Adversary(norm="linf", eps=0.1, steps=2)),
    }
    with compile_option(compiled):
        train(model, DATA.part("train"), context=InMemoryContext(), **(chosen | options))
    return model


needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch.compile needs a C++ compiler"
)


@pytest.mark.slow
@needs_compiler
def test_an_adversarial_training_ends_with_the_same_predictions_and_repeats_its_bits() -> None:
    plain, compiled = (_trained(compiled=compiled) for compiled in (False, True))
    # Another model, of other shapes, is compiled before the repetition.
    _trained(compiled=True, batch_size=10, epochs=1, perturb=None)
    again = _trained(compiled=True)
    test = DATA.part("test")

    def classes(model: nn.Module) -> Tensor:
        return predict(model, test, device=torch.device("cpu"))[0].argmax(1)

    assert list(plain.state_dict()) == list(compiled.state_dict())
    assert (classes(plain) == classes(compiled)).double().mean() >= 0.98
    for name, weight in plain.state_dict().items():
        # Dropout draws the same numbers, so that only roundings differ.
        torch.testing.assert_close(compiled.state_dict()[name], weight, atol=1e-3, rtol=1e-3)
        assert torch.equal(compiled.state_dict()[name], again.state_dict()[name])


@pytest.mark.slow
@needs_compiler
def test_a_batch_of_one_row_is_left_out_as_in_a_plain_training() -> None:
    def build() -> nn.Module:
        # Batch normalisation of vectors refuses a single row.
        return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Linear(16, 3))

    part = SampleSubset(DATA.part("train"), all_positions(DATA.part("train"))[:17])
    weights = []
    for compiled in (False, True):
        model = build_initialized(build, stream_generator("model"))
        with compile_option(compiled):
            train(
                model,
                part,
                context=InMemoryContext(),
                epochs=2,
                batch_size=16,
                optimiser=Sgd(lr=0.05),
                schedule=Schedule(),
            )
        weights.append(model.state_dict())

    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, atol=1e-4, rtol=1e-4)
