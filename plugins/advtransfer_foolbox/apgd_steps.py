"""Step rules of Auto-PGD: the ascent with momentum, and the sparse one in the l_1 ball.

Each rule holds the state of `KERNEL_BATCH` independent ascents, one a row, which may be at different
steps. No function sees more than its own row, so that a row's points do not depend on the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import torch
from foolbox.types import Bounds
from torch import Tensor

from advtransfer.toolkit.apgd import checkpoints
from advtransfer.toolkit.option_checks import Norm
from advtransfer_foolbox.gradient_steps import step_direction
from advtransfer_foolbox.norms import project_onto_ball
from advtransfer_foolbox.row_functions import row_column

MOMENTUM = 0.75
"""Weight alpha of the new step; 1 - alpha is that of the last one (Croce and Hein, 2020, equation 2)."""

RADIUS_PHASES = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))
"""Radii in the l_1 ball, as multiples of eps, and their shares of the steps (Croce and Hein, 2021)."""

FIRST_SPARSITY = 1.5
"""An l_1 step moves the best point's number of changed entries divided by this."""

STEP_FACTOR, SMALLEST_STEP = 1.5, 0.1
"""An l_1 step that is shortened is divided by the first, down to eps times the second."""

SPARSER = 0.95
"""The l_1 step starts again from eps if the changed entries fell below this share of the last ones."""

UNIT_BOX = Bounds(0, 1)


class Ascent(Protocol):
    """Independent ascents of a loss, one a row, from evaluation to evaluation.

    Attributes:
        points: The points to evaluate next, ``(KERNEL_BATCH, C, H, W)``.
        best_points: The point of the largest loss so far of each row, inside its ball.
    """

    points: Tensor
    best_points: Tensor

    def begin(self, rows: Tensor, images: Tensor, starts: Tensor) -> None:
        """Start the ascents of these rows ``(R,)`` at points ``(R, C, H, W)`` inside ball and box."""

    def advance(self, losses: Tensor, gradients: Tensor) -> None:
        """Record losses ``(KERNEL_BATCH,)`` and finite gradients at `points`, and move the points."""

    def is_over(self) -> Tensor:
        """Return which rows have no further point to evaluate, ``(KERNEL_BATCH,)`` bool."""

    def counts_examples(self) -> Tensor:
        """Return at which rows `points` are in the ball of radius eps, ``(KERNEL_BATCH,)`` bool."""


