"""Stored logits of each transfer at its version; after an intended change raise `version`."""

from __future__ import annotations

import pytest
import torch

from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.adversary import Adversary
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.prediction import predict
from advtransfer.types import Transfer
from advtransfer_finetune.components import (
    bitfit,
    blocks,
    full,
    l2_sp,
    linear_probe,
    logit_affine,
    lora,
    lp_ft,
)

pytestmark = pytest.mark.usefixtures("portable")


@pytest.mark.parametrize(
    ("transfer", "expected"),
    [
        (linear_probe(), [4.5678, 0.6897, -5.2574]),
        (blocks(blocks=1, epochs=3), [-0.2355, -0.1815, -0.1693]),
        (blocks(blocks=2, epochs=3, batch_norm="adapt"), [-0.2850, -0.2514, -0.1802]),
        (linear_probe(solver="sgd", epochs=3), [-0.3800, -0.0618, 0.0076]),
        (logit_affine(), [0.9311, 0.6056, -0.5368]),
        (
            blocks(blocks=1, epochs=3, head_init="normal", augment=("flip", "colour_jitter")),
            [0.4258, 0.4062, -0.7203],
        ),
        (full(epochs=3), [-0.3021, -0.2519, -0.1823]),
        (full(epochs=3, adversary=Adversary(eps=0.1)), [-0.2985, -0.2520, -0.1968]),
        (lp_ft(epochs=3, batch_norm="freeze"), [-5.5900, 5.4521, 0.1379]),
        (l2_sp(epochs=3), [-0.3019, -0.2517, -0.1822]),
        (bitfit(epochs=3), [-0.1808, -0.1621, -0.1533]),
        (lora(epochs=3), [-0.1835, -0.1634, -0.1544]),
    ],
    ids=[
        "probe",
        "freeze",
        "adapt",
        "sgd probe",
        "logit_affine",
        "augmented",
        "full",
        "adversarial full",
        "lp_ft",
        "l2_sp",
        "bitfit",
        "lora",
    ],
)
def test_the_logits_of_the_first_test_image_are_those_of_this_version(
    source: BlockNetwork, transfer: Transfer, expected: list[float]
) -> None:
    data = toy(noise=0.9)
    model = transfer.model(source=source, adapter=None, target=data.card())
    train, context = data.part("train"), InMemoryContext()
    transfer.fit(model, source=source, adapter=None, train=train, validation=None, context=context)
    logits, _ = predict(model, data.part("test"), device=torch.device("cpu"))

    assert expected == pytest.approx(logits[0].tolist(), abs=1e-4)
