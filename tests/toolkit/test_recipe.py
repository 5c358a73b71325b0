from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from advtransfer.options import Options
from advtransfer.toolkit.recipe import Adam, Adversary, Schedule, Sgd


def test_a_recipe_needs_no_torch() -> None:
    code = "import sys, advtransfer.toolkit.recipe; print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "[]" == found.stdout.strip()


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        (Schedule(kind="constant"), {0.0: 1, 0.9: 1}),
        (Schedule(kind="cosine"), {0.0: 1, 0.5: 0.5, 1.0: 0}),
        (Schedule(kind="linear"), {0.0: 1, 0.25: 0.75, 1.0: 0}),
        (Schedule(kind="step"), {0.0: 1, 0.49: 1, 0.5: 0.1, 0.75: 0.01}),
        (Schedule(kind="step", milestones=(0.33, 0.66, 0.99)), {32 / 100: 1, 33 / 100: 0.1, 66 / 100: 0.01, 1: 1e-3}),
        (Schedule(kind="constant", warmup=0.5), {0.0: 0, 0.25: 0.5, 0.5: 1, 0.75: 1}),
        (Schedule(kind="linear", warmup=0.5), {0.25: 0.5, 0.5: 1, 0.75: 0.5, 1.0: 0}),
    ],
)
def test_the_learning_rate_follows_its_schedule(schedule: Schedule, factors: dict[float, float]) -> None:
    assert factors == pytest.approx({done: schedule.factor(done) for done in factors})


def test_an_adversary_steps_two_and_a_half_radii_in_all_unless_told() -> None:
    assert 0.0625 == pytest.approx(Adversary(eps=0.1, steps=4).step)
    assert 0.01 == Adversary(eps=0.1, steps=4, step_size=0.01).step


def test_an_adversary_is_named_by_its_ball() -> None:
    assert "linf eps 0.1" == str(Adversary(eps=0.1))
    assert "l2 eps 3" == str(Adversary(norm="l2", eps=3.0))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Sgd(lr=0), "lr: a number above 0, not 0"),
        (lambda: Sgd(momentum=1), "momentum: a number from 0 to below 1, not 1"),
        (lambda: Sgd(weight_decay=-1), "weight_decay: a number from 0, not -1"),
        (lambda: Sgd(momentum=0, nesterov=True), "nesterov: false without momentum, not True"),
        (lambda: Adam(lr=-1), "lr: a number above 0, not -1"),
        (lambda: Adam(weight_decay=-1), "weight_decay: a number from 0, not -1"),
        (lambda: Schedule(milestones=(0.5, 2)), r"milestones: shares of the training, from 0 to 1, not \(0.5, 2\)"),
        (lambda: Schedule(gamma=0), "gamma: a number above 0, not 0"),
        (lambda: Schedule(warmup=1), "warmup: a share from 0 to below 1, not 1"),
        (lambda: Adversary(eps=0), "eps: a number above 0, not 0"),
        (lambda: Adversary(eps=8), "eps: at most 1 in linf: inputs lie in .0, 1., not 8"),
        (lambda: Adversary(eps=0.1, steps=0), "steps: at least 1, not 0"),
        (lambda: Adversary(eps=0.1, step_size=0), "step_size: a number above 0, not 0"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_recipes_can_be_options_of_a_factory() -> None:
    def factory(*, optimiser: Sgd | Adam, adversary: Adversary | None = None) -> None: ...

    values, faults = Options.of(factory).validate({"optimiser": {"kind": "adam"}, "adversary": {"eps": 0.5}})

    assert [] == faults
    assert {"kind": "adam", "lr": 0.001, "weight_decay": 0.0} == values["optimiser"]
    assert {"norm": "linf", "eps": 0.5, "steps": 7, "step_size": None, "random_start": True} == values["adversary"]
