from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advtransfer.errors import Cancelled, Diverged
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit import checkpoint
from advtransfer.toolkit.adversary import Adversary, TrainingNorm
from advtransfer.toolkit.datasets import SampleSubset, all_positions
from advtransfer.toolkit.pgd import pgd_perturb
from advtransfer.toolkit.prediction import measure_accuracy
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.toolkit.training import train
from advtransfer.toolkit.training_config import Adam, OptimizerConfig, Schedule, Sgd

DATA = toy()
CONSTANT = Schedule(kind="constant")


@pytest.fixture(autouse=True)
def _every_state_is_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """How often states are saved does not hang on this machine's clock."""
    monkeypatch.setattr(checkpoint, "MAX_CHECKPOINT_OVERHEAD", 1e9)


def _linear() -> nn.Module:
    return build_initialized(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), stream_generator("model")
    )


def _noisy() -> nn.Module:
    """A model with all that makes resuming hard: dropout, and batch normalisation with running averages."""

    def build() -> nn.Module:
        features = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten()]
        return nn.Sequential(*features, nn.Linear(16, 3))

    return build_initialized(build, stream_generator("model"))


def _train(
    model: nn.Module,
    context: InMemoryContext,
    **options: Any,  # noqa: ANN401  # Any: train's own options
) -> list[dict[str, float]]:
    chosen: dict[str, Any] = {
        "epochs": 4,
        "batch_size": 16,
        "optimiser": Sgd(),
        "schedule": Schedule(),
    }
    return train(model, DATA.part("train"), context=context, **(chosen | options))


def _weights(model: nn.Module) -> Tensor:
    return torch.cat([tensor.flatten().double() for tensor in model.state_dict().values()])


def test_a_separable_data_set_is_learned() -> None:
    model = _linear()
    curves = _train(model, InMemoryContext(), epochs=10)

    assert 1.0 == measure_accuracy(model, DATA.part("test"), device=torch.device("cpu"))
    assert 1.0 == curves[-1]["train_accuracy"]
    assert list(range(1, 11)) == [row["epoch"] for row in curves]
    assert curves[-1]["train_loss"] < curves[0]["train_loss"]


def test_one_step_goes_down_the_gradient_by_the_learning_rate() -> None:
    model, lr = _linear(), 0.3
    inputs, labels = (
        DATA.part("train").inputs(torch.arange(60)),
        DATA.part("train").labels(torch.arange(60)),
    )
    layer = model[1] if isinstance(model, nn.Sequential) else None
    assert isinstance(layer, nn.Linear)
    with torch.no_grad():
        surplus = layer(inputs.flatten(1)).softmax(1) - nn.functional.one_hot(labels)
        expected = layer.weight - lr * surplus.T @ inputs.flatten(1) / 60
    plain = Sgd(lr=lr, momentum=0, weight_decay=0)
    _train(model, InMemoryContext(), epochs=1, batch_size=60, optimiser=plain, schedule=CONSTANT)

    assert expected.allclose(layer.weight, atol=1e-6)


@pytest.mark.parametrize("stopped_after", [1, 2, 3])
@pytest.mark.parametrize("save_every", [1, 2])
@pytest.mark.parametrize("optimiser", [Sgd(), Sgd(momentum=0), Adam(weight_decay=0.1)])
def test_a_stopped_training_continues_to_the_same_bits(
    optimiser: OptimizerConfig, save_every: int, stopped_after: int
) -> None:
    options = {
        "optimiser": optimiser,
        "save_every": save_every,
        "perturb": pgd_perturb(Adversary(eps=0.1, steps=2)),
        "validation": DATA.part("test"),
    }
    whole = _noisy()
    curves = _train(whole, InMemoryContext(), **options)
    context = InMemoryContext(cancel_after=stopped_after)
    with pytest.raises(Cancelled):
        _train(_noisy(), context, **options)
    resumed, continued = _noisy(), context.resumed()

    assert curves == _train(resumed, continued, **options)
    assert _weights(whole).equal(_weights(resumed))
    assert 4 - stopped_after // save_every * save_every == len(continued.told)


def test_equal_seeds_give_equal_bits_and_different_seeds_do_not() -> None:
    models = [_noisy(), _noisy(), _noisy()]
    for model, seed in zip(models, (0, 0, 1), strict=True):
        _train(model, InMemoryContext(seed))
        torch.rand(1)

    assert _weights(models[0]).equal(_weights(models[1]))
    assert not _weights(models[0]).equal(_weights(models[2]))