@dataclass(slots=True, kw_only=True)
class MomentumAscent:
    """Ascents with momentum and halved step sizes (Croce and Hein, 2020, algorithm 1).

    Args:
        like: Any tensor ``(KERNEL_BATCH, C, H, W)`` of the images' type and device.
        norm: ``linf`` or ``l2``.
        eps: Radius of the ball.
        steps: Number of steps of an ascent; the points before, between and after them are evaluated.
        rho: Share of a window's steps that must have increased the loss (condition 1).
    """

    like: Tensor
    norm: Norm
    eps: float
    steps: int
    rho: float
    points: Tensor = field(init=False)
    best_points: Tensor = field(init=False)
    best_losses: Tensor = field(init=False)
    step_sizes: Tensor = field(init=False)
    _images: Tensor = field(init=False)
    _previous_points: Tensor = field(init=False)
    _best_gradients: Tensor = field(init=False)
    _losses: Tensor = field(init=False)
    _checked_losses: Tensor = field(init=False)
    _increases: Tensor = field(init=False)
    _was_halved: Tensor = field(init=False)
    _evaluations: Tensor = field(init=False)
    _windows: Tensor = field(init=False)

    def __post_init__(self) -> None:
        per_row = self.like.flatten(1)[:, 0]
        counts = torch.zeros_like(per_row, dtype=torch.int64)
        for name in ("points", "best_points", "_images", "_previous_points", "_best_gradients"):
            setattr(self, name, self.like.clone())
        for name in ("best_losses", "step_sizes", "_losses", "_checked_losses"):
            setattr(self, name, torch.zeros_like(per_row))
        self._increases = counts.clone()
        self._evaluations = counts.clone()
        self._was_halved = torch.zeros_like(per_row, dtype=torch.bool)
        self._windows = torch.zeros(self.steps + 1, dtype=torch.int64, device=self.like.device)
        marks = checkpoints(self.steps)
        for earlier, later in pairwise(marks):
            self._windows[later] = later - earlier

    def begin(self, rows: Tensor, images: Tensor, starts: Tensor) -> None:
        """Start the ascents of these rows ``(R,)`` at points ``(R, C, H, W)`` inside ball and box."""
        self._images[rows] = images
        self.points[rows] = starts
        self.best_points[rows] = starts
        self._previous_points[rows] = starts
        self._best_gradients[rows] = 0
        self.best_losses[rows] = -math.inf
        self._checked_losses[rows] = -math.inf
        self._losses[rows] = math.inf  # the first evaluation is no increase
        self.step_sizes[rows] = 2 * self.eps
        self._increases[rows] = 0
        self._evaluations[rows] = 0
        self._was_halved[rows] = False

    def advance(self, losses: Tensor, gradients: Tensor) -> None:
        """Record losses ``(KERNEL_BATCH,)`` and finite gradients at `points`, and move the points."""
        self._record(losses, gradients)
        points, self._losses = self.points, losses
        windows = self._windows[self._evaluations.clamp_max(self.steps)]
        # On the CPU a look costs less than what follows; on a GPU it would wait for the device.
        if windows.is_cuda or windows.any():
            restarted = self._halve_step_sizes(windows)
            # Algorithm 1 keeps the last iterate for the momentum when it goes back to the best.
            points = _select(restarted, self.best_points, points)
            gradients = _select(restarted, self._best_gradients, gradients)
            self._losses = torch.where(restarted, self.best_losses, losses)

        directions = step_direction(self.norm, gradients, points, UNIT_BOX)
        moved = points + row_column(self.step_sizes, points) * directions
        change = self._project_roughly(moved) - points
        is_first = self._evaluations == 0
        weight = row_column(torch.where(is_first, 1.0, MOMENTUM).to(points), points)
        momentum = (1 - weight) * (points - self._previous_points)
        self._previous_points = self.points
        self.points = self._project(points + weight * change + momentum)
        self._evaluations += 1

    def is_over(self) -> Tensor:
        """Return which rows have no further point to evaluate, ``(KERNEL_BATCH,)`` bool."""
        return self._evaluations > self.steps

    def counts_examples(self) -> Tensor:
        """Return at which rows `points` are in the ball of radius eps: at all."""
        return torch.ones_like(self._was_halved)

    def _record(self, losses: Tensor, gradients: Tensor) -> None:
        is_best = losses > self.best_losses
        self.best_losses = torch.where(is_best, losses, self.best_losses)
        self.best_points = _select(is_best, self.points, self.best_points)
        self._best_gradients = _select(is_best, gradients, self._best_gradients)
        self._increases += losses > self._losses

    def _halve_step_sizes(self, windows: Tensor) -> Tensor:
        """Halve the step sizes that a checkpoint asks for; return these rows.

        Condition 1: fewer than a share rho of the window's steps, 0 for rows at no checkpoint,
        increased the loss. Condition 2: neither the step size changed at the last checkpoint nor
        the best loss since.
        """
        at_checkpoint = windows > 0
        too_few = self._increases < self.rho * windows
        stalled = ~self._was_halved & (self.best_losses <= self._checked_losses)
        halved = at_checkpoint & (too_few | stalled)
        self.step_sizes = torch.where(halved, self.step_sizes / 2, self.step_sizes)
        self._was_halved = torch.where(at_checkpoint, halved, self._was_halved)
        self._checked_losses = torch.where(at_checkpoint, self.best_losses, self._checked_losses)
        self._increases = torch.where(at_checkpoint, 0, self._increases)
        return halved

    def _project_roughly(self, points: Tensor) -> Tensor:
        """Return the points moved into ball and box, up to rounding."""
        if self.norm == "linf":
            return self._project(points)
        offsets = points - self._images
        lengths = torch.linalg.vector_norm(offsets.flatten(1), dim=1)
        shares = (self.eps / lengths.clamp_min(self.eps)).to(offsets)
        return (self._images + offsets * row_column(shares, offsets)).clamp(0, 1)

    def _project(self, points: Tensor) -> Tensor:
        """Return the points moved into ball and box."""
        if self.norm == "linf":
            nearest = torch.minimum(points, self._images + self.eps)
            return torch.maximum(nearest, self._images - self.eps).clamp(0, 1)
        return project_onto_ball(points, self._images, norm=self.norm, eps=self.eps).clamp(0, 1)


