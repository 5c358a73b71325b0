from __future__ import annotations

import subprocess
import sys

import pytest

from advtransfer.options import Options
from advtransfer.types import Json, facts_of
from advtransfer_finetune import blocks, linear_probe, register_transfers


def test_the_plugin_imports_no_heavy_library() -> None:
    code = "import sys, advtransfer_finetune; print(*{'torch', 'numpy', 'sklearn', 'scipy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "" == done.stdout.strip()


def test_the_plugin_brings_two_transfers_of_a_source() -> None:
    assert [linear_probe, blocks] == list(register_transfers())
    for factory in register_transfers():
        assert {"source"} == facts_of(factory).needs


@pytest.mark.parametrize("C", [0.5, [0.1, 1.0]])
def test_c_is_one_strength_or_a_list(C: float | list[float]) -> None:
    values, faults = Options.of(linear_probe).validate({"C": C})

    assert [] == faults
    assert {"C": C, "max_iterations": 10_000, "tolerance": 1e-6} == values


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"C": 0}, ("C",)),
        ({"C": []}, ("C",)),
        ({"C": [1.0, -1.0]}, ("C", 1)),
        ({"max_iterations": 0}, ("max_iterations",)),
        ({"tolerance": 0}, ("tolerance",)),
    ],
)
def test_a_probe_that_makes_no_sense_is_a_fault(options: dict[str, Json], path: tuple[str | int, ...]) -> None:
    _, faults = Options.of(linear_probe).validate(options)

    assert [path] == [fault.path for fault in faults]


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"blocks": -1}, ("blocks",)),
        ({"blocks": 1, "epochs": 0}, ("epochs",)),
        ({"blocks": 1, "batch_norm": "train"}, ("batch_norm",)),
        ({"blocks": 1, "optimiser": {"kind": "sgd", "lr": -1}}, ("optimiser",)),
    ],
)
def test_a_tuning_that_makes_no_sense_is_a_fault(options: dict[str, Json], path: tuple[str | int, ...]) -> None:
    _, faults = Options.of(blocks).validate(options)

    assert path in [fault.path[:1] for fault in faults]


def test_the_record_of_a_tuning_says_optimiser_and_schedule() -> None:
    values, faults = Options.of(blocks).validate({"blocks": 1})

    assert [] == faults
    assert {"blocks", "epochs", "batch_size", "optimiser", "schedule", "batch_norm"} == set(values)
    assert {"kind": "adam", "lr": 0.003, "weight_decay": 0.0} == values["optimiser"]
