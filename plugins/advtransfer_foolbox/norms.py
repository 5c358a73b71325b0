"""Norm balls around images in the box [0, 1]: distances, radii, and projections.

In float64, since a float32 sum over many pixels is off by more than a point may lie outside its ball.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from advtransfer.toolkit.option_checks import require_radius
from advtransfer.types import Shape
from advtransfer_foolbox.options import Norm

ROUNDING_SLACK = 1e-6
"""How far outside its ball float32 rounding may leave a point, in pixels (for radii above 1, relative to them)."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A norm, and the radii to measure in [0, 1] pixel space."""

    norm: Norm
    eps: tuple[float, ...]

    def __post_init__(self) -> None:
        names = [f"{eps:g}" for eps in self.eps]
        if len(set(names)) < len(names):
            raise ValueError(
                f"found eps {list(self.eps)}; expected radii that differ in six digits; drop the repeated"
            )

    @classmethod
    def from_option(cls, norm: Norm, eps: float | tuple[float, ...]) -> Budget:
        """A budget of one radius, or of several."""
        return cls(norm, eps if isinstance(eps, tuple) else (eps,))

    def check_radii(self, shape: Shape) -> None:
        """Refuse a radius that reaches beyond the box for images of this shape: units were mistaken, most likely.

        Raises:
            ValueError: A radius above 1 (l_inf), ``sqrt(C * H * W)`` (l_2) or ``C * H * W`` (l_1), or a negative one.
        """
        for eps in self.eps:
            require_radius(eps, self.norm, shape=shape, bounds=(0.0, 1.0))


def distances_to_images(points: Tensor, images: Tensor, *, norm: Norm) -> Tensor:
    """How far points ``(B, C, H, W)`` lie from their images, ``(B,)`` float64."""
    order = {"linf": math.inf, "l2": 2.0, "l1": 1.0}[norm]
    moved = (points.double() - images.double()).flatten(1)
    lengths: Tensor = torch.linalg.vector_norm(moved, ord=order, dim=1)
    return lengths


def eps_with_slack(eps: float) -> float:
    """How far a point may lie from its image and still count as within eps."""
    return eps + ROUNDING_SLACK * max(1.0, eps)


def inside_box(points: Tensor) -> Tensor:
    """Which points ``(B, C, H, W)`` lie in the box, ``(B,)`` bool; NaN never does."""
    return ((points >= 0) & (points <= 1)).flatten(1).all(1)


def bring_inside(points: Tensor, images: Tensor, *, norm: Norm, eps: float) -> Tensor:
    """Points ``(B, C, H, W)`` in the box, those that count as outside their ball moved to its nearest point.

    Args:
        points: What rounding may have left outside the ball.
        images: The balls' centres, in the box.
        norm: The norm of the balls.
        eps: Their radius.
    """
    points = points.clamp(0, 1)
    beyond = (distances_to_images(points, images, norm=norm) > eps_with_slack(eps)).reshape(
        -1, *[1] * (points.ndim - 1)
    )
    return (
        torch.where(beyond, project_onto_ball(points, images, norm=norm, eps=eps), points)
        if beyond.any()
        else points
    )


def project_onto_ball(points: Tensor, images: Tensor, *, norm: Norm, eps: float) -> Tensor:
    """The nearest points of the balls ``(B, C, H, W)``; a point of its ball stays as it is."""
    moves = (points.double() - images.double()).flatten(1)
    match norm:
        case "linf":
            moves = moves.clamp(-eps, eps)
        case "l2":
            moves = _scale_moves(moves, eps, order=2)
        case "l1":
            moves = _project_onto_l1_ball(moves, eps)
    return _add_rounded_inward(images, moves.reshape(images.shape))


def scale_into_ball(points: Tensor, images: Tensor, *, order: float, eps: float) -> Tensor:
    """The points of the balls on the straight way back to the image, ``(B, C, H, W)``."""
    moves = (points.double() - images.double()).flatten(1)
    return _add_rounded_inward(images, _scale_moves(moves, eps, order=order).reshape(images.shape))


def _project_onto_l1_ball(moves: Tensor, eps: float) -> Tensor:
    """The nearest points ``(B, D)`` of the l_1 ball of radius eps (Duchi et al., 2008, figure 1)."""
    sizes = moves.abs()
    falling = sizes.sort(dim=1, descending=True).values
    ranks = torch.arange(1, moves.shape[1] + 1, dtype=moves.dtype, device=moves.device)
    # on the CPU: before torch 2.6 there is no cumulative sum on CUDA that gives the same bits again
    shifts = (falling.cpu().cumsum(1).to(falling) - eps) / ranks
    last = (falling > shifts).sum(1, keepdim=True).clamp_min(1) - 1
    shift = shifts.gather(1, last).clamp_min(0)
    shrunk = moves.sign() * (sizes - shift).clamp_min(0)
    return torch.where(sizes.sum(1, keepdim=True) <= eps, moves, shrunk)


def _scale_moves(moves: Tensor, eps: float, *, order: float) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(moves, ord=order, dim=1, keepdim=True)
    return moves * (eps / lengths.clamp_min(1e-12)).clamp_max(1)


def _add_rounded_inward(images: Tensor, moves: Tensor) -> Tensor:
    """``images + moves`` in the images' type; rounded towards the image, so that rounding takes no point outside."""
    exact = images.double() + moves
    rounded = exact.to(images.dtype)
    further = (rounded.double() - images.double()).abs() > moves.abs()
    return torch.where(further, torch.nextafter(rounded, images), rounded)
