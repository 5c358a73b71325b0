"""Points brought back into a ball. In float64: a float32 sum over many pixels is off by more than a point may be."""

from __future__ import annotations

import torch
from torch import Tensor

from advtransfer_foolbox.budget import distances, reach
from advtransfer_foolbox.settings import Norm


def inside(points: Tensor, images: Tensor, *, norm: Norm, eps: float) -> Tensor:
    """Points ``(B, C, H, W)`` in the box, those that count as outside their ball moved to its nearest point.

    Args:
        points: What rounding may have left outside the ball.
        images: The balls' centres, in the box.
        norm: The norm of the balls.
        eps: Their radius.
    """
    points = points.clamp(0, 1)
    beyond = (distances(points, images, norm=norm) > reach(eps)).reshape(-1, *[1] * (points.ndim - 1))
    return torch.where(beyond, projected(points, images, norm=norm, eps=eps), points) if beyond.any() else points


def projected(points: Tensor, images: Tensor, *, norm: Norm, eps: float) -> Tensor:
    """The nearest points of the balls ``(B, C, H, W)``; a point of its ball stays as it is."""
    moves = (points.double() - images.double()).flatten(1)
    match norm:
        case "linf":
            moves = moves.clamp(-eps, eps)
        case "l2":
            moves = _shortened(moves, eps, order=2)
        case "l1":
            moves = _onto_l1_ball(moves, eps)
    return _moved(images, moves.reshape(images.shape))


def shortened(points: Tensor, images: Tensor, *, order: float, eps: float) -> Tensor:
    """The points of the balls on the straight way back to the image, ``(B, C, H, W)``."""
    moves = (points.double() - images.double()).flatten(1)
    return _moved(images, _shortened(moves, eps, order=order).reshape(images.shape))


def _onto_l1_ball(moves: Tensor, eps: float) -> Tensor:
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


def _shortened(moves: Tensor, eps: float, *, order: float) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(moves, ord=order, dim=1, keepdim=True)
    return moves * (eps / lengths.clamp_min(1e-12)).clamp_max(1)


def _moved(images: Tensor, moves: Tensor) -> Tensor:
    """``images + moves`` in the images' type; rounded towards the image, so that rounding takes no point outside."""
    exact = images.double() + moves
    rounded = exact.to(images.dtype)
    further = (rounded.double() - images.double()).abs() > moves.abs()
    return torch.where(further, torch.nextafter(rounded, images), rounded)
