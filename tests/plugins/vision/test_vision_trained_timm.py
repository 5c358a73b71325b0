"""The smallest architecture of each module of timm trains an epoch, or says why it cannot."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from advtransfer.errors import AdvTransferError
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer_vision.components.training import trained
from advtransfer_vision.networks import LibraryNetwork

pytestmark = pytest.mark.slow

HAS_TIMM = importlib.util.find_spec("timm") is not None
SIZES = (32, 64, 224, 240, 256)
"""Tried in this order: some architectures take no image as small as the first."""


def modules() -> list[str]:
    if not HAS_TIMM:
        return []
    import timm

    found: Any = timm.list_modules()  # Any: timm is not annotated everywhere
    return [name for name in found if timm.list_models(module=name)]


def smallest(module: str) -> str:
    """The architecture of a module with the fewest weights, counted without making them."""
    import timm
    import torch

    counts = {}
    for name in timm.list_models(module=module):
        try:
            with torch.device("meta"):
                model: Any = timm.create_model(name, num_classes=3)
        except (RuntimeError, NotImplementedError):
            continue
        counts[name] = sum(parameter.numel() for parameter in model.parameters())
    return str(min(counts, key=lambda name: counts[name]))


@pytest.mark.skipif(not HAS_TIMM, reason="timm, the extra `hub`, is not installed")
@pytest.mark.parametrize("module", modules())
def test_one_of_each_family_trains_an_epoch(module: str) -> None:
    name, refusals = smallest(module), []
    for size in SIZES:
        data = toy(classes=3, shape=(3, size, size), train=4, test=2)
        source = trained(
            data=data,
            network=LibraryNetwork(architecture=name, library="timm"),
            epochs=1,
            batch_size=2,
        )
        try:
            curves = source.weights(InMemoryContext()).curves
        except (AdvTransferError, ValueError) as error:
            refusals.append(str(error))
            continue
        assert 1 == len(curves)
        return
    # each refusal says what was found and what to do
    assert all(refusal.startswith("found ") and ";" in refusal for refusal in refusals), refusals
    assert any("give its `blocks` and its `head` by name" in refusal for refusal in refusals), (
        refusals
    )
