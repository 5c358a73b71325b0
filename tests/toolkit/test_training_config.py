from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from advtransfer.options import Options
from advtransfer.toolkit.training_config import Adam, Augment, OptimizerConfig, Schedule, Sgd
from advtransfer.types import Json


def test_training_options_do_not_import_torch() -> None:
    code = "import sys, advtransfer.toolkit.adversary; print(sorted({'torch', 'numpy', 'pydantic'} & set(sys.modules)))"
    completed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert "[]" == completed.stdout.strip()


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        (Schedule(kind="constant"), {0.0: 1, 0.9: 1}),
        (Schedule(kind="cosine"), {0.0: 1, 0.5: 0.5, 1.0: 0}),
        (Schedule(kind="linear"), {0.0: 1, 0.25: 0.75, 1.0: 0}),
        (Schedule(kind="step"), {0.0: 1, 0.49: 1, 0.5: 0.1, 0.75: 0.01}),
        (
            Schedule(kind="step", milestones=(0.33, 0.66, 0.99)),
            {32 / 100: 1, 33 / 100: 0.1, 66 / 100: 0.01, 1: 1e-3},
        ),
        (Schedule(kind="constant", warmup=0.5), {0.0: 0, 0.25: 0.5, 0.5: 1, 0.75: 1}),
        (Schedule(kind="linear", warmup=0.5), {0.25: 0.5, 0.5: 1, 0.75: 0.5, 1.0: 0}),
    ],
)
def test_the_learning_rate_follows_its_schedule(
    schedule: Schedule, factors: dict[float, float]
) -> None:
    assert factors == pytest.approx({done: schedule.rate_factor(done) for done in factors})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Sgd(lr=0), "lr: a number above 0, not 0"),
        (lambda: Sgd(momentum=1), "momentum: a number from 0 to below 1, not 1"),
        (lambda: Sgd(weight_decay=-1), "weight_decay: a number from 0, not -1"),
        (lambda: Sgd(momentum=0, nesterov=True), "nesterov: false without momentum, not True"),
        (lambda: Adam(lr=-1), "lr: a number above 0, not -1"),
        (lambda: Adam(weight_decay=-1), "weight_decay: a number from 0, not -1"),
        (
            lambda: Schedule(milestones=(0.5, 2)),
            r"milestones: shares of the training, from 0 to 1, not \(0.5, 2\)",
        ),
        (lambda: Schedule(gamma=0), "gamma: a number above 0, not 0"),
        (lambda: Schedule(warmup=1), "warmup: a share from 0 to below 1, not 1"),
    ],
)
def test_invalid_training_options_are_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def _options(
    values: dict[str, Json],
) -> tuple[dict[str, Json], list[tuple[tuple[str | int, ...], str]]]:
    """Canonical values, and the faults as places and expectations."""

    def factory(*, optimiser: OptimizerConfig = Sgd(), augment: Augment = "none") -> None: ...  # noqa: B008  # frozen

    validated, faults = Options.from_factory(factory).validate(values)
    return validated, [(fault.path, fault.expected) for fault in faults]


def test_training_options_can_be_options_of_a_factory() -> None:
    values, faults = _options({"optimiser": {"kind": "adam"}, "augment": ["flip", "pad_crop"]})

    assert [] == faults
    assert {"kind": "adam", "lr": 0.001, "weight_decay": 0.0} == values["optimiser"]
    assert ["flip", "pad_crop"] == values["augment"]
    assert "none" == _options({})[0]["augment"]


def test_a_mistake_is_reported_for_the_named_optimizer_alone() -> None:
    assert [(("optimiser",), "lr: a number above 0, not -1.0")] == _options(
        {"optimiser": {"kind": "adam", "lr": -1}}
    )[1]
    assert [(("optimiser", "momentum"), "a key that it knows")] == _options(
        {"optimiser": {"kind": "adam", "momentum": 0.9}}
    )[1]


@pytest.mark.parametrize("value", ["sgd", 3, ["sgd"], {"kind": "lion"}, {"kind": 3}])
def test_an_unknown_optimizer_is_refused_with_the_known_kinds(value: Json) -> None:
    assert [(("optimiser",), "a mapping whose kind is 'sgd' or 'adam'")] == _options(
        {"optimiser": value}
    )[1]


@pytest.mark.parametrize("value", [[], "flip", ["flop"]])
def test_augmentations_are_a_list_of_known_names(value: Json) -> None:
    assert _options({"augment": value})[1]
