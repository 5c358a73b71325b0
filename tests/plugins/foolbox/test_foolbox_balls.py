"""Points brought back into balls, whose sums over many pixels float32 gets wrong."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.option_checks import Norm
from advtransfer.toolkit.rng import stream_generator
from advtransfer_foolbox.norms import (
    bring_inside,
    distances_to_images,
    inside_box,
    project_onto_ball,
    scale_into_ball,
)
from advtransfer_foolbox.starts import random_starts

EPS: dict[Norm, float] = {"linf": 0.1, "l2": 3.0, "l1": 40.0}
ORDER: dict[Norm, float] = {"linf": math.inf, "l2": 2, "l1": 1}


def scattered() -> tuple[Tensor, Tensor]:
    """Images of the size of ImageNet's, and points far from them in the box."""
    images = torch.rand((3, 3, 224, 224), generator=stream_generator("balls"))
    return images, (
        images + 0.3 * torch.randn(images.shape, generator=stream_generator("far"))
    ).clamp(0, 1)


@pytest.mark.parametrize("norm", EPS)
def test_projected_points_are_inside_the_ball_despite_rounding(norm: Norm) -> None:
    images, points = scattered()
    found = project_onto_ball(points, images, norm=norm, eps=EPS[norm])
    away = distances_to_images(found, images, norm=norm)

    assert (away <= EPS[norm] * (1 + 1e-12)).all()
    assert away.tolist() == pytest.approx([EPS[norm]] * 3, rel=1e-3)
    assert inside_box(found).all()


def test_scaling_into_the_ball_keeps_the_direction() -> None:
    images, points = scattered()
    found = scale_into_ball(points, images, order=1, eps=40.0)

    assert (distances_to_images(found, images, norm="l1") <= 40 * (1 + 1e-12)).all()
    torch.testing.assert_close(
        (found - images) / 40,
        (points - images) / (points - images).abs().sum((1, 2, 3), keepdim=True),
        atol=1e-8,
        rtol=0,
    )


@pytest.mark.parametrize("norm", EPS)
def test_points_inside_the_ball_stay_unchanged(norm: Norm) -> None:
    images, points = scattered()
    near = project_onto_ball(points, images, norm=norm, eps=EPS[norm])
    near[1:] = points[1:]
    found = bring_inside(near, images, norm=norm, eps=EPS[norm])

    assert near[0].equal(found[0])
    assert (distances_to_images(found, images, norm=norm) <= EPS[norm] * (1 + 1e-12)).all()
    assert images.equal(project_onto_ball(images, images, norm=norm, eps=EPS[norm]))


@pytest.mark.parametrize("norm", EPS)
def test_projection_is_the_nearest_point_of_the_ball(norm: Norm) -> None:
    images = torch.full((40, 1, 1, 4), 0.5)
    points = images + 0.4 * (2 * torch.rand(images.shape, generator=stream_generator("near")) - 1)
    found = project_onto_ball(points, images, norm=norm, eps=0.2)
    others = random_starts(
        range(2000), (1, 1, 4), norm=norm, seed=0, restart=0, context=InMemoryContext()
    )
    edge = others.flatten(1) / others.flatten(1).norm(p=ORDER[norm], dim=1, keepdim=True)
    nearest = torch.cdist(
        points.flatten(1), 0.5 + 0.2 * torch.cat([edge, torch.eye(4), -torch.eye(4)])
    ).amin(1)
    out = distances_to_images(points, images, norm=norm) > 0.2

    assert out.sum() > 10
    assert ((points - found).flatten(1).norm(dim=1) <= nearest + 1e-6)[out].all()
