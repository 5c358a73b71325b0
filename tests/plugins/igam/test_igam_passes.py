"""Gradient passes of a fit, counted by hand and by the networks themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.plugins.igam.test_igam_transfer import JUDGING, TUNING, fit

from advtransfer.toolkit.datasets import ArrayDataset
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.types import Source
from advtransfer_igam.components import igam
from advtransfer_igam.discriminator import Discriminator
from advtransfer_igam.gradient_passes import PassCount

COUNT = PassCount(
    images=10,
    epochs=2,
    batch_size=4,
    warm_up=0.0,
    every=2,
    teacher_epochs=3,
    has_teacher=True,
    is_taught_once=True,
)


def test_passes_are_those_counted_by_hand() -> None:
    # Steps of 4, 4 and 2 images, twice; the discriminator's are the steps 0, 2 and 4.
    assert COUNT.total() == 3 * 10 + 10 + 2 * 10 * 4 + 2 * (4 + 2 + 4)
    anew = replace(COUNT, is_taught_once=False)
    assert anew.total() == COUNT.total() + 10
    control = replace(COUNT, has_teacher=False, teacher_epochs=0)
    assert control.total() == COUNT.total() - 3 * 10 - 10


def test_images_of_the_warm_up_pass_the_student_once() -> None:
    # The first three of six steps are the first epoch.
    assert replace(COUNT, warm_up=0.5).total() == 3 * 10 + 10 + 10 + 10 * 4 + 2 * 4


def test_the_discriminator_sees_as_many_gradients_as_are_counted(
    teacher: BlockNetwork, student: Source, data: ArrayDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    original = Discriminator.forward

    def counting(self: Discriminator, *gradients: torch.Tensor) -> torch.Tensor:
        seen.append(sum(map(len, gradients)))
        return original(self, *gradients)

    monkeypatch.setattr(Discriminator, "forward", counting)
    transfer = igam(
        student=student,
        epochs=2,
        batch_size=16,
        discriminator=JUDGING,
        teacher=TUNING,
        count_passes=True,
    )
    _, fitted = fit(transfer, teacher, data)

    images = len(data.part("train"))
    taught = (TUNING.epochs + 1) * images
    assert fitted.facts["gradient_passes"] == taught + 2 * 2 * images + sum(seen)


def test_nothing_is_counted_unless_asked(
    teacher: BlockNetwork, student: Source, data: ArrayDataset
) -> None:
    transfer = igam(student=student, epochs=1, discriminator=JUDGING, teacher=TUNING)
    _, fitted = fit(transfer, teacher, data)

    assert "gradient_passes" not in fitted.facts
