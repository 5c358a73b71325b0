"""What the learned maps gave when their version was set; a failure after a change of meaning says: raise `version`."""

from __future__ import annotations

import pytest
import torch

from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.prediction import predict
from advtransfer.types import Adapter, Transfer
from advtransfer_adapters import affine, pad, transposed_convolution
from advtransfer_adapters.forms import Full, PerChannel, Spatial


@pytest.mark.parametrize(
    ("transfer", "adapter", "expected"),
    [
        (affine(epochs=5), pad(), [0.287, 0.132, 0.088]),
        (affine(form=Full(), epochs=5), pad(), [0.384, 0.040, 0.035]),
        (affine(form=PerChannel(), labels="map", epochs=5), pad(), [0.085, -0.043, 0.069]),
        (affine(form=Spatial(), epochs=5), pad(), [0.285, 0.136, 0.068]),
        (
            affine(form=Spatial(scale=False, where="margin", bound=0.5), labels=(4, 2, 0), epochs=5),
            pad(),
            [0.115, 0.089, 0.083],
        ),
        (affine(form=PerChannel(mixing=False), epochs=5), transposed_convolution(), [0.195, 0.034, -0.009]),
    ],
    ids=["low rank", "full", "per channel", "spatial", "program", "transposed convolution"],
)
def test_the_logits_of_the_first_test_image_are_those_of_this_version(
    source: BlockNetwork, transfer: Transfer, adapter: Adapter, expected: list[float]
) -> None:
    side = 3 if adapter.learned else 4
    data, base = toy(noise=0.9, shape=(1, side, side)), adapter.module(target=(1, side, side), source=(1, 6, 6))
    model = transfer.model(source=source, adapter=base, target=data.card())
    train, context = data.part("train"), InMemoryContext()
    transfer.fit(model, source=source, adapter=base, train=train, validation=None, context=context)
    logits, _ = predict(model, data.part("test"), device=torch.device("cpu"))

    assert expected == pytest.approx(logits[0].tolist(), abs=1e-3)
