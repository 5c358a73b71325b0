"""Spatter against closed cases of its parts; the whole is held to a judge in test_corruption_judge."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from advtransfer_corruptions.draws import Draws
from advtransfer_corruptions.spatter import MUD, WATER, canny_edges, equalised, spatter

MakeDraws = Callable[[int], Draws]


def test_a_step_has_one_line_of_edges() -> None:
    """Sobel's kernels give 4 x 100 on both sides of a step of 100 levels: one of the two is kept."""
    levels = np.zeros((9, 12))
    levels[:, 5:] = 100
    expected = np.zeros((9, 12), dtype=bool)
    expected[:, 4] = True

    assert np.array_equal(canny_edges(levels), expected)
    assert np.array_equal(canny_edges(levels.T), expected.T)


def test_weak_edges_count_where_they_touch_strong_ones() -> None:
    levels = np.zeros((9, 12))
    levels[:, 5:] = 20  # a gradient of 80, between the thresholds
    assert not canny_edges(levels).any()

    levels[:3, 5:] = 100
    assert canny_edges(levels)[-1].any()


def test_an_equalised_histogram_is_a_straight_line() -> None:
    levels = np.repeat([3.0, 9.0, 10.0, 200.0], 4).reshape(4, 4)

    assert equalised(levels)[:, 0].tolist() == [0, 85, 170, 255]
    assert equalised(np.full((3, 3), 7.0)).tolist() == np.full((3, 3), 7.0).tolist()


@pytest.mark.parametrize("is_mud", [0, 1])
def test_no_liquid_leaves_an_image(is_mud: int, draws: MakeDraws) -> None:
    images = np.full((2, 3, 16, 16), 0.4)

    assert np.array_equal(spatter(images, draws(2), 0.5, 0.0, 1, 0.6, 0.5, is_mud), images)


def test_mud_covers_and_water_adds_its_colour(draws: MakeDraws) -> None:
    """Of a constant level above the threshold, all is covered; water has no edge, and shines evenly."""
    images = np.full((2, 3, 16, 16), 0.1)
    mud = spatter(images, draws(2), 0.7, 0.0, 1, 0.6, 0.5, 1)
    water = spatter(images, draws(2), 0.7, 0.0, 1, 0.6, 0.5, 0)

    assert np.allclose(mud, MUD[:, None, None])
    assert np.allclose(water, 0.1 + 0.5 * WATER[:, None, None])


def test_grey_images_get_the_brightness_of_the_colour(draws: MakeDraws) -> None:
    mud = spatter(np.zeros((1, 1, 8, 8)), draws(1), 0.7, 0.0, 1, 0.6, 0.5, 1)

    assert np.allclose(mud, (0.299 * 63 + 0.587 * 42 + 0.114 * 20) / 255)


@pytest.mark.parametrize("is_mud", [0, 1])
def test_drops_change_a_part_of_an_image(is_mud: int, draws: MakeDraws) -> None:
    images = np.full((4, 3, 64, 64), 0.2)
    strength = 1.5 if is_mud else 0.5
    spattered = spatter(images, draws(4), 0.65, 0.3, 1, 0.69, strength, is_mud)
    added = spattered - images
    changed = (np.abs(added) > 1e-9).all(axis=1).mean(axis=(1, 2))

    assert ((changed > 0.005) & (changed < 0.5)).all()
    if not is_mud:
        assert added.min() >= 0
        # The most is reached once in each image.
        assert added.max(axis=(1, 2, 3)) == pytest.approx(0.5 * WATER[1])
