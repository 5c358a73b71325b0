from __future__ import annotations

from collections import Counter
from typing import get_args

import pytest
import torch
from torch import Tensor
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as reference

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.augmentation import (
    Augmentation,
    _window_size,
    crop_and_resize,
    crop_padded,
    flip_horizontally,
    jitter_colors,
    make_augmentation,
    rotate_images,
)
from advtransfer.toolkit.rng import fork_global_rng, stream_generator
from advtransfer.toolkit.training_config import Augment, AugmentName

NAMES: tuple[AugmentName, ...] = get_args(AugmentName)


def _images(count: int = 12, channels: int = 3, side: int = 10) -> Tensor:
    return torch.rand((count, channels, side, side), generator=stream_generator("images"))


def _augment(
    *names: AugmentName, seed: int = 0, shape: tuple[int, ...] = (3, 10, 10)
) -> Augmentation:
    augmentation = make_augmentation(names, shape=shape, context=InMemoryContext(seed))
    assert augmentation is not None
    return augmentation


def _drawn(count: int, numbers: int) -> Tensor:
    return torch.rand((count, numbers), generator=stream_generator("drawn"), dtype=torch.float64)


@pytest.mark.parametrize("names", [NAMES, *[(name,) for name in NAMES]])
def test_an_augmented_image_depends_on_its_key_and_epoch_alone(
    names: tuple[AugmentName, ...],
) -> None:
    images, keys = _images(), list(range(100, 112))
    whole = _augment(*names)(images, keys, 3)
    order = torch.randperm(12, generator=stream_generator("order"))
    shuffled = _augment(*names)(images[order], [keys[position] for position in order.tolist()], 3)
    alone = torch.cat(
        [
            _augment(*names)(images[position : position + 1], [keys[position]], 3)
            for position in range(12)
        ]
    )

    assert whole[order].equal(shuffled)
    assert whole.allclose(alone, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_an_augmented_image_differs_by_epoch_and_seed(name: AugmentName) -> None:
    images, keys = _images(side=40), range(12)  # two degrees move no pixel of a small image
    first = _augment(name)(images, keys, 1)

    assert first.shape == images.shape
    assert not first.equal(images)
    assert not first.equal(_augment(name)(images, keys, 2))
    assert not first.equal(_augment(name, seed=1)(images, keys, 1))
    assert first.equal(_augment(name)(images, keys, 1))


@pytest.mark.parametrize("channels", [1, 3])
def test_augmented_images_stay_in_the_unit_interval_and_inputs_unchanged(channels: int) -> None:
    images = _images(channels=channels)
    before = images.clone()
    changed = _augment(*NAMES, shape=(channels, 10, 10))(images, range(12), 1)

    assert 0 <= changed.min()
    assert changed.max() <= 1
    assert before.equal(images)


@pytest.mark.parametrize("padding", [2, 4])
def test_a_crop_is_the_window_of_the_padded_image_at_the_drawn_position(padding: int) -> None:
    images, drawn = _images(), _drawn(12, 2)
    padded = reference.pad(images, [padding])
    corners = (drawn * (2 * padding + 1)).floor().int().tolist()
    expected = [
        reference.crop(image, top, left, 10, 10)
        for image, (top, left) in zip(padded, corners, strict=True)
    ]

    assert torch.stack(expected).equal(crop_padded(images, drawn, padding=padding))


def test_every_window_is_equally_likely() -> None:
    ramp = torch.arange(100.0).view(1, 1, 10, 10).expand(8_100, 1, 10, 10)
    seen = Counter(crop_padded(ramp, _drawn(8_100, 2), padding=4)[:, 0, 4, 4].tolist())

    assert 81 == len(seen)
    assert min(seen.values()) > 60
    assert max(seen.values()) < 140


@pytest.mark.parametrize(("height", "width"), [(24, 24), (18, 30)])
def test_a_resized_crop_equals_that_of_torchvision(height: int, width: int) -> None:
    images = torch.rand((20, 3, height, width), generator=stream_generator("images"))
    drawn = _drawn(20, 22)
    cropped = crop_and_resize(images, drawn)
    for image, result, numbers in zip(images, cropped, drawn.tolist(), strict=True):
        for area, position in zip(numbers[2::2], numbers[3::2], strict=True):
            share, ratio = 0.08 + 0.92 * area, (4 / 3) ** (2 * position - 1)
            rows = round((height * width * share / ratio) ** 0.5)
            columns = round((height * width * share * ratio) ** 0.5)
            if rows <= height and columns <= width:
                break
        expected = reference.resized_crop(
            image,
            top=int(numbers[0] * (height - rows + 1)),
            left=int(numbers[1] * (width - columns + 1)),
            height=rows,
            width=columns,
            size=[height, width],
            antialias=True,
        )
        torch.testing.assert_close(result, expected, atol=1e-6, rtol=0)


def test_sizes_of_resized_crops_are_distributed_as_those_of_torchvision() -> None:
    def mean(sizes: list[tuple[int, int]]) -> Tensor:
        return torch.tensor(sizes, dtype=torch.float64).mean(0) / 40

    ours = [_window_size(row, height=40, width=40) for row in _drawn(1500, 20).tolist()]
    image = torch.zeros(1, 40, 40)
    with fork_global_rng(stream_generator("judge")):
        theirs = [
            RandomResizedCrop.get_params(image, scale=[0.08, 1.0], ratio=[3 / 4, 4 / 3])[2:]
            for _ in range(1500)
        ]

    # The standard error of either mean is 0.005.
    torch.testing.assert_close(mean(ours), mean(theirs), atol=0.025, rtol=0)


def test_a_window_that_never_fits_is_the_largest_within_the_ratios() -> None:
    # A wide image, and attempts of the whole area that are taller than it.
    numbers = [0.999, 0.0] * 10

    assert _window_size(numbers, height=10, width=40) == (10, 13)
    assert _window_size(numbers, height=40, width=10) == (13, 10)


def test_half_of_the_images_are_mirrored() -> None:
    images = _images()
    drawn = torch.tensor([[0.0], [0.499], [0.5], [0.999]], dtype=torch.float64)
    flipped = flip_horizontally(images[:4], drawn)

    assert reference.horizontal_flip(images[:2]).equal(flipped[:2])
    assert images[2:4].equal(flipped[2:])


@pytest.mark.parametrize("side", [40, 41])
def test_a_rotation_equals_that_of_torchvision(side: int) -> None:
    images, drawn = _images(side=side), _drawn(12, 1)
    angles = ((2 * drawn[:, 0] - 1) * 2).tolist()
    expected = torch.stack(
        [reference.rotate(image, angle) for image, angle in zip(images, angles, strict=True)]
    )

    # nearest neighbour: a place halfway between two pixels may round either way
    assert (expected == rotate_images(images, drawn)).float().mean() > 0.999
    assert not expected.equal(images)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("order", range(6))
def test_a_colour_jitter_equals_that_of_torchvision_in_every_order(
    order: int, channels: int
) -> None:
    images, drawn = _images(channels=channels), _drawn(12, 4)
    drawn[:, 3] = (order + 0.5) / 6
    changes = [reference.adjust_brightness, reference.adjust_contrast, reference.adjust_saturation]
    places = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)][order]
    expected = []
    for image, factors in zip(images, (0.75 + drawn[:, :3] / 2).tolist(), strict=True):
        for position in places:
            image = changes[position](image, factors[position])
        expected.append(image)

    assert torch.stack(expected).allclose(jitter_colors(images, drawn), atol=1e-6)


def test_augmentations_are_applied_in_the_order_of_their_names() -> None:
    images = torch.full((4, 1, 6, 6), 1.0)
    cropped_first = _augment("pad_crop", "colour_jitter", shape=(1, 6, 6))(images, range(4), 1)
    jittered_first = _augment("colour_jitter", "pad_crop", shape=(1, 6, 6))(images, range(4), 1)

    assert not cropped_first.allclose(jittered_first)


def test_the_name_none_gives_no_augmentation() -> None:
    nothing: Augment = "none"

    assert make_augmentation(nothing, shape=(50,), context=InMemoryContext()) is None


@pytest.mark.parametrize("shape", [(50,), (2, 8, 8)])
def test_inputs_that_are_no_images_cannot_be_augmented(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ValueError, match=r"to augment by flip; expected images \(C, H, W\) of 1 or 3 channels"
    ):
        make_augmentation(("flip",), shape=shape, context=InMemoryContext())
