from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from advtransfer.host import Host
from advtransfer.toolkit.datasets import all_positions
from advtransfer.toolkit.views import view_dataset
from advtransfer_vision.components import datasets as vision_data


def test_plugin_imports_no_heavy_library() -> None:
    code = (
        "import sys, advtransfer_vision; "
        "print(sorted({'torch', 'numpy', 'sklearn', 'torchvision'} & set(sys.modules)))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert "[]" == process.stdout.strip()


def test_plugin_registers_its_components() -> None:
    names = {
        component.name for component in Host.discover().components() if component.plugin == "vision"
    }

    assert {
        "vision/digits",
        "vision/trained",
        "vision/random_init",
        "vision/npz",
        "vision/checkpoint",
    } <= names


def test_the_digits_are_all_there_scaled_to_0_to_1() -> None:
    data = vision_data.digits()
    train, test = data.part("train"), data.part("test")
    pixels = torch.cat([part.inputs(all_positions(part)) for part in (train, test)])

    assert ((1, 8, 8), 10, (0.0, 1.0)) == (
        data.card().shape,
        data.card().outputs,
        data.card().bounds,
    )
    assert tuple("0123456789") == data.card().names
    assert [1257, 540] == [len(train), len(test)]
    assert torch.arange(17).div(16).equal(torch.unique(pixels))


def test_the_upper_half_has_269_test_images() -> None:
    half = view_dataset(vision_data.digits(), classes=[5, 6, 7, 8, 9]).part("test")

    assert 269 == len(half)


def test_every_class_has_its_share_of_the_test_part() -> None:
    data = vision_data.digits(test_share=0.5)
    train, test = (
        data.part(part).labels(all_positions(data.part(part))) for part in ("train", "test")
    )

    assert (torch.bincount(train) - torch.bincount(test)).abs().max() <= 1


def test_the_split_depends_on_its_seed() -> None:
    digests = [vision_data.digits(split_seed=seed).card().digest for seed in (0, 0, 1)]

    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def test_an_image_looks_like_its_label() -> None:
    part = vision_data.digits().part("train")
    images, labels = part.inputs(all_positions(part)), part.labels(all_positions(part))
    ink = {digit: images[labels == digit].mean(0)[0, 3:5, 3:5].mean().item() for digit in (0, 1)}

    # the centre of a zero is empty, that of a one is full
    assert ink[0] < 0.1
    assert ink[1] > 0.7


def test_the_digits_have_not_changed() -> None:
    changed = "the default digits are not what they were: if that is meant, raise `version` in digits' component"

    assert (
        "fa4628aea7cdee5db9c2966ca98e65ca9bd9e11b60b33dbf35bb9b76242585dd"
        == vision_data.digits().card().digest
    ), changed


@pytest.mark.parametrize("part", ["validation"])
def test_there_is_no_official_validation_part(part: str) -> None:
    with pytest.raises(ValueError, match="found part 'validation'"):
        vision_data.digits().part("validation")
