from __future__ import annotations

import math

import pytest
import torch

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.option_checks import Norm
from advtransfer_foolbox.norms import Budget, distances_to_images, eps_with_slack, inside_box
from advtransfer_foolbox.starts import random_starts


@pytest.mark.parametrize(
    ("norm", "largest"), [("linf", 1.0), ("l2", math.sqrt(3 * 4 * 4)), ("l1", 48.0)]
)
def test_a_radius_may_reach_across_the_box_and_not_beyond(norm: Norm, largest: float) -> None:
    Budget.from_option(norm, (0, largest)).check_radii((3, 4, 4))

    for eps in (largest * 1.001, -0.1, math.nan, math.inf):
        with pytest.raises(
            ValueError,
            match=rf"found eps {eps}; expected 0 to .* for {norm} on inputs of shape \(3, 4",
        ):
            Budget.from_option(norm, eps).check_radii((3, 4, 4))


def test_radii_with_the_same_metric_name_are_an_error() -> None:
    with pytest.raises(ValueError, match="expected radii that differ in six digits"):
        Budget.from_option("l2", (0.1, 0.2, 0.1000000001))


@pytest.mark.parametrize(
    ("norm", "move", "legal"),
    [
        ("linf", [0.1, -0.1], True),
        ("linf", [0.1 + 5e-7, 0], True),
        ("linf", [0.1 + 1e-5, 0], False),
        ("l2", [0.06, -0.08], True),
        ("l2", [0.06, -0.0801], False),
        ("l2", [math.nan, 0], False),
        ("l1", [0.04, -0.06], True),
        ("l1", [0.04, -0.0601], False),
    ],
)
def test_a_point_is_legal_inside_the_ball_up_to_rounding(
    norm: Norm, move: list[float], legal: bool
) -> None:
    image = torch.full((1, 1, 1, 2), 0.5)
    point = image + torch.tensor(move).reshape(1, 1, 1, 2)

    assert [legal] == (distances_to_images(point, image, norm=norm) <= eps_with_slack(0.1)).tolist()


@pytest.mark.parametrize("value", [-1e-7, 1 + 2e-7])
def test_the_box_has_no_slack(value: float) -> None:
    assert [False] == inside_box(torch.tensor([[value]])).tolist()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_starts_are_uniform_in_the_unit_ball(norm: Norm) -> None:
    drawn = random_starts(
        range(2000), (1, 1, 3), norm=norm, seed=0, restart=0, context=InMemoryContext()
    ).flatten(1)
    radius = drawn.norm(p={"linf": math.inf, "l2": 2, "l1": 1}[norm], dim=1)

    assert radius.max() <= 1 + 1e-6
    assert drawn.mean(0).tolist() == pytest.approx([0, 0, 0], abs=0.05)
    # the share of a ball within radius r is r to the dimension, so the cube of the radius is uniform in [0, 1]
    assert (radius**3).quantile(torch.tensor([0.25, 0.5, 0.75])).tolist() == pytest.approx(
        [0.25, 0.5, 0.75], abs=0.04
    )


def test_a_start_depends_on_seed_key_and_restart_and_on_no_other_sample() -> None:
    def draw(*keys: int, seed: int = 0, restart: int = 0) -> list[list[float]]:
        context = InMemoryContext()
        return (
            random_starts(keys, (1, 2, 2), norm="l2", seed=seed, restart=restart, context=context)
            .flatten(1)
            .tolist()
        )

    assert draw(5, 7, 9)[1:] == draw(7, 9)
    assert draw(7) != draw(8)
    assert draw(7) != draw(7, seed=1)
    assert draw(7) != draw(7, restart=1)
