from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from advtransfer.host import Component, Host, Plugin
from advtransfer.types import Json

# target-teacher: lambda_adv, lambda_diff, channels, student steps a discriminator step (Chan et al., 2020, appendix A)
APPENDIX: dict[str, tuple[float, float, list[int], int]] = {
    "cifar10-mnist": (1, 100, [16, 32, 64, 128, 256], 10),
    "cifar10-transposed_convolution": (1, 10, [8, 16, 32, 64], 5),
    "cifar10-random_pad": (1, 10, [8, 16, 32, 64], 5),
    "cifar10-pad": (2, 20, [8, 16, 32, 64], 5),
    "cifar10-upsize": (5, 10, [8, 16, 32, 64], 5),
    "cifar100-mnist": (0.1, 200, [16, 32, 64, 128, 256], 5),
    "cifar100-cifar10": (2, 10, [16, 32, 64, 128, 256], 10),
    "tiny_imagenet-cifar10-resize": (0.1, 200, [8, 16, 32, 64], 5),
    "tiny_imagenet-cifar10-crop": (2, 50, [8, 16, 32, 64], 5),
    "tiny_imagenet-cifar100-resize": (0.1, 200, [8, 16, 32, 64], 5),
    "tiny_imagenet-cifar100-crop": (0.5, 200, [8, 16, 32, 64], 5),
}


@pytest.fixture
def component() -> Component:
    return Host([Plugin("igam", "advtransfer_igam", "advtransfer", "0")]).component(
        "igam/igam", "transfer"
    )


def test_the_plugin_imports_no_heavy_library() -> None:
    code = "import sys, advtransfer_igam; print(*{'torch', 'numpy', 'pydantic'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "" == done.stdout.strip()


def test_igam_needs_a_source_and_accepts_a_student_entry(component: Component) -> None:
    student = component.options.fields["student"]

    assert {"source"} == component.metadata.needs
    assert ("source", False, False) == (student.kind, student.many, student.required)


@pytest.mark.parametrize("name", APPENDIX)
def test_each_preset_is_a_row_of_the_papers_appendix(component: Component, name: str) -> None:
    values, faults = component.options.validate(component.metadata.presets[name])
    written: dict[str, Any] = dict(values)  # Any: options of every type
    judging = written["discriminator"]
    assert (0.0, 2e-4) == (judging["optimiser"]["weight_decay"], judging["kernel_decay"])
    lambda_adv, lambda_diff, channels, every = APPENDIX[name]

    assert [] == faults
    assert (lambda_adv, channels, every) == (
        written["lambda_adv"],
        judging["channels"],
        judging["every"],
    )
    assert lambda_diff == pytest.approx(written["lambda_diff"] * 255**2)
    assert ("probability", "sum", 32, "l2") == tuple(
        written[option] for option in ("gradient_of", "reduction", "batch_size", "standardise")
    )


@pytest.mark.parametrize("name", APPENDIX)
def test_remaining_preset_values_are_those_of_the_paper_and_its_code(
    component: Component, name: str
) -> None:
    values, _ = component.options.validate(component.metadata.presets[name])
    written: dict[str, Any] = dict(values)  # Any: options of every type
    target, teacher, *_ = name.split("-")
    tuned = 10 if teacher == "mnist" else 5 if target == "tiny_imagenet" else 6

    assert tuned == written["teacher"]["epochs"]
    assert (64, "batch", 1e-3) == (
        written["teacher"]["batch_size"],
        written["teacher"]["batch_norm"],
        written["teacher"]["optimiser"]["lr"],
    )
    assert (8 / 255 if name == "cifar100-cifar10" else 0.0) == written["input_noise"]
    assert (0.875, 2e-4, ["pad_crop_2", "flip"]) == tuple(
        written[option] for option in ("warm_up", "kernel_decay", "augment")
    )
    assert 320_000 == pytest.approx(
        written["epochs"] * (100_000 if target == "tiny_imagenet" else 50_000) / 32, rel=0.005
    )


def test_there_are_no_other_presets(component: Component) -> None:
    assert set(APPENDIX) == set(component.metadata.presets)


def test_every_preset_can_be_built(component: Component) -> None:
    for preset in component.metadata.presets.values():
        values, _ = component.options.validate(preset)

        assert component.build(values, {}) is not None


def test_a_discriminator_can_have_an_optimiser_of_its_own(component: Component) -> None:
    options: dict[str, Json] = {"discriminator": {"optimiser": {"kind": "adam"}, "every": 2}}
    values, faults = component.options.validate(options)
    written: dict[str, Any] = dict(values)  # Any: options of every type

    assert [] == faults
    assert {"kind": "adam", "lr": 0.001, "weight_decay": 0.0} == written["discriminator"][
        "optimiser"
    ]
    assert written["discriminator"]["schedule"] is None


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"lambda_adv": -1}, ("lambda_adv",)),
        ({"lambda_diff": -0.1}, ("lambda_diff",)),
        ({"gradient_of": "logit"}, ("gradient_of",)),
        ({"warm_up": 1}, ("warm_up",)),
        ({"input_noise": 2}, ("input_noise",)),
        ({"teacher": {"epochs": 0}}, ("teacher",)),
        ({"teacher": {"batch_norm": "train"}}, ("teacher", "batch_norm")),
        ({"discriminator": {"channels": []}}, ("discriminator",)),
        ({"discriminator": {"every": 0}}, ("discriminator",)),
        ({"discriminator": {"optimiser": {"kind": "lbfgs"}}}, ("discriminator", "optimiser")),
    ],
)
def test_invalid_options_are_rejected(
    component: Component, options: dict[str, Json], path: tuple[str, ...]
) -> None:
    _, faults = component.options.validate(options)

    assert [path] == [fault.path for fault in faults]
