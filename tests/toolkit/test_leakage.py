from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from advtransfer.toolkit import near_duplicates
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.toolkit.leakage import find_leaks
from advtransfer.toolkit.near_duplicates import NearDuplicateRule
from advtransfer.types import DataCard

CARD = DataCard((1, 24, 24), (0.0, 1.0), "classes", 2, ("a", "b"), "")


def _images(count: int, *, seed: int, shape: tuple[int, ...] = (1, 24, 24)) -> Tensor:
    """Smooth random images as 8-bit levels in [0, 1]: like photographs, unlike each other."""
    source = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, shape[0], 6, 6, generator=source)
    smooth = functional.interpolate(coarse, shape[1:], mode="bilinear")
    return (smooth * 255).round() / 255


def _samples(images: Tensor) -> ArraySamples:
    shape = tuple(images.shape[1:])
    return ArraySamples(
        card=replace(CARD, shape=shape),
        inputs=images,
        labels=torch.zeros(len(images), dtype=torch.int64),
    )


def _jpeg(image: Tensor, quality: int) -> Tensor:
    levels = (image * 255).round().to(torch.uint8)
    picture = Image.fromarray(
        levels[0].numpy() if len(levels) == 1 else levels.permute(1, 2, 0).numpy()
    )
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    array = np.array(Image.open(file))
    return (
        torch.from_numpy(array[None] if array.ndim == 2 else array.transpose(2, 0, 1)).float() / 255
    )


def _planted(images: Tensor, leaked: Sequence[Tensor]) -> ArraySamples:
    return _samples(torch.cat([images, torch.stack(list(leaked))]))


A = _images(40, seed=0)
B = _images(20, seed=1)


def test_sets_without_a_common_image_have_no_leaks() -> None:
    leaks = find_leaks(_samples(A), _samples(B))

    assert (0, 0, ()) == (leaks.exact, leaks.near, leaks.pairs)


def test_equal_images_are_exact_leaks() -> None:
    leaks = find_leaks(_samples(A), _planted(B, [A[7], A[3]]))

    assert (2, 0, ((7, 20), (3, 21))) == (leaks.exact, leaks.near, leaks.pairs)


@pytest.mark.parametrize("down", [-1, 0, 1])
@pytest.mark.parametrize("right", [-1, 0, 1])
def test_images_shifted_by_a_pixel_are_near_duplicates(down: int, right: int) -> None:
    if down == right == 0:
        return
    leaks = find_leaks(_samples(A), _planted(B, [A[7].roll((down, right), (1, 2))]))

    assert (0, 1, ((7, 20),)) == (leaks.exact, leaks.near, leaks.pairs)


@pytest.mark.parametrize("quality", [75, 85, 95, 100])
def test_images_saved_again_as_jpeg_are_near_duplicates(quality: int) -> None:
    leaks = find_leaks(_samples(A), _planted(B, [_jpeg(A[number], quality) for number in range(5)]))

    assert (0, 5, tuple((number, 20 + number) for number in range(5))) == (
        leaks.exact,
        leaks.near,
        leaks.pairs,
    )


def test_near_duplicates_are_found_whichever_set_was_saved_again() -> None:
    leaks = find_leaks(_planted(A, [_jpeg(B[4], 75)]), _samples(B))

    assert (0, 1, ((40, 4),)) == (leaks.exact, leaks.near, leaks.pairs)


def test_a_larger_shift_is_found_if_the_rule_allows_it() -> None:
    shifted = _planted(B, [A[7].roll(2, 1)])

    assert [0, 1] == [
        find_leaks(_samples(A), shifted, likeness=NearDuplicateRule(shift=shift)).near
        for shift in (1, 2)
    ]


def test_each_image_is_paired_once_with_its_first_equal_or_closest_image() -> None:
    leaks = find_leaks(_planted(A, [A[7], _jpeg(A[3], 75)]), _planted(B, [A[7], _jpeg(A[3], 90)]))

    assert (1, 1, ((7, 20), (3, 21))) == (leaks.exact, leaks.near, leaks.pairs)


def test_colour_images_are_found_among_grey_ones_of_the_same_pixels() -> None:
    colours = _images(10, seed=2, shape=(3, 24, 24))
    leaks = find_leaks(_samples(colours), _samples(colours.mean(1, keepdim=True)))

    assert (0, 10) == (leaks.exact, leaks.near)


