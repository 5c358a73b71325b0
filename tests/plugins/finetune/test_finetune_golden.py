"""What each transfer gave when its version was set; a failure after a change of meaning says: raise `version`."""

from __future__ import annotations

import pytest
import torch

from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.adversary import Adversary
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.prediction import predict
from advtransfer.types import Transfer
from advtransfer_finetune import blocks, full, linear_probe, logit_affine


@pytest.mark.parametrize(
    ("transfer", "expected"),
    [
        (linear_probe(), [3.094, -1.040, -2.055]),
        (blocks(blocks=1, epochs=3), [0.141, 0.076, 0.110]),
        (blocks(blocks=2, epochs=3, batch_norm="adapt"), [0.236, 0.081, 0.010]),
        (linear_probe(solver="sgd", epochs=3), [-0.048, -0.356, 0.681]),
        (logit_affine(), [0.856, 0.009, 0.135]),
        (blocks(blocks=1, epochs=3, head_init="normal", augment=("flip", "colour_jitter")), [0.716, 0.659, 0.204]),
        (full(epochs=3), [0.225, 0.089, 0.017]),
        (full(epochs=3, adversary=Adversary(eps=0.1)), [0.238, 0.093, 0.003]),
    ],
    ids=["probe", "freeze", "adapt", "sgd probe", "logit_affine", "augmented", "full", "adversarial full"],
)
def test_the_logits_of_the_first_test_image_are_those_of_this_version(
    source: BlockNetwork, transfer: Transfer, expected: list[float]
) -> None:
    data = toy(noise=0.9)
    model = transfer.model(source=source, adapter=None, target=data.card())
    train, context = data.part("train"), InMemoryContext()
    transfer.fit(model, source=source, adapter=None, train=train, validation=None, context=context)
    logits, _ = predict(model, data.part("test"), device=torch.device("cpu"))

    assert expected == pytest.approx(logits[0].tolist(), abs=1e-3)
