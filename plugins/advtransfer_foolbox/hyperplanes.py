"""Projections of points in the box [0, 1] onto hyperplanes, in l_inf, l_2 and l_1.

Computed in float64: a sum over many pixels in float32 misses the plane.
"""

from __future__ import annotations

import torch
from torch import Tensor

from advtransfer.toolkit.option_checks import Norm


def project_onto_hyperplane(
    points: Tensor, normals: Tensor, heights: Tensor, *, norm: Norm
) -> Tensor:
    """Return the shortest moves to the planes that stay in the box, ``(B, D)`` float64.

    The move ``m`` of a row solves Croce and Hein (2020), equation 5: the smallest ``||m||`` with
    ``height + <normal, m> = 0`` and ``point + m`` in the box. If no point of the box lies on the
    plane, it is the move to the nearest corner of the box (their equation 6).

    Args:
        points: Points in the box, ``(B, D)``.
        normals: Normals of the planes, ``(B, D)``.
        heights: Value of each plane's affine function at its point, ``(B,)``.
        norm: The norm that measures the move.
    """
    # Every coordinate moves towards the plane or not at all: what is left to find is how far.
    directions = -torch.sign(heights.double())[:, None] * normals.double().sign()
    slopes = normals.double().abs()
    room = torch.where(directions > 0, 1 - points.double(), points.double())
    room = torch.where(directions != 0, room, 0.0)
    # A plane's scale is free: scaled to 1, small gradients keep their squares.
    largest = slopes.amax(1, keepdim=True)
    scale = torch.where(largest > 0, largest, 1.0)
    slopes = slopes / scale
    needed = heights.double().abs()[:, None] / scale
    match norm:
        case "linf":
            speeds = torch.ones_like(slopes)
            lengths = _move_together(slopes, room, speeds, needed)
        case "l2":
            lengths = _move_together(slopes, room, slopes, needed)
        case "l1":
            lengths = _move_in_turn(slopes, room, needed)
    return directions * lengths


def _move_together(slopes: Tensor, room: Tensor, speeds: Tensor, needed: Tensor) -> Tensor:
    """Return ``min(time * speed, room)`` at the time when ``sum(slope * length)`` is `needed`.

    This is the optimum in l_inf (all speeds 1) and in l_2 (speeds are the slopes). The sum grows
    with time, piecewise linearly, with a corner wherever a coordinate reaches the edge of the box.

    Args:
        slopes: Gain of each coordinate per length, ``(B, D)``.
        room: Largest length of each coordinate, ``(B, D)``.
        speeds: Length of each coordinate per time, ``(B, D)``.
        needed: The sum to reach, ``(B, 1)``.
    """
    # A coordinate without speed is put first, where it changes no sum.
    is_moving = speeds > 0
    corners = torch.where(is_moving, room / torch.where(is_moving, speeds, 1.0), 0.0)
    corners, order = corners.sort(dim=1, stable=True)
    gains = (slopes * room).gather(1, order)
    rates = (slopes * speeds).gather(1, order)
    # Sums over the coordinates that stand still before a corner, and over those that still move.
    stopped = _cumulative_sum(gains) - gains
    moving = _cumulative_sum(rates.flip(1)).flip(1)
    reached = stopped + corners * moving
    corner = (reached < needed).sum(1, keepdim=True)
    is_reachable = corner < slopes.shape[1]
    corner = corner.clamp_max(slopes.shape[1] - 1)
    rate = moving.gather(1, corner)
    time = (needed - stopped.gather(1, corner)) / torch.where(rate > 0, rate, 1.0)
    lengths = torch.minimum(time.clamp_min(0) * speeds, room)
    return torch.where(is_reachable, lengths, room)


def _move_in_turn(slopes: Tensor, room: Tensor, needed: Tensor) -> Tensor:
    """Return the lengths of the optimum in l_1: the steepest coordinates move first, to the edge.

    Args:
        slopes: Gain of each coordinate per length, ``(B, D)``.
        room: Largest length of each coordinate, ``(B, D)``.
        needed: The sum of the gains to reach, ``(B, 1)``.
    """
    decreasing, order = slopes.sort(dim=1, descending=True, stable=True)
    gains = (slopes * room).gather(1, order)
    still_needed = (needed - (_cumulative_sum(gains) - gains)).clamp_min(0)
    lengths = still_needed / torch.where(decreasing > 0, decreasing, 1.0)
    lengths = torch.minimum(lengths, room.gather(1, order))
    return torch.empty_like(lengths).scatter(1, order, lengths)


def _cumulative_sum(values: Tensor) -> Tensor:
    """Return the sums of each row up to each column, ``(B, D)``."""
    # On the CPU, because before torch 2.6 cumsum on CUDA is not reproducible bit by bit.
    return values.cpu().cumsum(1).to(values)
