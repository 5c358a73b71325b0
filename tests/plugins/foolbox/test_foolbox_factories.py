from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from advtransfer.host import Host
from advtransfer.options import Options
from advtransfer.suite import load
from advtransfer.types import Evaluation, Factory, Json, metadata_of
from advtransfer_foolbox import register_evaluations
from advtransfer_foolbox.attack_settings import EpsMultiple
from advtransfer_foolbox.components.ensembles import ensemble
from advtransfer_foolbox.components.gradient import fgsm, pgd

PGD: dict[str, Any] = {
    "norm": "linf",
    "eps": 0.1,
    "steps": 20,
    "step_size": 0.0125,
}  # Any: options as YAML has them


def test_the_plugin_imports_no_heavy_library() -> None:
    heavy = ("torch", "numpy", "sklearn", "foolbox", "eagerpy")
    code = f"import sys, advtransfer_foolbox; print(*{{*{heavy}}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "" == done.stdout.strip()


def test_the_plugin_brings_clean_accuracy_and_one_evaluation_for_each_attack() -> None:
    names = [factory.__name__ for factory in register_evaluations()]

    gradient_names = ["clean_accuracy", "fgsm", "pgd", "basic_iterative", "attacked_loss"]
    assert gradient_names == names[:5]
    assert [
        "deepfool",
        "carlini_wagner",
        "brendel_bethge",
        "boundary",
        "noise",
        "ensemble",
        "apgd",
        "autoattack",
        "fab",
        "square",
        "mean_class_accuracy",
        "norm_union",
    ] == names[5:]
    for factory in register_evaluations():
        assert {"model"} == metadata_of(factory).needs


def test_the_record_of_pgd_says_every_setting() -> None:
    values, faults = Options.from_factory(pgd).validate(PGD)

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
        ({"step_size": {"times_eps": 0}}, ("step_size",)),
        ({"step_size": {"times_eps": 0.1, "pixels": 0.1}}, ("step_size", "pixels")),
        ({"restarts": 0}, ("restarts",)),
        ({"norm": "l0"}, ("norm",)),
        ({"targets": 0}, ("targets",)),
        ({"seed": -1}, ("seed",)),
        ({"rel_stepsize": 0.1}, ("rel_stepsize",)),
    ],
)
def test_invalid_setting_is_a_fault_at_its_path(
    change: dict[str, Json], path: tuple[str | int, ...]
) -> None:
    _, faults = Options.from_factory(pgd).validate({**PGD, **change})

    assert [path] == [fault.path for fault in faults]


def test_the_step_size_has_no_default() -> None:
    _, faults = Options.from_factory(pgd).validate({"norm": "linf", "eps": 0.1, "steps": 20})

    assert ["no option 'step_size'"] == [fault.found for fault in faults]


def test_restarts_without_a_random_start_are_an_error() -> None:
    with pytest.raises(
        ValueError, match="restarts: 1 without a random start, since all would be the same, not 2"
    ):
        pgd(norm="linf", eps=0.1, steps=1, step_size=0.1, restarts=2, random_start=False)


def test_targets_without_a_targeted_loss_are_an_error() -> None:
    with pytest.raises(ValueError, match="targets: none unless loss is targeted_margin, not 3"):
        pgd(norm="linf", eps=0.1, steps=1, step_size=0.1, targets=3)


def test_a_step_size_is_a_length_or_a_multiple_of_eps() -> None:
    relative, faults = Options.from_factory(pgd).validate(
        {**PGD, "step_size": {"times_eps": 0.125}}
    )
    attack: dict[str, Json] = {"kind": "pgd", "steps": 3, "step_size": {"times_eps": 0.125}}
    union, mistakes = Options.from_factory(ensemble).validate(
        {"norm": "linf", "eps": 0.1, "attacks": [attack]}
    )

    assert [] == faults == mistakes
    assert {"times_eps": 0.125} == relative["step_size"]
    assert Options.from_factory(pgd).validate(PGD)[0] == {**relative, "step_size": 0.0125}
    assert (
        EpsMultiple(times_eps=0.125)
        == Options.from_factory(pgd).python_values(relative)["step_size"]
    )
    assert [attack] == [
        {key: one[key] for key in attack} for one in cast("list[dict[str, Json]]", union["attacks"])
    ]


def test_missing_numba_error_says_how_to_install_it() -> None:
    code = """
import sys
sys.modules["numba"] = None  # as where it is not installed
from advtransfer.errors import MissingLibrary
from advtransfer.host import Host
try:
    Host.discover().component("foolbox/brendel_bethge").build({"norm": "l2", "eps": 0.1}, {})
except MissingLibrary as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "needs the library 'numba', which is not installed; run: " in done.stdout


SUITE = """
datasets: {d: {use: vision/digits}}
sources: {s: {use: vision/random_init, data: d}}
targets: {t: {data: d, n: [50], seeds: 1}}
transfers: {p: {use: finetune/linear_probe}}
evaluations: {named: {use: NAMED}, written: {use: WRITTEN}}
"""
FGSM_WRITTEN = {"chan2020-fgsm": "norm: linf, eps: 8/255, random_start: false"}
PGD_WRITTEN = {
    **{
        f"chan2020-pgd{k}": f"norm: linf, eps: 8/255, steps: {k}, step_size: 2/255"
        for k in (5, 10, 20, 50, 100)
    },
    "madry2018-mnist": "norm: linf, eps: 0.3, steps: 40, step_size: 0.01",
    "madry2018-cifar10": "norm: linf, eps: 8/255, steps: 20, step_size: 2/255",
}


@pytest.mark.parametrize(
    ("factory", "written"), [(fgsm, FGSM_WRITTEN), (pgd, PGD_WRITTEN)], ids=["fgsm", "pgd"]
)
def test_a_preset_is_the_options_that_the_paper_writes_out(
    factory: Factory[Evaluation], written: dict[str, str], tmp_path: Path
) -> None:
    path, use = tmp_path / "presets.yaml", f"foolbox/{factory.__name__}"
    for preset, options in written.items():
        path.write_text(
            SUITE.replace("NAMED", f"{use}, preset: {preset}").replace(
                "WRITTEN", f"{use}, {options}"
            )
        )
        named, full = load(str(path), Host.discover()).evaluations

        assert full.node.id == named.node.id
    assert written.keys() == metadata_of(factory).presets.keys()


def test_options_added_later_leave_the_id_while_they_equal_their_defaults() -> None:
    values, faults = Options.from_factory(pgd).validate({**PGD, "counts": False, "targets": None})

    assert [] == faults
    assert {"counts", "targets"}.isdisjoint(values)
    assert Options.from_factory(pgd).validate({**PGD, "counts": True})[0]["counts"] is True
