"""Sparse gradient ascent inside an l_1 ball: the battery's own attack in this norm.

Every step moves few pixels, as many as the attack seems to need, and the steps get shorter once
their number has settled (Croce and Hein, 2021, "Mind the box", algorithm 1 and equation 9). The
first steps go in wider balls: the corners of an l_1 ball hold an ascent on the pixels it began with.
Unlike theirs, an ascent begins with steps that move a fifth of the pixels, however few its start
differs in from the image: sparse starts held it on their own pixels (measured).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from advtransfer.worker.verification.ascent import (
    AscentResult,
    Loss,
    Rivals,
    logits_and_gradient,
)
from advtransfer.worker.verification.ball import Ball

RADIUS_PHASES = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))
"""Radii of an ascent's phases, in radii of the ball, and their shares of its steps."""

FIRST_PIXEL_SHARE = 0.2
"""Share of the pixels that the first steps move."""

CHANGED_PER_MOVED = 1.5
"""A step moves as many pixels as the best point has changed, over this."""

CHECKPOINT_SHARE = 0.04
"""Share of a phase's steps after which their length and sparsity are adapted."""

SPARSER_SHARE = 0.95
"""Below this share of the pixels changed before, the number of changed pixels has not settled."""

STEP_DECAY = 1.5
SMALLEST_STEP = 0.1
"""Settled steps become 1.5 times shorter at each checkpoint, down to a tenth of the radius."""


@dataclass(slots=True, kw_only=True)
class SparseRows:
    """State of the ascents that go on; all fields have one entry for each, ``(R, ...)``.

    Args:
        indices: Positions in the batch.
        inputs: The images.
        points: Iterates.
        best_points: Iterates of largest loss in this phase.
        best_gradients: Gradients there.
        best_losses: Losses there.
        step_lengths: Lengths of the next steps, in l_1.
        changed: Numbers of pixels in which the best points differed from the images when last
            counted.
        moved: Numbers of pixels that the next steps move.
    """

    indices: Tensor
    inputs: Tensor
    points: Tensor
    best_points: Tensor
    best_gradients: Tensor
    best_losses: Tensor
    step_lengths: Tensor
    changed: Tensor
    moved: Tensor

    @classmethod
    def at_start(cls, inputs: Tensor, start: Tensor) -> SparseRows:
        """Return the state of ascents from ``(B, ...)`` points, before their first phase."""
        numbers = torch.zeros(len(inputs), device=inputs.device)
        pixels = inputs[0].numel() if len(inputs) else 0
        return cls(
            indices=torch.arange(len(inputs), device=inputs.device),
            inputs=inputs,
            points=start,
            best_points=start,
            best_gradients=torch.zeros_like(inputs),
            best_losses=numbers - math.inf,
            step_lengths=numbers,
            changed=numbers,
            moved=numbers + FIRST_PIXEL_SHARE * pixels,
        )

    def keep(self, rows: Tensor) -> SparseRows:
        """Return the state of some of the ascents."""
        return SparseRows(**{each.name: getattr(self, each.name)[rows] for each in fields(self)})

    def begin_phase(self, ball: Ball) -> None:
        """Go on from the best points, moved into the ball of the next phase."""
        self.points = ball.project_back(self.best_points, self.inputs)
        self.best_points = self.points
        self.best_gradients = torch.zeros_like(self.points)
        self.best_losses = torch.full_like(self.best_losses, -math.inf)
        self.step_lengths = torch.full_like(self.step_lengths, ball.threat.eps)
        self.changed = self._count_changed()

    def record(self, losses: Tensor, gradients: Tensor) -> None:
        """Keep the points whose loss is the largest so far."""
        is_best = losses > self.best_losses
        self.best_losses = torch.where(is_best, losses, self.best_losses)
        self.best_points = _select(is_best, self.points, self.best_points)
        self.best_gradients = _select(is_best, gradients, self.best_gradients)

    def adapt_steps(self, radius: float, gradients: Tensor) -> Tensor:
        """Adapt length and sparsity of the steps (equation 9); return the gradients to follow.

        Ascents whose best point became sparser go on from it, with the longest steps.
        """
        changed = self._count_changed()
        is_sparser = changed < SPARSER_SHARE * self.changed
        shorter = (self.step_lengths / STEP_DECAY).clamp_min(SMALLEST_STEP * radius)
        self.step_lengths = torch.where(is_sparser, radius, shorter)
        self.moved = changed / CHANGED_PER_MOVED
        self.changed = changed
        self.points = _select(is_sparser, self.best_points, self.points)
        return _select(is_sparser, self.best_gradients, gradients)

    def take_steps(self, ball: Ball, gradients: Tensor) -> None:
        """Move the points along the steepest of the pixels that can move."""
        direction = steepest_pixels(gradients, self.points, self.moved, bounds=ball.bounds)
        steps = self.step_lengths.view(-1, *[1] * (direction.ndim - 1)) * direction
        self.points = ball.project_back(self.points + steps, self.inputs)

    def _count_changed(self) -> Tensor:
        differs = (self.best_points != self.inputs).flatten(1)
        return differs.sum(1).to(self.changed)


