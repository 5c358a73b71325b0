"""Stored logits of the learned maps at their version; after an intended change raise `version`."""

from __future__ import annotations

import pytest
import torch

from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.prediction import predict
from advtransfer.types import Adapter, Transfer
from advtransfer_adapters.components import affine, pad, transposed_convolution
from advtransfer_adapters.options import Full, PerChannel, Spatial

pytestmark = pytest.mark.usefixtures("portable")


@pytest.mark.parametrize(
    ("transfer", "adapter", "expected"),
    [
        (affine(epochs=5), pad(), [0.0268, -0.1224, -0.1370]),
        (affine(form=Full(), epochs=5), pad(), [-0.0173, -0.1433, -0.0040]),
        (affine(form=PerChannel(), labels="map", epochs=5), pad(), [-0.1235, -0.1644, 0.1546]),
        (affine(form=Spatial(), epochs=5), pad(), [0.0582, -0.1459, -0.0965]),
        (
            affine(
                form=Spatial(scale=False, where="margin", bound=0.5), labels=(4, 2, 0), epochs=5
            ),
            pad(),
            [-0.2758, 0.1510, -0.1315],
        ),
        (
            affine(form=PerChannel(mixing=False), epochs=5),
            transposed_convolution(),
            [0.1167, -0.0023, -0.0186],
        ),
    ],
    ids=["low rank", "full", "per channel", "spatial", "program", "transposed convolution"],
)
def test_the_logits_of_the_first_test_image_are_those_of_this_version(
    source: BlockNetwork, transfer: Transfer, adapter: Adapter, expected: list[float]
) -> None:
    side = 3 if adapter.learned else 4
    data, base = (
        toy(noise=0.9, shape=(1, side, side)),
        adapter.module(target=(1, side, side), source=(1, 6, 6)),
    )
    model = transfer.model(source=source, adapter=base, target=data.card())
    train, context = data.part("train"), InMemoryContext()
    transfer.fit(model, source=source, adapter=base, train=train, validation=None, context=context)
    logits, _ = predict(model, data.part("test"), device=torch.device("cpu"))

    assert expected == pytest.approx(logits[0].tolist(), abs=1e-4)
