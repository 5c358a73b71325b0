"""Small images, and a function that corrupts them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.rng import stream_generator
from advtransfer_corruptions.corrupt import Corruptor
from advtransfer_corruptions.draws import Array, Draws


def draw_images(count: int, channels: int, height: int, width: int) -> Tensor:
    """Return smooth random images in [0, 1] of 8 bits, ``(count, channels, height, width)``."""
    coarse = torch.rand((count, channels, 5, 5), generator=stream_generator("corrupted images"))
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return (255 * smooth).round() / 255


@pytest.fixture
def pictures() -> Callable[..., Tensor]:
    return draw_images


@pytest.fixture
def draws() -> Callable[..., Draws]:
    def make(count: int) -> Draws:
        return Draws(InMemoryContext(), "test", range(count))

    return make


@pytest.fixture
def corrupt() -> Callable[..., Tensor]:
    """Corrupt images by the smallest table, or by the one named."""

    def make(
        images: Tensor,
        corruption: str,
        severity: int = 3,
        *,
        keys: Sequence[int] | None = None,
        table: str = "cifar",
        photographs: Sequence[Array] = (),
    ) -> Tensor:
        corruptor = Corruptor(table, 0, photographs)  # type: ignore[arg-type]  # a table by its name
        return corruptor.corrupt(
            images,
            range(len(images)) if keys is None else keys,
            corruption=corruption,  # type: ignore[arg-type]  # a corruption by its name
            severity=severity,  # type: ignore[arg-type]  # one of five numbers
            context=InMemoryContext(),
        )

    return make
