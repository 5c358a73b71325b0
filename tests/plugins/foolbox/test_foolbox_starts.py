"""Random starts and noise: uniform in their balls, and the same for a sample in every batch."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.option_checks import Norm
from advtransfer_foolbox.random_noise import noise_images, numbers_per_image
from advtransfer_foolbox.starts import normal_numbers, numbers_per_point, random_starts

NORMS: tuple[Norm, ...] = ("linf", "l2", "l1")
ORDER: dict[Norm, float] = {"linf": math.inf, "l2": 2, "l1": 1}
COUNT = 4000


def starts(keys: list[int], norm: Norm, shape: tuple[int, ...], *, restart: int = 0) -> Tensor:
    context = InMemoryContext()
    return random_starts(keys, shape, norm=norm, seed=0, restart=restart, context=context)


def largest_gap(values: Tensor) -> float:
    """Kolmogorov's statistic of values that should be uniform in [0, 1]; above 1.95 once in 1,000 times."""
    ordered = values.double().sort().values
    ranks = torch.arange(1, len(ordered) + 1, dtype=torch.float64) / len(ordered)
    return float((ordered - ranks).abs().max() + 1 / len(ordered)) * math.sqrt(len(ordered))


@pytest.mark.parametrize("size", [3, 4])
@pytest.mark.parametrize("norm", NORMS)
def test_starts_are_uniform_in_the_unit_ball(norm: Norm, size: int) -> None:
    points = starts(list(range(COUNT)), norm, (size,)).double()
    lengths = points.norm(p=ORDER[norm], dim=1)

    assert lengths.max() <= 1 + 1e-6
    # The share of the volume within a radius r is r ** size.
    assert largest_gap(lengths**size) < 1.95
    # By symmetry, no coordinate has a sign or a place of its own.
    assert (points.mean(0).abs() < 4.5 * points.std() / math.sqrt(COUNT)).all()
    variances = points.var(0)
    assert (variances.max() / variances.min()) < 1.3
    signs = (points > 0).double()
    assert ((signs.mean(0) - 0.5).abs() < 4.5 / math.sqrt(4 * COUNT)).all()
    assert torch.corrcoef(points.T).fill_diagonal_(0).abs().max() < 4.5 / math.sqrt(COUNT)


@pytest.mark.parametrize("shape", [(3, 5, 5), (1, 7, 1)])
@pytest.mark.parametrize("norm", NORMS)
def test_a_sample_has_the_same_start_in_every_batch_and_another_in_every_restart(
    norm: Norm, shape: tuple[int, ...]
) -> None:
    together = starts(list(range(200)), norm, shape)

    for keys in ([17], [199, 3, 4], list(range(199, -1, -1))):
        assert starts(keys, norm, shape).equal(together[keys])
    others = starts(list(range(200)), norm, shape, restart=1)
    assert not (others == together).flatten(1).all(1).any()


def test_starts_of_the_l_inf_ball_are_exact_numbers() -> None:
    points = starts([0, 1], "linf", (2, 8))

    # Multiples of 2**-23, of which a float32 rounds none.
    assert ((points.double() + 1) * 2**23 % 1 == 0).all()
    assert torch.stack(
        [2 * InMemoryContext().uniform("attack 0", [key], (16,))[0] - 1 for key in (0, 1)]
    ).equal(points.flatten(1))


def test_an_l2_start_is_its_formula_in_float64() -> None:
    size = 5
    numbers = InMemoryContext().uniform("attack 0", [9], (numbers_per_point("l2", size),))[0]
    first, second = numbers.double().tolist()[:4], numbers.double().tolist()[4:]
    pairs = [
        (math.sqrt(-2 * math.log(1 - u)), 2 * math.pi * v)
        for u, v in zip(first, second, strict=True)
    ]
    normal = [length * math.cos(angle) for length, angle in pairs]
    normal += [length * math.sin(angle) for length, angle in pairs]
    total = math.sqrt(sum(one**2 for one in normal[: size + 2]))

    assert [pytest.approx(one / total, abs=1e-6) for one in normal[:size]] == starts(
        [9], "l2", (size,)
    )[0].tolist()


def test_normal_numbers_are_normal() -> None:
    numbers = normal_numbers(InMemoryContext().uniform("normal", [0], (2 * COUNT,)))[0].double()

    assert largest_gap((1 + torch.erf(numbers / math.sqrt(2))) / 2) < 1.95
    pairs = numbers.reshape(2, COUNT)
    assert torch.corrcoef(pairs)[0, 1].abs() < 4.5 / math.sqrt(COUNT)
    assert torch.corrcoef(pairs**2)[0, 1].abs() < 4.5 / math.sqrt(COUNT)


def test_salt_and_pepper_moves_a_uniform_share_of_the_pixels_by_the_same_amount() -> None:
    size = 400
    count = numbers_per_image("salt_and_pepper", size)
    noise = noise_images(
        "salt_and_pepper", InMemoryContext().uniform("noise 0", range(500), (count,)), size
    )

    assert {-1.0, 0.0, 1.0} == set(noise.flatten().tolist())
    assert largest_gap((noise != 0).double().mean(1)) < 2.5
    assert noise.mean().abs() < 0.01
