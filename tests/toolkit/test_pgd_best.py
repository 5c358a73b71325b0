"""Which iterate of an attack is kept, in which box, and in which mode the model is attacked."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from advtransfer.toolkit.adversary import Adversary, TrainingNorm
from advtransfer.toolkit.model_modes import in_eval_mode
from advtransfer.toolkit.pgd import pgd, pgd_perturb, projected_ascent
from advtransfer.toolkit.rng import build_initialized, stream_generator

LABELS = torch.arange(8) % 2


def _model() -> nn.Module:
    def build() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(9, 16), nn.Tanh(), nn.Linear(16, 2))

    model = build_initialized(build, stream_generator("model"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8)  # so curved that a step can overshoot
    return model


def _inputs() -> Tensor:
    return torch.rand((8, 1, 3, 3), generator=stream_generator("inputs"))


def _losses(model: nn.Module, inputs: Tensor) -> Tensor:
    return nn.functional.cross_entropy(model(inputs), LABELS, reduction="none").detach()


def _attacked(model: nn.Module, *, best: bool, steps: int, norm: TrainingNorm = "linf") -> Tensor:
    return pgd(
        model,
        _inputs(),
        LABELS,
        norm=norm,
        eps=0.3 if norm == "linf" else 0.9,
        steps=steps,
        step_size=0.85,  # so long that the ascent overshoots
        random_start=True,
        generator=stream_generator("start"),
        best=best,
    )


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_best_iterate_is_the_worst_that_any_number_of_steps_finds(norm: TrainingNorm) -> None:
    model = _model()
    lasts = torch.stack(
        [_losses(model, _attacked(model, best=False, steps=k, norm=norm)) for k in range(7)]
    )
    best = _losses(model, _attacked(model, best=True, steps=6, norm=norm))

    assert lasts.max(0).values.allclose(best)
    assert (best > lasts[-1] + 1e-3).any()


def test_the_best_iterate_stays_in_the_ball_and_carries_no_gradient() -> None:
    attacked = _attacked(_model(), best=True, steps=5)

    assert (attacked - _inputs()).abs().max() <= 0.3 + 1e-6
    assert not attacked.requires_grad


def test_a_loss_that_is_not_a_number_is_not_hidden_by_the_best_iterate() -> None:
    def losses(moved: Tensor) -> Tensor:
        losses = moved.flatten(1).sum(1)
        return torch.where(losses > 9 * 0.65, torch.nan, losses)

    inputs = torch.stack([torch.full((1, 3, 3), 0.5), torch.full((1, 3, 3), 0.1)])
    moved = projected_ascent(
        losses, inputs, 0 * inputs, norm="linf", eps=0.2, steps=3, step_size=0.1, best=True
    )

    assert [True, False] == losses(moved).isnan().tolist()


@pytest.mark.parametrize(
    ("bounds", "reached"), [(None, 1.5), ((-1.0, 1.2), 1.2), ((0.0, 1.0), 1.0)]
)
def test_perturbed_inputs_stay_in_the_bounds_of_the_data(
    bounds: tuple[float, float] | None, reached: float
) -> None:
    inputs = torch.ones(8, 4)
    moved = projected_ascent(
        lambda x: x.sum(1),
        inputs,
        0 * inputs,
        norm="linf",
        eps=0.5,
        steps=5,
        step_size=0.5,
        bounds=bounds,
    )

    assert [pytest.approx(reached)] * 8 == moved.amin(1).tolist()


def test_each_task_has_its_own_loss_to_ascend() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 2, bias=False))
    inputs = torch.full((2, 1, 3, 3), 0.5)
    with torch.no_grad():
        values = model(inputs) - torch.tensor([1.0, 0.0])  # one too much in the first output
    moved = pgd(
        model,
        inputs,
        values,
        norm="linf",
        eps=0.1,
        steps=1,
        step_size=0.1,
        random_start=False,
        generator=stream_generator("unused"),
        task="values",
    )
    weights = dict(model.named_parameters())["1.weight"][0].detach().view(1, 3, 3)

    assert (inputs + 0.1 * weights.sign()).allclose(moved, atol=1e-6)


def test_a_model_is_attacked_in_eval_mode_and_its_modes_are_restored() -> None:
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(9), nn.Dropout(0.5), nn.Linear(9, 2))
    model[2].eval()
    modes = [module.training for module in model.modules()]
    before = model[1].state_dict()["running_mean"].clone()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    pgd_perturb(Adversary(eps=0.1, steps=3, best=True))(
        model, _inputs(), LABELS, stream_generator("start")
    )

    assert modes == [module.training for module in model.modules()]
    assert before.equal(model[1].state_dict()["running_mean"])
    assert state.equal(torch.get_rng_state())


def test_modes_are_restored_after_an_error() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
    with pytest.raises(ZeroDivisionError), in_eval_mode(model):
        _ = 1 // any(module.training for module in model.modules())

    assert [True, True, False] == [module.training for module in model.modules()]
