"""Each corruption against its formula, or an independent implementation of it."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from PIL import Image
from scipy.ndimage import shift
from scipy.stats import poisson
from torch import Tensor

from advtransfer_corruptions import blurs, digital, noise, weather
from advtransfer_corruptions.draws import Draws

Pictures = Callable[..., Tensor]
MakeDraws = Callable[[int], Draws]


def grey(value: float, size: int = 40) -> np.ndarray:
    return np.full((50, 3, size, size), value)


def test_noise_has_the_mean_and_deviation_of_its_formula(draws: MakeDraws) -> None:
    """240,000 numbers: a standard error of 1 / 490 of the deviation."""
    value, count = 0.4, 240_000
    gaussian = noise.gaussian_noise(grey(value), draws(50), 0.1)
    speckle = noise.speckle_noise(grey(value), draws(50), 0.5)
    shot = noise.shot_noise(grey(value), draws(50), 25)
    expected = {"gaussian": 0.1, "speckle": 0.5 * value, "shot": (value / 25) ** 0.5}

    for name, noisy in (("gaussian", gaussian), ("speckle", speckle), ("shot", shot)):
        deviation = expected[name]
        assert abs(noisy.mean() - value) < 5 * deviation / count**0.5, name
        assert noisy.std() == pytest.approx(deviation, rel=0.02), name


def test_shot_noise_is_the_inverse_of_the_poisson_distribution(draws: MakeDraws) -> None:
    images = np.random.default_rng(0).uniform(size=(4, 3, 9, 9))
    images[0, 0, 0] = 0
    shares = draws(4).uniform(3, 9, 9) + 2.0**-25

    assert np.allclose(
        noise.shot_noise(images, draws(4), 60) * 60, poisson.ppf(shares, images * 60).clip(0)
    )


def test_impulse_noise_sets_its_share_of_values_to_black_or_white(draws: MakeDraws) -> None:
    noisy = noise.impulse_noise(grey(0.5), draws(50), 0.2)

    assert (noisy == 0).mean() == pytest.approx(0.1, abs=0.005)
    assert (noisy == 1).mean() == pytest.approx(0.1, abs=0.005)
    assert (noisy == 0.5).mean() == pytest.approx(0.8, abs=0.005)


@pytest.mark.parametrize("name", ["gaussian", "glass", "defocus", "motion", "zoom", "pixelate"])
def test_a_blur_leaves_an_image_of_one_colour(name: str, draws: MakeDraws) -> None:
    images = grey(0.3, size=11)
    blurred = {
        "gaussian": lambda: blurs.gaussian_blur(images, draws(50), 2),
        "glass": lambda: blurs.glass_blur(images, draws(50), 0.7, 2, 2),
        "defocus": lambda: blurs.defocus_blur(images, draws(50), 3, 0.5),
        "motion": lambda: blurs.motion_blur(images, draws(50), 10, 3),
        "zoom": lambda: blurs.zoom_blur(images, draws(50), 1.26, 0.02),
        "pixelate": lambda: digital.pixelate(images, draws(50), 0.6),
    }[name]()

    assert np.abs(blurred - 0.3).max() < 1e-12


def test_glass_replaces_pixels_by_near_ones(draws: MakeDraws) -> None:
    """Of images that are their own columns, without the blurs."""
    columns = np.broadcast_to(np.arange(20.0), (6, 1, 20, 20)).copy()
    moved = blurs.glass_blur(columns, draws(6), 1e-9, 2, 1)
    distances = np.abs(moved - columns)

    assert 0.3 < (distances > 0).mean() < 1
    # A pixel may be passed on to the next one, so that some go further than the reach.
    assert 0.5 < distances.mean() < 2
    assert distances[:, :, :3].max() == distances[:, :, :, :3].max() == 0
    assert np.array_equal(blurs.glass_blur(columns, draws(6), 1e-9, 0, 1), columns)


def test_a_disk_holds_the_pixels_within_its_radius() -> None:
    kernel = blurs.disk(2, 1e-3)
    middle = len(kernel) // 2
    rows, columns = np.nonzero(kernel)

    assert kernel.sum() == pytest.approx(1)
    assert ((rows - middle) ** 2 + (columns - middle) ** 2 <= 4).all()
    # 13 points of the lattice lie within a circle of radius 2.
    assert kernel[kernel > 0] == pytest.approx([1 / 13] * 13)


def test_motion_smears_a_point_along_its_direction() -> None:
    """To the right and down by half a Gaussian: what stands at a pixel lies before it on the line."""
    point = np.zeros((2, 1, 21, 21))
    point[:, :, 10, 10] = 1
    smeared = blurs.blur_along(point, np.deg2rad([0, 90]), 4, 2)
    weights = np.exp(-(np.arange(9) ** 2) / 8)
    weights /= weights.sum()

    assert smeared[0, 0, 10, 10:1:-1] == pytest.approx(weights)
    assert smeared[1, 0, 10:1:-1, 10] == pytest.approx(weights)
    assert smeared.sum(axis=(1, 2, 3)) == pytest.approx([1, 1])


def test_motion_repeats_the_border() -> None:
    ramp = np.broadcast_to(np.arange(10.0), (1, 1, 3, 10))
    one_step = blurs.blur_along(ramp, np.array([0.0]), 1, 1e9)

    # Three samples of equal weight: at the right border they are 8, 9, 9 and 9, 9, 9.
    assert one_step[0, 0, 1, -3:] == pytest.approx([8, 26 / 3, 9])


def test_an_enlarged_ramp_is_less_steep_about_the_same_middle() -> None:
    ramp = np.broadcast_to(np.arange(32.0), (1, 1, 32, 32))
    enlarged = blurs.enlarge(ramp, 1.25)[0, 0, 7]

    # 26 pixels are kept and become 32: 25 distances over 31.
    assert np.diff(enlarged) == pytest.approx([25 / 31] * 31)
    assert enlarged[[0, -1]] == pytest.approx([3, 28])
    assert np.array_equal(blurs.enlarge(ramp, 1), ramp)


def test_brightness_and_saturation_are_those_of_hsv(draws: MakeDraws, pictures: Pictures) -> None:
    images = pictures(4, 3, 9, 12).double().numpy()
    images[0, :, 0, 0] = 0
    images[0, :, 0, 1] = 0.7
    hsv = rgb_to_hsv(images.transpose(0, 2, 3, 1))
    brighter, paler = hsv.copy(), hsv.copy()
    brighter[..., 2] = np.clip(brighter[..., 2] + 0.3, 0, 1)
    paler[..., 1] = np.clip(paler[..., 1] * 2 + 0.1, 0, 1)

    assert np.allclose(
        weather.brightness(images, draws(4), 0.3), hsv_to_rgb(brighter).transpose(0, 3, 1, 2)
    )
    assert np.allclose(
        digital.saturate(images, draws(4), 2, 0.1), hsv_to_rgb(paler).transpose(0, 3, 1, 2)
    )


def test_contrast_keeps_the_mean_of_each_channel(draws: MakeDraws, pictures: Pictures) -> None:
    images = pictures(4, 3, 8, 8).double().numpy()
    flatter = digital.contrast(images, draws(4), 0.4)

    assert np.allclose(flatter.mean((2, 3)), images.mean((2, 3)))
    assert np.allclose(flatter.std((2, 3)), 0.4 * images.std((2, 3)))


def test_pixelate_averages_squares_where_they_divide_the_image(
    draws: MakeDraws, pictures: Pictures
) -> None:
    images = pictures(2, 3, 12, 8)
    coarse = torch.nn.functional.avg_pool2d(images.double(), 2)
    expected = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)

    assert np.allclose(digital.pixelate(images.double().numpy(), draws(2), 0.5), expected)


def test_jpeg_is_that_of_the_library(corrupt: Callable[..., Tensor], pictures: Pictures) -> None:
    image = pictures(1, 3, 16, 16)
    file = io.BytesIO()
    levels = (255 * image[0]).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(levels).save(file, "JPEG", quality=58)
    expected = np.asarray(Image.open(file)).transpose(2, 0, 1) / 255

    assert np.allclose(corrupt(image, "jpeg", 3)[0], expected)


def test_an_affine_map_takes_three_points_to_three_others() -> None:
    before = np.array([[1.0, 2.0], [4.0, 1.0], [3.0, 7.0]])
    after = np.array([[0.0, 1.0], [5.0, 5.0], [2.0, 2.0]])
    matrix, offset = digital.affine_map(before, after)

    assert np.allclose(before @ matrix.T + offset, after)


def test_elastic_without_shift_and_strength_changes_nothing(
    draws: MakeDraws, pictures: Pictures
) -> None:
    images = pictures(2, 1, 14, 11).double().numpy()

    assert np.allclose(digital.elastic(images, draws(2), 0, 0.1, 0), images)


def test_elastic_of_three_equal_shifts_moves_the_image(
    pictures: Pictures, monkeypatch: pytest.MonkeyPatch, draws: MakeDraws
) -> None:
    """All three corners one pixel down and right: so does the image."""
    images = pictures(1, 1, 12, 12).double().numpy()
    monkeypatch.setattr(
        Draws, "uniform", lambda self, *shape: np.full((len(self.keys), *shape), 1.0)
    )
    moved = digital.elastic(images, draws(1), 0, 0.1, 1 / 12)

    assert np.allclose(moved[0, 0], shift(images[0, 0], (1, 1), order=1, mode="reflect"))


def test_clouds_fill_0_to_1_and_are_smoother_with_more_decay(draws: MakeDraws) -> None:
    rough = weather.plasma(draws(20), 33, 1.5)
    smooth = weather.plasma(draws(20), 33, 3)

    assert rough.shape == (20, 64, 64)
    assert (rough.min((1, 2)) == 0).all()
    assert (rough.max((1, 2)) == 1).all()
    assert np.abs(np.diff(smooth)).mean() < 0.6 * np.abs(np.diff(rough)).mean()
    # On a torus the two ends are neighbours.
    ends = np.abs(smooth[:, :, 0] - smooth[:, :, -1]).mean()
    assert ends < 2 * np.abs(np.diff(smooth)).mean()


def test_fog_of_a_white_image_leaves_it_white_under_the_thickest_cloud(draws: MakeDraws) -> None:
    """x m / (m + c) with clouds p in [0, 1]: between 1 / (1 + c) and 1 on white."""
    foggy = weather.fog(np.ones((3, 3, 16, 16)), draws(3), 1.5, 2)

    assert foggy.max((1, 2, 3)) == pytest.approx([1, 1, 1])
    assert foggy.min((1, 2, 3)) == pytest.approx([1 / 2.5] * 3)


def test_snow_without_flakes_pales_the_image(draws: MakeDraws) -> None:
    image = np.zeros((1, 3, 8, 8))
    image[:, 0] = 0.2
    snowy = weather.snow(image, draws(1), 0, 0, 2, 0.5, 10, 4, 0.8)
    paled = 0.8 * 0.2 + 0.2 * (1.5 * 0.299 * 0.2 + 0.5)

    assert np.allclose(snowy[:, 0], paled)
    assert np.allclose(snowy[:, 1], 0.2 * (1.5 * 0.299 * 0.2 + 0.5))


def test_flakes_lie_on_the_image_and_turned_by_half_a_turn(draws: MakeDraws) -> None:
    black = np.zeros((1, 1, 9, 9))
    paled = 0.2 * 0.5
    flakes = weather.snow(black, draws(1), 0.3, 0.3, 1, 0.5, 4, 2, 0.8) - paled

    assert flakes.max() > 0.05
    assert np.allclose(flakes, flakes[:, :, ::-1, ::-1])


def test_frost_is_a_part_of_a_photograph(draws: MakeDraws) -> None:
    photographs = [np.random.default_rng(seed).uniform(size=(3, 12, 15)) for seed in (0, 1)]
    images = np.full((30, 3, 8, 8), 0.5)
    frosty = weather.frost(images, draws(30), 0.8, 0.4, photographs=photographs)
    parts = {
        (number, top, left): 0.4 + 0.4 * photograph[:, top : top + 8, left : left + 8]
        for number, photograph in enumerate(photographs)
        for top in range(5)
        for left in range(8)
    }
    found = [key for result in frosty for key, part in parts.items() if np.allclose(result, part)]

    assert len(found) == 30
    assert {number for number, _, _ in found} == {0, 1}
    assert len(set(found)) > 15
