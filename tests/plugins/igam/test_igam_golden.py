"""Stored logits of IGAM at its version; after an intended change raise `version`."""

from __future__ import annotations

import pytest
import torch

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArrayDataset
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.prediction import predict
from advtransfer.types import Source, Transfer
from advtransfer_igam.components import igam
from advtransfer_igam.options import DiscriminatorConfig, TeacherConfig

pytestmark = pytest.mark.usefixtures("portable")

JUDGING, TUNING = DiscriminatorConfig(channels=(4, 8), every=2), TeacherConfig(epochs=3)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.5261, -1.1109, -0.2087]),
        (
            {"gradient_of": "probability", "lambda_diff": 10.0, "warm_up": 0.4},
            [0.9109, -0.8340, -0.8851],
        ),
        (
            {"match": "zero", "reduction": "mean", "kernel_decay": 1e-2, "standardise": "l2"},
            [-0.1895, -0.5466, 0.2788],
        ),
    ],
    ids=["defaults", "probability", "zero"],
)
def test_the_logits_of_the_first_test_image_are_those_of_this_version(
    teacher: BlockNetwork,
    student: Source,
    data: ArrayDataset,
    options: dict[str, object],
    expected: list[float],
) -> None:
    transfer: Transfer = igam(
        student=student,
        epochs=3,
        discriminator=JUDGING,
        teacher=TUNING,
        **options,  # type: ignore[arg-type]  # options of several types
    )
    model = transfer.model(source=teacher, adapter=None, target=data.card())
    train, context = data.part("train"), InMemoryContext()
    transfer.fit(model, source=teacher, adapter=None, train=train, validation=None, context=context)
    logits, _ = predict(model, data.part("test"), device=torch.device("cpu"))

    assert expected == pytest.approx(logits[0].tolist(), abs=1e-4)