def test_two_trainings_in_one_context_do_not_read_each_others_state() -> None:
    context, first, second = InMemoryContext(), _linear(), _linear()
    _train(first, context, stream="head")
    _train(second, context, stream="blocks")

    assert 8 == len(context.told)
    assert not _weights(first).equal(_weights(second))


def test_global_randomness_is_left_alone() -> None:
    before = torch.get_rng_state()
    _train(_noisy(), InMemoryContext())

    assert before.equal(torch.get_rng_state())


def test_layers_draw_new_noise_in_every_step_and_the_same_in_every_run() -> None:
    drawn: list[float] = []

    def watched(
        model: nn.Module, inputs: Tensor, labels: Tensor, source: torch.Generator
    ) -> Tensor:
        drawn.append(torch.rand(1).item())
        return inputs

    _train(_linear(), InMemoryContext(), perturb=watched)
    _train(_linear(), InMemoryContext(), perturb=watched)

    assert 16 == len(set(drawn))
    assert drawn[:16] == drawn[16:]


def test_measuring_validation_changes_no_weight() -> None:
    with_it, without = _noisy(), _noisy()
    curves = _train(with_it, InMemoryContext(), validation=DATA.part("test"))
    _train(without, InMemoryContext())

    assert _weights(with_it).equal(_weights(without))
    assert (
        measure_accuracy(with_it, DATA.part("test"), device=torch.device("cpu"))
        == curves[-1]["validation_accuracy"]
    )


def test_only_parameters_that_require_gradients_are_trained() -> None:
    model = _noisy()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("5"))
    _train(model, InMemoryContext())
    changed = {
        name for name, parameter in model.named_parameters() if not before[name].equal(parameter)
    }

    assert {"5.weight", "5.bias"} == changed


def test_the_training_mode_is_the_callers_choice() -> None:
    adapting, fixed = _noisy(), _noisy()
    _train(adapting, InMemoryContext())
    _train(fixed, InMemoryContext(), mode=nn.Module.eval)

    assert (
        not _noisy().state_dict()["1.running_mean"].equal(adapting.state_dict()["1.running_mean"])
    )
    assert _noisy().state_dict()["1.running_mean"].equal(fixed.state_dict()["1.running_mean"])


def test_the_model_ends_in_eval_mode() -> None:
    model = _noisy()
    _train(model, InMemoryContext(), epochs=1)

    assert not any(module.training for module in model.modules())


def test_training_uses_the_perturbed_inputs() -> None:
    def blank(model: nn.Module, inputs: Tensor, labels: Tensor, source: torch.Generator) -> Tensor:
        return torch.zeros_like(inputs)

    model = _linear()
    _train(model, InMemoryContext(), perturb=blank, optimiser=Sgd(weight_decay=0))

    assert _linear().state_dict()["1.weight"].equal(model.state_dict()["1.weight"])
    assert not _linear().state_dict()["1.bias"].equal(model.state_dict()["1.bias"])


def test_progress_is_reported_after_every_epoch() -> None:
    context = InMemoryContext()
    curves = _train(_linear(), context)

    assert [
        {"done": row["epoch"], "total": 4, "loss": row["train_loss"]} for row in curves
    ] == context.told


def test_a_loss_that_is_not_finite_stops_the_training_and_names_the_epoch() -> None:
    broken = _linear()
    nn.init.constant_(next(broken.parameters()), torch.nan)
    with pytest.raises(Diverged, match="diverged in epoch 1: loss nan"):
        _train(broken, InMemoryContext())
    with pytest.raises(Diverged) as later:
        _train(
            _linear(),
            InMemoryContext(),
            optimiser=Sgd(lr=1e30),
            schedule=Schedule(kind="constant"),
            batch_size=60,
        )

    assert 2 <= later.value.epoch


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_broken_model_stops_the_training_despite_the_attack(
    norm: TrainingNorm,
) -> None:
    broken = _linear()
    nn.init.constant_(next(broken.parameters()), torch.nan)
    with pytest.raises(Diverged, match="diverged in epoch 1: loss nan"):
        _train(broken, InMemoryContext(), perturb=pgd_perturb(Adversary(norm=norm, eps=0.1)))


def test_no_samples_are_an_error() -> None:
    nothing = SampleSubset(DATA.part("train"), all_positions(DATA.part("train"))[:0])
    with pytest.raises(ValueError, match="found no samples to train on"):
        train(
            _linear(),
            nothing,
            epochs=1,
            batch_size=1,
            optimiser=Sgd(),
            schedule=CONSTANT,
            context=InMemoryContext(),
        )