@dataclass(slots=True, kw_only=True)
class SparseAscent:
    """Ascents in the l_1 ball by steps of adaptive sparsity (Croce and Hein, 2021, algorithm 1).

    The first steps go in balls of 3 and 2 times the radius; each phase begins at the best point of
    the last one, projected.

    Args:
        like: Any tensor ``(KERNEL_BATCH, C, H, W)`` of the images' type and device.
        eps: Radius of the ball.
        steps: Number of steps of an ascent, over all phases.
    """

    like: Tensor
    eps: float
    steps: int
    points: Tensor = field(init=False)
    best_points: Tensor = field(init=False)
    best_losses: Tensor = field(init=False)
    step_sizes: Tensor = field(init=False)
    _images: Tensor = field(init=False)
    _best_gradients: Tensor = field(init=False)
    _changed: Tensor = field(init=False)
    _moved: Tensor = field(init=False)
    _phases: Tensor = field(init=False)
    _evaluations: Tensor = field(init=False)
    _radii: Tensor = field(init=False)
    _phase_steps: Tensor = field(init=False)

    def __post_init__(self) -> None:
        per_row = self.like.flatten(1)[:, 0]
        counts = torch.zeros_like(per_row, dtype=torch.int64)
        for name in ("points", "best_points", "_images", "_best_gradients"):
            setattr(self, name, self.like.clone())
        for name in ("best_losses", "step_sizes", "_changed", "_moved"):
            setattr(self, name, torch.zeros_like(per_row))
        self._phases = counts.clone()
        self._evaluations = counts.clone()
        radii, lengths = zip(*l1_phases(self.eps, self.steps), strict=True)
        self._radii = torch.tensor(radii, dtype=torch.float64, device=self.like.device)
        self._phase_steps = torch.tensor(lengths, device=self.like.device)

    def begin(self, rows: Tensor, images: Tensor, starts: Tensor) -> None:
        """Start the ascents of these rows ``(R,)`` at points ``(R, C, H, W)`` of the largest ball."""
        self._images[rows] = images
        self._phases[rows] = 0
        self._begin_phase(rows, starts)

    def advance(self, losses: Tensor, gradients: Tensor) -> None:
        """Record losses ``(KERNEL_BATCH,)`` and finite gradients at `points`, and move the points."""
        is_best = losses > self.best_losses
        self.best_losses = torch.where(is_best, losses, self.best_losses)
        self.best_points = _select(is_best, self.points, self.best_points)
        self._best_gradients = _select(is_best, gradients, self._best_gradients)
        self._take_steps(gradients, self._adapt_steps())
        self._evaluations += 1
        self._end_phases()

    def is_over(self) -> Tensor:
        """Return which rows have no further point to evaluate, ``(KERNEL_BATCH,)`` bool."""
        return self._phases >= len(self._radii)

    def counts_examples(self) -> Tensor:
        """Return at which rows `points` are in the ball of radius eps: those of the last phase."""
        return self._phases == len(self._radii) - 1

    def _begin_phase(self, rows: Tensor, starts: Tensor) -> None:
        images = self._images[rows]
        starts = project_into_l1_box(starts, images, eps=self._radii[self._phases[rows]])
        self.points[rows] = starts
        self.best_points[rows] = starts
        self._best_gradients[rows] = 0
        self.best_losses[rows] = -math.inf
        self.step_sizes[rows] = self._radii[self._phases[rows]].to(self.step_sizes)
        self._changed[rows] = _count_changed(starts, images)
        self._moved[rows] = self._changed[rows] / FIRST_SPARSITY
        self._evaluations[rows] = 0

    def _end_phases(self) -> None:
        """Take the rows whose phase is over to the next one."""
        is_last = self._phases >= len(self._radii) - 1
        phase_steps = self._phase_steps[self._phases.clamp_max(len(self._radii) - 1)]
        has_ended = self._evaluations > phase_steps
        self._phases += has_ended
        rows = (has_ended & ~is_last).nonzero().flatten()
        if len(rows):
            self._begin_phase(rows, self.best_points[rows])

    def _adapt_steps(self) -> Tensor:
        """Adapt sparsity and step size where they are due; return the rows that go back to the best.

        Croce and Hein (2021), equation 9 and the text below it.
        """
        phases = self._phases.clamp_max(len(self._radii) - 1)
        radii = self._radii[phases].to(self.step_sizes)
        # Every 4 % of the steps, rounded down as in the paper.
        periods = (self._phase_steps[phases] * 4 // 100).clamp_min(1)
        is_due = (self._evaluations > 0) & (self._evaluations % periods == 0)
        changed = _count_changed(self.best_points, self._images)
        is_sparser = changed < SPARSER * self._changed
        shorter = torch.maximum(self.step_sizes / STEP_FACTOR, SMALLEST_STEP * radii)
        adapted = torch.where(is_sparser, radii, shorter)
        self.step_sizes = torch.where(is_due, adapted, self.step_sizes)
        self._moved = torch.where(is_due, changed / FIRST_SPARSITY, self._moved)
        self._changed = torch.where(is_due, changed, self._changed)
        return is_due & is_sparser

    def _take_steps(self, gradients: Tensor, restarted: Tensor) -> None:
        points = _select(restarted, self.best_points, self.points)
        gradients = _select(restarted, self._best_gradients, gradients)
        signs = self._sparse_signs(gradients.flatten(1), points.flatten(1))
        lengths = signs.abs().sum(1).clamp_min(1)
        steps = signs * (self.step_sizes / lengths)[:, None]
        phases = self._phases.clamp_max(len(self._radii) - 1)
        moved = points + steps.reshape(points.shape)
        self.points = project_into_l1_box(moved, self._images, eps=self._radii[phases])

    def _sparse_signs(self, gradients: Tensor, points: Tensor) -> Tensor:
        """Return the signs of the `_moved` largest entries of each row, ``(B, D)``; 0 elsewhere."""
        signs = gradients.sign()
        # An entry at the box cannot move on. Counted among the largest, it would keep others still.
        can_move = torch.where(signs > 0, points < 1, points > 0)
        sizes = torch.where(can_move, gradients.abs(), 0.0)
        ranks = self._moved.long().clamp(1, sizes.shape[1]) - 1
        decreasing = sizes.sort(dim=1, descending=True).values
        smallest = decreasing.gather(1, ranks[:, None])
        return torch.where(can_move & (sizes >= smallest), signs, 0.0)


def l1_phases(eps: float, steps: int) -> list[tuple[float, int]]:
    """Return the radius and the number of steps of each phase in the l_1 ball."""
    lengths = [math.ceil(share * steps) for _, share in RADIUS_PHASES[:-1]]
    # Few steps are not enough for all phases: the last one is the attack.
    lengths = lengths if sum(lengths) < steps else [0] * len(lengths)
    lengths.append(steps - sum(lengths))
    radii = [multiple * eps for multiple, _ in RADIUS_PHASES]
    return [phase for phase in zip(radii, lengths, strict=True) if phase[1] > 0]


def project_into_l1_box(points: Tensor, images: Tensor, *, eps: Tensor) -> Tensor:
    """Return the nearest points in l_2 of the l_1 balls within the box [0, 1].

    The offset from the image is ``sign(o) * clip(|o| - s, 0, r)`` for the offset ``o`` and the room
    ``r`` to the box in its direction, with the smallest shift ``s >= 0`` that ends in the ball
    (Croce and Hein, 2021, proposition 2.1). The length as a function of ``s`` is piecewise linear
    with corners at ``|o|`` and ``|o| - r``.

    Args:
        points: Points ``(B, C, H, W)``.
        images: The centres of the balls, in the box.
        eps: Radius of each ball, ``(B,)`` float64.
    """
    centres = images.double().flatten(1)
    offsets = points.double().flatten(1) - centres
    sizes = offsets.abs()
    room = torch.where(offsets > 0, 1 - centres, centres)
    shifts = _l1_shifts(sizes, room, eps)
    kept = (sizes - shifts[:, None]).clamp_min(0).minimum(room)
    exact = centres + offsets.sign() * kept
    # Rounded towards the image: rounding away from it could leave the ball.
    rounded = exact.to(images.dtype)
    flat_images = images.flatten(1)
    is_further = (rounded.double() - centres).abs() > kept
    rounded = torch.where(is_further, torch.nextafter(rounded, flat_images), rounded)
    return rounded.reshape(images.shape)


def _l1_shifts(sizes: Tensor, room: Tensor, eps: Tensor) -> Tensor:
    """Return the smallest shift of each row with ``sum(clip(sizes - shift, 0, room)) <= eps``."""
    # clip(a, 0, r) = max(a, 0) - max(a - r, 0): every corner adds one of these sums.
    corners = torch.cat([sizes, sizes - room], dim=1)
    slopes = torch.cat([torch.ones_like(sizes), -torch.ones_like(sizes)], dim=1)
    corners, order = corners.sort(dim=1, descending=True)
    slopes = slopes.gather(1, order)
    # On the CPU, because before torch 2.6 cumsum on CUDA is not reproducible bit by bit.
    heights = (slopes * corners).cpu().cumsum(1).to(corners)
    counts = slopes.cpu().cumsum(1).to(corners)
    lengths = heights - counts * corners
    # Lengths rise from corner to corner; the shift lies right below the last one within eps.
    last = ((lengths <= eps[:, None]).sum(1, keepdim=True) - 1).clamp_min(0)
    count = counts.gather(1, last)
    shifts = (heights.gather(1, last) - eps[:, None]) / count.clamp_min(1)
    return shifts[:, 0].clamp_min(0)


def _count_changed(points: Tensor, images: Tensor) -> Tensor:
    """Return the number of entries in which the points differ from their images, ``(B,)``."""
    return (points != images).flatten(1).sum(1).to(points.dtype)


def _select(rows: Tensor, chosen: Tensor, others: Tensor) -> Tensor:
    """Return `chosen` in the rows where the mask ``(B,)`` is true, and `others` elsewhere."""
    return torch.where(row_column(rows, chosen), chosen, others)
