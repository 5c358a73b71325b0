from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from advtransfer.options import Options
from advtransfer.types import Json, facts_of
from advtransfer_foolbox import clean_accuracy, fgsm, pgd, register_evaluations

PGD: dict[str, Any] = {"norm": "linf", "eps": 0.1, "steps": 20, "step_size": 0.0125}  # Any: options as YAML has them


def test_the_plugin_imports_no_heavy_library() -> None:
    code = (
        "import sys, advtransfer_foolbox; print(*{'torch', 'numpy', 'sklearn', 'foolbox', 'eagerpy'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "" == done.stdout.strip()


def test_the_plugin_brings_three_evaluations_of_a_model() -> None:
    assert [clean_accuracy, fgsm, pgd] == list(register_evaluations())
    for factory in register_evaluations():
        assert {"model"} == facts_of(factory).needs


def test_the_record_of_pgd_says_every_setting() -> None:
    values, faults = Options.of(pgd).validate(PGD)

    assert [] == faults
    assert {
        **PGD,
        "restarts": 1,
        "random_start": True,
        "loss": "cross_entropy",
        "seed": 0,
    } == values


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"eps": -0.1}, ("eps",)),
        ({"eps": [0.1, -0.1]}, ("eps", 1)),
        ({"eps": []}, ("eps",)),
        ({"steps": 0}, ("steps",)),
        ({"step_size": 0}, ("step_size",)),
        ({"restarts": 0}, ("restarts",)),
        ({"norm": "l1"}, ("norm",)),
        ({"seed": -1}, ("seed",)),
        ({"rel_stepsize": 0.1}, ("rel_stepsize",)),
    ],
)
def test_a_setting_that_makes_no_sense_is_a_fault(change: dict[str, Json], path: tuple[str | int, ...]) -> None:
    _, faults = Options.of(pgd).validate({**PGD, **change})

    assert [path] == [fault.path for fault in faults]


def test_the_step_size_has_no_default() -> None:
    _, faults = Options.of(pgd).validate({"norm": "linf", "eps": 0.1, "steps": 20})

    assert ["no option 'step_size'"] == [fault.found for fault in faults]


def test_restarts_without_a_random_start_are_an_error() -> None:
    with pytest.raises(ValueError, match="found restarts 2; expected 1 without a random start"):
        pgd(norm="linf", eps=0.1, steps=1, step_size=0.1, restarts=2, random_start=False)