def sparse_ascent(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    ball: Ball,
    start: Tensor,
    steps: int,
    loss: Loss,
    targets: Tensor | None = None,
    rivals: Rivals | None = None,
    on: bool = False,
) -> AscentResult:
    """Ascend `loss` from `start`; a sample stops at its first misclassified iterate in the ball.

    The arguments are those of `gradient_ascent`; the ball is one in l_1. Rivals stop together, but
    all of them go on till then, since losses in the wider balls say little about those in the ball.
    The points of samples that do not break are those of largest loss.
    """
    classes = labels if targets is None else torch.stack([labels, targets], dim=1)
    none = torch.zeros(len(inputs), dtype=torch.bool, device=inputs.device)
    result = AscentResult(start.clone(), none, none.clone(), none.clone())
    rows = SparseRows.at_start(inputs, start)
    for multiple, count in radius_phases(steps):
        wider = replace(ball, threat=replace(ball.threat, eps=multiple * ball.threat.eps))
        rows.begin_phase(wider)
        checkpoint = max(1, int(CHECKPOINT_SHARE * count))
        for step in range(count + 1):
            logits, gradients = logits_and_gradient(model, rows.points, classes[rows.indices], loss)
            rows.record(loss(logits, classes[rows.indices]), gradients)
            is_broken = _record_signs(result, rows, logits, gradients, labels[rows.indices])
            if wider == ball:
                result.broken[rows.indices[is_broken]] = True
                result.points[rows.indices[is_broken]] = rows.points[is_broken]
            if wider == ball and not on:
                goes_on = ~is_broken
                if rivals is not None:
                    goes_on &= ~rivals.any_broken(result.broken)[rows.indices]
                rows, gradients = rows.keep(goes_on), gradients[goes_on]
            if step == count or not len(rows.indices):
                break
            if step > 0 and step % checkpoint == 0:
                gradients = rows.adapt_steps(wider.threat.eps, gradients)
            rows.take_steps(wider, gradients)
    result.points[rows.indices] = rows.best_points
    return result


def radius_phases(steps: int) -> list[tuple[float, int]]:
    """Return the radius of each phase of an ascent, in radii of the ball, and its number of steps."""
    # Rounded down: few steps are those of the last phase, which is the attack.
    counts = [int(share * steps) for _, share in RADIUS_PHASES[:-1]]
    counts.append(steps - sum(counts))
    phases = zip(RADIUS_PHASES, counts, strict=True)
    return [(radius, count) for (radius, _), count in phases if count or radius == 1]


def steepest_pixels(
    gradients: Tensor, points: Tensor, counts: Tensor, *, bounds: tuple[float, float] | None
) -> Tensor:
    """Return the step of l_1 length 1 along the steepest pixels that can move, ``(B, ...)``.

    Args:
        gradients: ``(B, ...)``.
        points: ``(B, ...)``. A pixel at the edge of the box cannot move on; counted among the
            steepest, it would keep another still.
        counts: Number of pixels to move, ``(B,)``, rounded down, at least 1.
        bounds: The box.
    """
    low, high = bounds or (-math.inf, math.inf)
    slopes, pixels = gradients.flatten(1).nan_to_num(0.0), points.flatten(1)
    signs = slopes.sign()
    can_move = torch.where(signs > 0, pixels < high, pixels > low)
    steepness = torch.where(can_move, slopes.abs(), 0.0)
    ranks = counts.long().clamp(1, slopes.shape[1]) - 1
    threshold = steepness.sort(dim=1, descending=True).values.gather(1, ranks[:, None])
    moved = torch.where(can_move & (steepness >= threshold), signs, 0.0)
    lengths = moved.abs().sum(1, keepdim=True).clamp_min(1.0)
    return (moved / lengths).view_as(gradients)


def _record_signs(
    result: AscentResult, rows: SparseRows, logits: Tensor, gradients: Tensor, labels: Tensor
) -> Tensor:
    """Record the signs of masked gradients at the points; return which points are misclassified."""
    flat = gradients.flatten(1)
    is_finite = logits.isfinite().all(1) & flat.isfinite().all(1)
    result.non_finite[rows.indices] |= ~is_finite
    result.zero_gradient[rows.indices] |= (flat == 0).all(1)
    # A NaN logit can win the argmax, so a misclassification counts only where all is finite.
    is_broken: Tensor = is_finite & (logits.argmax(1) != labels)
    return is_broken


def _select(rows: Tensor, chosen: Tensor, others: Tensor) -> Tensor:
    """Return `chosen` in the rows where the mask ``(R,)`` is true, and `others` elsewhere."""
    return torch.where(rows.view(-1, *[1] * (chosen.ndim - 1)), chosen, others)
