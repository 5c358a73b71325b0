"""Models whose robust accuracy is known exactly: two classes, divided by a plane.

For a plane ``w x + b`` the farthest that a point of the ball can get across is closed form: each pixel goes its way to
the edge of the ball or of the box. No attack may report less than this, and a good one reports just this.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from advtransfer.testing.canaries.honest_models import CLASSES, Subject, digits_dataset
from advtransfer.toolkit.datasets import ArraySamples, all_positions
from advtransfer.types import DataCard, Samples
from advtransfer.worker.verification.config import Norm

DUAL_NORMS: dict[Norm, float] = {"linf": 1, "l2": 2, "l1": math.inf}
"""The norm of the weights that a height is divided by, for the distance to the plane."""

BISECTION_STEPS = 100
"""Of the interval in which the l_2 multiplier is looked for: far below what float64 resolves."""


class LinearClassifier(nn.Module):
    """A linear classifier of two classes; class 1 is where ``w x + b`` is positive."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, ...)`` to ``(B, 2)`` logits."""
        height = inputs.flatten(1) @ self.weight + self.bias
        return torch.stack([-height / 2, height / 2], dim=1)


def exact_robustness(
    plane: LinearClassifier, inputs: Tensor, labels: Tensor, *, norm: Norm, eps: float
) -> tuple[Tensor, Tensor]:
    """Which samples no point of the ball and the box [0, 1] takes to the other class, in float64.

    Args:
        plane: The model.
        inputs: ``(B, ...)`` in [0, 1].
        labels: ``(B,)``, 0 or 1.
        norm: The ball's.
        eps: Its radius.

    Returns:
        ``(B,)`` bool; and the worst margins ``(B,)``, the height above the plane that is left (a tie is 0).
    """
    weight, pixels = plane.weight.double(), inputs.flatten(1).double()
    sides = torch.where(labels == 1, 1.0, -1.0).double()
    # every pixel moves against the side that the sample is on, at most to the edge of the box
    towards = -sides[:, None] * weight
    room = torch.where(towards > 0, 1 - pixels, pixels)
    if norm == "linf":
        moved = room.clamp(max=eps)
    else:
        moved = (_farthest_l2 if norm == "l2" else _farthest_l1)(weight.abs(), room, eps)
    height = pixels @ weight + plane.bias.double()
    worst = sides * height - (moved * weight.abs()).sum(1)
    return worst > 0, worst


def plane_subject(seed: int, *, norm: Norm, eps: float) -> tuple[Subject, float]:
    """Two digits, told apart by a plane, and its exact robust accuracy at `eps`, which lies near one half.

    Args:
        seed: Which two of the digits 5 to 9.
        norm: The ball's.
        eps: Its radius; the images' contrast is lowered until about half of them can be taken across.
    """
    first, second = torch.combinations(torch.arange(CLASSES))[
        seed % (CLASSES * (CLASSES - 1) // 2)
    ].tolist()
    (train, train_labels), (test, labels) = (
        _two_classes(digits_dataset().part(part), first, second) for part in ("train", "test")
    )
    plane = _fit_plane(train, train_labels)
    heights = (plane(test)[:, 1] * 2).abs()
    distance = heights / plane.weight.norm(p=DUAL_NORMS[norm])
    contrast = min(1.0, eps / float(distance.median()))
    grey = 0.5 + contrast * (test - 0.5)
    shifted = LinearClassifier(
        plane.weight, plane.bias * contrast + (contrast - 1) * 0.5 * plane.weight.sum()
    )
    card = DataCard(
        tuple(grey.shape[1:]), (0.0, 1.0), "classes", 2, (str(first), str(second)), f"plane {seed}"
    )
    samples = ArraySamples(card=card, inputs=grey, labels=labels)
    robust, _ = exact_robustness(shifted, grey, labels, norm=norm, eps=eps)
    return Subject(shifted.eval(), samples, shifted.eval()), float(robust.double().mean())


def _two_classes(samples: Samples, first: int, second: int) -> tuple[Tensor, Tensor]:
    labels = samples.labels(all_positions(samples))
    wanted = ((labels == first) | (labels == second)).nonzero().flatten()
    return samples.inputs(wanted), (labels[wanted] == second).long()


def _fit_plane(inputs: Tensor, labels: Tensor) -> LinearClassifier:
    """Ridge regression on -1 and 1: a plane in closed form."""
    pixels = torch.cat([inputs.flatten(1), torch.ones(len(inputs), 1)], dim=1).double()
    targets = torch.where(labels == 1, 1.0, -1.0).double()
    gram = pixels.T @ pixels + torch.eye(pixels.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(gram, pixels.T @ targets).float()
    return LinearClassifier(weights[:-1], weights[-1])


def _farthest_l2(slopes: Tensor, room: Tensor, eps: float) -> Tensor:
    """The farthest point of the l_2 ball and the box: each pixel goes ``min(t * slope, room)``, t by bisection."""
    low = torch.zeros(len(room), 1, dtype=torch.float64)
    high = torch.full_like(low, 1e12)
    for _ in range(BISECTION_STEPS):
        middle = (low + high) / 2
        inside = torch.minimum(middle * slopes, room).norm(dim=1, keepdim=True) <= eps
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    return torch.minimum(low * slopes, room)


def _farthest_l1(slopes: Tensor, room: Tensor, eps: float) -> Tensor:
    """The farthest point of the l_1 ball and the box: the steepest pixels go to the edge, until eps is spent."""
    order = slopes.argsort(descending=True)
    rooms = room[:, order]
    spent = rooms.cumsum(1) - rooms
    moved = torch.empty_like(room)
    moved[:, order] = (eps - spent).clamp_min(0).minimum(rooms)
    return moved
