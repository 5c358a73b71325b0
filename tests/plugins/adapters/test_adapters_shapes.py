from __future__ import annotations

import pytest
import torch
from torch import nn

from advtransfer.errors import Inapplicable
from advtransfer.types import Adapter, Shape
from advtransfer_adapters.components import (
    auto,
    centre_crop,
    chain,
    channel_mean,
    channel_repeat,
    identity,
    pad,
    random_pad,
    resize,
    transposed_convolution,
)


@pytest.mark.parametrize(
    ("adapter", "target", "source", "reason"),
    [
        (identity(), (1, 4, 4), (1, 5, 5), "identity makes .* but the source takes"),
        (resize(), (3, 4, 4), (1, 2, 2), r"resize makes \(3, 2, 2\)"),
        (channel_mean(), (3, 4, 4), (1, 2, 2), r"channel_mean makes \(1, 4, 4\)"),
        (channel_mean(), (3, 4, 4), (3, 4, 4), r"channel_mean makes \(1, 4, 4\)"),
        (channel_repeat(), (2, 4, 4), (3, 4, 4), "takes one channel; use adapters/channel_mean"),
        (centre_crop(), (1, 4, 8), (1, 5, 5), "only takes pixels away; use adapters/pad"),
        (centre_crop(), (3, 6, 6), (1, 5, 5), r"centre_crop makes \(3, 5, 5\)"),
        (pad(), (1, 6, 4), (1, 5, 5), "only adds pixels; use adapters/centre_crop"),
        (random_pad(), (1, 6, 6), (1, 5, 5), "only adds pixels; use adapters/centre_crop"),
        (chain(parts=(channel_mean(), pad())), (3, 6, 6), (1, 5, 5), "only adds pixels"),
        (chain(parts=(channel_mean(),)), (3, 6, 6), (1, 5, 5), r"along \(3, 6, 6\) -> \(1, 6, 6\)"),
        (auto(), (2, 6, 6), (3, 6, 6), "takes one channel"),
        (auto(), (50,), (1, 6, 6), "works on images"),
        (resize(), (50,), (60,), "works on images"),
        (transposed_convolution(), (3, 4, 4), (3, 8, 6), "by whole numbers; use adapters/resize"),
        (transposed_convolution(), (3, 4, 4), (3, 2, 2), "by whole numbers"),
        (transposed_convolution(), (50,), (50,), "height and the width of images"),
    ],
)
def test_shapes_that_a_map_cannot_join_are_inapplicable(
    adapter: Adapter, target: Shape, source: Shape, reason: str
) -> None:
    with pytest.raises(Inapplicable, match=reason) as caught:
        adapter.module(target=target, source=source)

    assert str(source) in str(caught.value)


@pytest.mark.parametrize(
    ("target", "source"),
    [
        ((3, 32, 32), (1, 28, 28)),
        ((1, 8, 8), (3, 16, 12)),
        ((3, 8, 8), (3, 4, 4)),
        ((1, 8, 8), (1, 8, 8)),
        ((2, 8, 8), (1, 8, 8)),
        ((7,), (7,)),
    ],
)
def test_auto_makes_the_shapes_agree(target: Shape, source: Shape) -> None:
    module = auto().module(target=target, source=source)

    assert (2, *source) == tuple(module(torch.rand(2, *target)).shape)


def test_auto_equals_the_chain_written_by_hand() -> None:
    written = chain(parts=(channel_mean(), resize())).module(target=(3, 9, 9), source=(1, 4, 4))
    images = torch.rand(2, 3, 9, 9)

    assert written(images).equal(auto().module(target=(3, 9, 9), source=(1, 4, 4))(images))


def test_a_chain_can_hold_a_chain() -> None:
    nested = chain(parts=(chain(parts=(channel_mean(), centre_crop())), channel_repeat()))
    plain = chain(parts=(channel_mean(), centre_crop(), channel_repeat()))
    images = torch.rand(2, 3, 6, 6)

    assert nested.module(target=(3, 6, 6), source=(2, 4, 4))(images).equal(
        plain.module(target=(3, 6, 6), source=(2, 4, 4))(images)
    )


class Doubled:
    """Learned third-party adapter without a `shape` method."""

    learned = True

    def module(self, *, target: Shape, source: Shape) -> nn.Module:
        return nn.Conv2d(target[0], source[0], 1)


def test_part_without_a_shape_is_assumed_to_give_the_sources() -> None:
    adapter = chain(parts=(channel_mean(), Doubled()))
    module = adapter.module(target=(3, 4, 4), source=(2, 4, 4))

    assert adapter.learned
    assert (5, 2, 4, 4) == tuple(module(torch.rand(5, 3, 4, 4)).shape)