def test_an_image_that_was_shrunk_is_found() -> None:
    small = functional.interpolate(A[:5], (16, 16), mode="bilinear", antialias=True)
    leaks = find_leaks(_samples(A), _samples((small * 255).round() / 255))

    assert (0, 5) == (leaks.exact, leaks.near)


def test_sets_are_searched_block_by_block_and_chunk_by_chunk_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    planted = _planted(B, [A[39], A[7].roll(1, 1), _jpeg(A[11], 75)])
    whole = find_leaks(_samples(A), planted)
    monkeypatch.setattr(near_duplicates, "BLOCK_IMAGES", 3)
    monkeypatch.setattr(near_duplicates, "CHUNK_ROWS", 5)

    assert (1, 2) == (whole.exact, whole.near)
    assert whole == find_leaks(_samples(A), planted)


def test_many_equal_images_are_counted_once_each() -> None:
    leaks = find_leaks(
        _samples(A[:1].repeat(100, 1, 1, 1)), _samples(_jpeg(A[0], 75).repeat(10, 1, 1, 1))
    )

    assert (0, 10) == (leaks.exact, leaks.near)
    assert list(range(10)) == [position for _, position in leaks.pairs]


def test_flat_images_of_other_brightness_are_no_leaks() -> None:
    levels = torch.arange(0, 250, 10).float().reshape(-1, 1, 1, 1).expand(-1, 1, 24, 24) / 255
    leaks = find_leaks(_samples(levels[::2]), _samples(levels[1::2]))

    assert (0, 0) == (leaks.exact, leaks.near)


def test_samples_that_are_no_images_are_compared_value_for_value() -> None:
    card = DataCard((5,), None, "values", 1, ("a",), "")
    points = torch.rand(6, 5, generator=torch.Generator().manual_seed(0))
    first, second = (
        ArraySamples(card=card, inputs=x, labels=torch.zeros(len(x), 1))
        for x in (points[:4], points[3:])
    )
    leaks = find_leaks(first, second)

    assert (1, 0, ((3, 0),)) == (leaks.exact, leaks.near, leaks.pairs)


@pytest.mark.parametrize("empty", [(0, 20), (40, 0)])
def test_an_empty_set_has_no_leaks(empty: tuple[int, int]) -> None:
    assert () == find_leaks(_samples(A[: empty[0]]), _samples(A[: empty[1]])).pairs


@pytest.mark.parametrize("side", [1, 2, 3])
def test_images_too_small_to_shift_are_compared_unshifted(side: int) -> None:
    levels = torch.arange(0, 240, 40).float().reshape(-1, 1, 1, 1).expand(-1, 1, side, side) / 255
    leaks = find_leaks(_samples(levels[:4]), _samples(levels[3:]))

    assert (1, 0, ((3, 0),)) == (leaks.exact, leaks.near, leaks.pairs)


def test_the_low_frequencies_never_lengthen_a_difference() -> None:
    first, second = (_images(50, seed=seed)[:, 0] * 255 for seed in (3, 4))
    low = (near_duplicates._low_frequencies(first) - near_duplicates._low_frequencies(second)).norm(
        dim=1
    )

    assert (low <= (first - second).flatten(1).norm(dim=1) * (1 + 1e-5)).all()


@pytest.mark.parametrize("quality", [30, 50, 75, 90])
@pytest.mark.parametrize("shape", [(1, 24, 24), (1, 28, 27)])
def test_the_jpeg_error_equals_that_of_an_encoder(quality: int, shape: tuple[int, ...]) -> None:
    images = _images(10, seed=5, shape=shape)
    saved = torch.stack([_jpeg(image, quality) for image in images])
    expected = ((saved - images) * 255).square().mean((1, 2, 3)).sqrt()

    assert expected.tolist() == pytest.approx(
        near_duplicates.jpeg_error(images[:, 0] * 255, quality=quality).tolist(), rel=0.15, abs=0.2
    )


@pytest.mark.parametrize("length", [6, 8, 26])
def test_the_cosine_transform_is_orthonormal(length: int) -> None:
    basis = near_duplicates.cosine_basis(length, length)

    assert torch.eye(length).allclose(basis @ basis.T, atol=1e-5)


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "another image": lambda image: image.flip(2),
    "brighter": lambda image: (image * 0.8).clamp(0, 1),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_images_changed_more_are_no_near_duplicates(change: Callable[[Tensor], Tensor]) -> None:
    assert 0 == find_leaks(_samples(A), _samples(torch.stack([change(image) for image in A]))).near
