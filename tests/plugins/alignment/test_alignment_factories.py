from __future__ import annotations

import subprocess
import sys

import pytest

from advtransfer.options import Options
from advtransfer.types import Json, metadata_of
from advtransfer_alignment import register_evaluations
from advtransfer_alignment.components import (
    alignment,
    cka,
    dataset_distance,
    h_score,
    leep,
    logme,
    per_image,
    singular_directions,
    transfer_loss,
)
from advtransfer_alignment.options import (
    AscentConfig,
    LabelFreeFgsm,
    LabelFreePgd,
    Spectrum,
    VirtualAttack,
)
from advtransfer_alignment.transferred_components import (
    transferred,
    transferred_from_reference,
    transferred_from_source,
)


def test_the_plugin_imports_no_heavy_library() -> None:
    code = "import sys, advtransfer_alignment; print(*{'torch', 'numpy', 'scipy', 'sklearn'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "" == done.stdout.strip()


def test_evaluations_declare_their_inputs() -> None:
    estimates = [alignment, transfer_loss, leep, h_score, logme]
    transferred_rates = [transferred, transferred_from_source, transferred_from_reference]
    others = [dataset_distance, singular_directions, per_image]
    assert [*estimates, cka, *transferred_rates, *others] == list(register_evaluations())
    assert set() == metadata_of(dataset_distance).needs
    assert {"source", "reference"} == metadata_of(alignment).needs
    assert {"model"} == metadata_of(transfer_loss).needs
    assert [{"source", "train"}] * 3 == [metadata_of(one).needs for one in (leep, h_score, logme)]


def test_only_class_estimators_exclude_regression() -> None:
    assert [True, True, False, False, True] == [
        "values" in metadata_of(one).tasks
        for one in (alignment, transfer_loss, leep, h_score, logme)
    ]


def test_an_attack_without_a_kind_is_pgd_as_in_the_released_code() -> None:
    values, faults = Options.from_factory(alignment).validate({"attack": {"eps": 0.1}})
    path = LabelFreePgd(eps=0.1).ascent_config

    assert [] == faults
    assert "pgd" == values["attack"]["kind"]  # type: ignore[index, call-overload]  # a mapping, as validated
    assert AscentConfig("linf", eps=0.1, steps=50, step_size=0.01, random_start=True) == path


def test_fgsm_is_one_step_of_the_radius_and_virtual_an_l2_attack() -> None:
    step, path = (
        LabelFreeFgsm(kind="fgsm", eps=0.1).ascent_config,
        VirtualAttack(kind="virtual", eps=2).ascent_config,
    )

    assert (1, 0.1, True) == (step.steps, step.step_size, step.random_start)
    assert ("l2", 20, 1.0, True) == (path.norm, path.steps, path.step_size, path.random_start)


@pytest.mark.parametrize(
    "attack",
    [
        {"eps": 0},
        {"eps": 0.1, "steps": 0},
        {"eps": 0.1, "step_size": 0},
        {"kind": "fgsm", "eps": 0.1, "steps": 3},
        {"kind": "virtual", "eps": -1},
        {"kind": "top_singular", "eps": 0},
        {"kind": "top_singular", "eps": 0.1, "spectrum": {"iterations": 2}},
        {"kind": "deepfool", "eps": 0.1},
        {},
    ],
)
def test_invalid_attack_is_rejected(attack: dict[str, Json]) -> None:
    _, faults = Options.from_factory(alignment).validate({"attack": attack})

    assert ["attack"] == sorted({str(fault.path[0]) for fault in faults})


@pytest.mark.parametrize("spectrum", [{"iterations": 0}, {"most_outputs": -1}])
def test_invalid_spectrum_is_rejected(spectrum: dict[str, Json]) -> None:
    _, faults = Options.from_factory(alignment).validate(
        {"attack": {"eps": 0.1}, "spectrum": spectrum}
    )

    assert ["spectrum"] == [fault.path[0] for fault in faults]


def test_default_jacobian_memory_for_10_000_samples_fits_in_a_gigabyte() -> None:
    held = 8 * (2 * Spectrum().most_outputs) ** 2

    assert 3 * held * 10_000 < 2**30


def test_an_estimator_may_be_measured_on_adversarial_features() -> None:
    for factory in (leep, h_score, logme):
        plain, faults = Options.from_factory(factory).validate({})

        assert [] == faults
        assert plain["attack"] is None
        assert (
            []
            == Options.from_factory(factory).validate({"attack": {"kind": "fgsm", "eps": 0.1}})[1]
        )
