"""Norm balls around images in the box [0, 1]: distances, radii, and projections.

Computed in float64: over many pixels, the rounding error of a float32 sum exceeds `ROUNDING_SLACK`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from advtransfer.toolkit.option_checks import Norm, require_radius
from advtransfer.types import Shape

ROUNDING_SLACK = 1e-6
"""Tolerated distance outside the ball due to float32 rounding; relative for radii above 1."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A norm and the radii to measure, in [0, 1] pixel space.

    Raises:
        ValueError: Two radii have the same name ``f"{eps:g}"``.
    """

    norm: Norm
    eps: tuple[float, ...]

    def __post_init__(self) -> None:
        # A radius names its metric by six digits: two equal names would be one metric.
        names = [f"{eps:g}" for eps in self.eps]
        if len(set(names)) < len(names):
            raise ValueError(
                f"found eps {list(self.eps)}; expected radii that differ in six digits; "
                "remove the repeated ones"
            )

    @classmethod
    def from_option(cls, norm: Norm, eps: float | tuple[float, ...]) -> Budget:
        """Return the budget of one radius or of several."""
        return cls(norm, eps if isinstance(eps, tuple) else (eps,))

    def check_radii(self, shape: Shape) -> None:
        """Raise an error for a radius that reaches beyond the box: its units are most likely wrong.

        Raises:
            ValueError: A radius is negative or above 1 (l_inf), ``sqrt(C * H * W)`` (l_2) or
                ``C * H * W`` (l_1).
        """
        for eps in self.eps:
            require_radius(eps, self.norm, shape=shape, bounds=(0.0, 1.0))


def distances_to_images(points: Tensor, images: Tensor, *, norm: Norm) -> Tensor:
    """Return the distances of points ``(B, C, H, W)`` from their images, ``(B,)`` float64."""
    offsets = _offsets(points, images)
    if norm == "linf":
        return offsets.abs_().amax(
            1
        )  # an order of magnitude faster than the norm of order infinity
    order = {"l2": 2.0, "l1": 1.0}[norm]
    lengths: Tensor = torch.linalg.vector_norm(offsets, ord=order, dim=1)
    return lengths


def eps_with_slack(eps: float) -> float:
    """Return the largest distance that counts as within eps."""
    return eps + ROUNDING_SLACK * max(1.0, eps)


def inside_box(points: Tensor) -> Tensor:
    """Return which points ``(B, C, H, W)`` lie in the box, ``(B,)`` bool; NaN never does."""
    flat = points.flatten(1)
    return (flat.amin(1) >= 0) & (flat.amax(1) <= 1)


def bring_inside(points: Tensor, images: Tensor, *, norm: Norm, eps: float) -> Tensor:
    """Return the points clamped to the box, with those outside their ball projected onto it.

    Args:
        points: Points ``(B, C, H, W)`` that rounding may have left outside the ball.
        images: The centres of the balls, in the box.
        norm: The norm of the balls.
        eps: Their radius.
    """
    points = points.clamp(0, 1)
    is_outside = distances_to_images(points, images, norm=norm) > eps_with_slack(eps)
    if not is_outside.any():
        return points
    # A point inside keeps its bits: projecting it again would change its rounding.
    mask = is_outside.reshape(-1, *[1] * (points.ndim - 1))
    return torch.where(mask, project_onto_ball(points, images, norm=norm, eps=eps), points)


def project_onto_ball(points: Tensor, images: Tensor, *, norm: Norm, eps: float) -> Tensor:
    """Return the nearest points of the balls, ``(B, C, H, W)``; a point inside stays unchanged."""
    offsets = _offsets(points, images)
    match norm:
        case "linf":
            offsets = offsets.clamp(-eps, eps)
        case "l2":
            offsets = _shorten_offsets(offsets, eps, order=2)
        case "l1":
            offsets = _project_onto_l1_ball(offsets, eps)
    return _add_rounded_inward(images, offsets.reshape(images.shape))


def scale_into_ball(points: Tensor, images: Tensor, *, order: float, eps: float) -> Tensor:
    """Return the points moved straight towards their images into the balls, ``(B, C, H, W)``."""
    offsets = _shorten_offsets(_offsets(points, images), eps, order=order)
    return _add_rounded_inward(images, offsets.reshape(images.shape))


def _offsets(points: Tensor, images: Tensor) -> Tensor:
    """Return the points relative to their images, ``(B, D)`` float64."""
    return points.to(torch.float64, copy=True).sub_(images).flatten(1)


def _project_onto_l1_ball(offsets: Tensor, eps: float) -> Tensor:
    """Return the nearest points ``(B, D)`` of the l_1 ball (Duchi et al., 2008, figure 1)."""
    sizes = offsets.abs()
    decreasing = sizes.sort(dim=1, descending=True).values
    ranks = torch.arange(1, offsets.shape[1] + 1, dtype=offsets.dtype, device=offsets.device)
    # On the CPU, because before torch 2.6 cumsum on CUDA is not reproducible bit by bit.
    shifts = (decreasing.cpu().cumsum(1).to(decreasing) - eps) / ranks
    last = (decreasing > shifts).sum(1, keepdim=True).clamp_min(1) - 1
    shift = shifts.gather(1, last).clamp_min(0)
    shrunk = offsets.sign() * (sizes - shift).clamp_min(0)
    is_inside = sizes.sum(1, keepdim=True) <= eps
    return torch.where(is_inside, offsets, shrunk)


def _shorten_offsets(offsets: Tensor, eps: float, *, order: float) -> Tensor:
    """Return the offsets ``(B, D)``, scaled to length eps where they are longer."""
    lengths: Tensor = torch.linalg.vector_norm(offsets, ord=order, dim=1, keepdim=True)
    # The lower bound avoids a division by zero, as in Foolbox's `clip_lp_norms`.
    return offsets * (eps / lengths.clamp_min(1e-12)).clamp_max(1)


def _add_rounded_inward(images: Tensor, offsets: Tensor) -> Tensor:
    """Return ``images + offsets`` in the images' dtype, rounded towards the image."""
    exact = images.double() + offsets
    rounded = exact.to(images.dtype)
    # Rounding away from the image would take a point of the surface out of the ball.
    is_further = (rounded.double() - images.double()).abs() > offsets.abs()
    return torch.where(is_further, torch.nextafter(rounded, images), rounded)
