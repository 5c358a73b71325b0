"""Models whose robust accuracy is known exactly: linear classifiers of two classes.

For a plane ``w x + b`` the worst point of the ball and the box is known in closed form: each pixel
moves to the edge of the ball or of the box. No attack may report a lower robust accuracy than this
one, and a good attack reports the same.
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
"""The order of the dual norm of each norm.

The distance of a point to the plane is ``|w x + b|`` divided by the dual norm of ``w``.
"""

BISECTION_STEPS = 100
"""Halvings of the interval of the l_2 multiplier; more than float64 can resolve."""


class LinearClassifier(nn.Module):
    """A linear classifier of two classes, with class 1 where ``w x + b`` is positive."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits ``(B, 2)`` of inputs ``(B, ...)``."""
        height = inputs.flatten(1) @ self.weight + self.bias
        return torch.stack([-height / 2, height / 2], dim=1)


def exact_robustness(
    plane: LinearClassifier, inputs: Tensor, labels: Tensor, *, norm: Norm, eps: float
) -> tuple[Tensor, Tensor]:
    """Decide exactly, in float64, which samples no point of the ball and the box [0, 1] breaks.

    Args:
        plane: The model.
        inputs: ``(B, ...)`` in [0, 1].
        labels: ``(B,)``, 0 or 1.
        norm: The norm of the ball.
        eps: The radius of the ball.

    Returns:
        True for robust samples ``(B,)``, and the worst margins ``(B,)``: the smallest value of
        ``w x + b`` on the side of the label. A margin of 0 is not robust.
    """
    # In float64, since margins near 0 decide.
    weight = plane.weight.double()
    pixels = inputs.flatten(1).double()
    sides = torch.where(labels == 1, 1.0, -1.0).double()
    # Every pixel moves towards the other side, at most to the edge of the box.
    directions = -sides[:, None] * weight
    room = torch.where(directions > 0, 1 - pixels, pixels)
    distances = _pixel_distances(weight.abs(), room, norm, eps)
    height = pixels @ weight + plane.bias.double()
    worst = sides * height - (distances * weight.abs()).sum(1)
    return worst > 0, worst


def _pixel_distances(slopes: Tensor, room: Tensor, norm: Norm, eps: float) -> Tensor:
    """Return how far each pixel moves to the worst point of the ball and the box, ``(B, D)``."""
    match norm:
        case "linf":
            return room.clamp(max=eps)
        case "l2":
            return _farthest_l2(slopes, room, eps)
        case "l1":
            return _farthest_l1(slopes, room, eps)


def plane_subject(
    seed: int, *, norm: Norm, eps: float, images: int | None = None
) -> tuple[Subject, float]:
    """Return a linear classifier of two digits and its exact robust accuracy at `eps`.

    Args:
        seed: Chooses two of the digits 5 to 9.
        norm: The norm of the ball.
        eps: The radius of the ball. The contrast of the images is lowered until about half of them
            can be broken, so the robust accuracy is near 1/2.
        images: The number of test images, the first ones; None for all.
    """
    pairs = torch.combinations(torch.arange(CLASSES))
    first, second = pairs[seed % len(pairs)].tolist()
    digits = digits_dataset()
    train, train_labels = _two_classes(digits.part("train"), first, second)
    test, labels = _two_classes(digits.part("test"), first, second)
    plane = _fit_plane(train, train_labels)
    heights = (plane(test)[:, 1] * 2).abs()
    distances = heights / plane.weight.norm(p=DUAL_NORMS[norm])
    contrast = min(1.0, eps / float(distances.median()))
    points = (0.5 + contrast * (test - 0.5))[:images]
    labels = labels[:images]
    # The bias moves with the images, so that the plane separates them as before.
    bias = plane.bias * contrast + (contrast - 1) * 0.5 * plane.weight.sum()
    model = LinearClassifier(plane.weight, bias).eval()
    names = (str(first), str(second))
    card = DataCard(tuple(points.shape[1:]), (0.0, 1.0), "classes", 2, names, f"plane {seed}")
    samples = ArraySamples(card=card, inputs=points, labels=labels)
    robust, _ = exact_robustness(model, points, labels, norm=norm, eps=eps)
    return Subject(model, samples, model), float(robust.double().mean())


def _two_classes(samples: Samples, first: int, second: int) -> tuple[Tensor, Tensor]:
    labels = samples.labels(all_positions(samples))
    positions = ((labels == first) | (labels == second)).nonzero().flatten()
    return samples.inputs(positions), (labels[positions] == second).long()


def _fit_plane(inputs: Tensor, labels: Tensor) -> LinearClassifier:
    """Return the plane of a ridge regression on targets -1 and 1."""
    pixels = torch.cat([inputs.flatten(1), torch.ones(len(inputs), 1)], dim=1).double()
    targets = torch.where(labels == 1, 1.0, -1.0).double()
    gram = pixels.T @ pixels + torch.eye(pixels.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(gram, pixels.T @ targets).float()
    return LinearClassifier(weights[:-1], weights[-1])


def _farthest_l2(slopes: Tensor, room: Tensor, eps: float) -> Tensor:
    """Return how far each pixel moves to the worst point of l_2 ball and box, ``(B, D)``."""
    # At the optimum a pixel moves by min(t * slope, room), with one multiplier t for each sample.
    # The length of the whole move grows with t, so bisection finds the t that uses up eps.
    low = torch.zeros(len(room), 1, dtype=torch.float64)
    high = torch.full_like(low, 1e12)
    for _ in range(BISECTION_STEPS):
        middle = (low + high) / 2
        inside = torch.minimum(middle * slopes, room).norm(dim=1, keepdim=True) <= eps
        low = torch.where(inside, middle, low)
        high = torch.where(inside, high, middle)
    return torch.minimum(low * slopes, room)


def _farthest_l1(slopes: Tensor, room: Tensor, eps: float) -> Tensor:
    """Return how far each pixel moves to the worst point of l_1 ball and box, ``(B, D)``."""
    # The pixels of the steepest slopes move to the edge of the box, one after another, until eps is
    # used up.
    order = slopes.argsort(descending=True)
    ordered_room = room[:, order]
    used_before = ordered_room.cumsum(1) - ordered_room
    distances = torch.empty_like(room)
    distances[:, order] = (eps - used_before).clamp_min(0).minimum(ordered_room)
    return distances
