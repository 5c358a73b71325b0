"""State of a gradient attack in the rows of one kernel batch, updated in place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from foolbox.types import Bounds
from torch import Tensor

from advtransfer_foolbox.gradient_steps import StepRule, project_step, step_direction
from advtransfer_foolbox.protocols import BatchResult, misclassified
from advtransfer_foolbox.row_functions import row_column

Differentiate: TypeAlias = Callable[[Tensor, Tensor, "Tensor | None"], tuple[Tensor, Tensor]]
"""Map points, labels and targets to the logits ``(B, K)`` and the gradients of the objective."""


@dataclass(slots=True, kw_only=True)
class GradientBlock:
    """Steps along gradients, stopped for each sample at its first misclassified iterate (a `RowBlock`).

    Args:
        differentiate: The model and its objective.
        images: Images ``(N, C, H, W)``, the centres of the balls.
        labels: Their classes ``(N,)``, or attributes ``(N, K)``.
        starts: Their starting points, inside ball and bounds.
        targets: Their target classes or attributes ``(N,)``; None for an untargeted objective.
        rule: The rule of the steps.
        eps: Radius of the balls.
        step_size: Length of a step.
        steps: Number of steps.
        bounds: The box.
        judges_all: Stop at the first misclassified iterate; False to take all steps.
        rows: The number of rows.
        draws: Evaluations of the model in one step.
    """

    differentiate: Differentiate
    images: Tensor
    labels: Tensor
    starts: Tensor
    targets: Tensor | None
    rule: StepRule
    eps: float
    step_size: float
    steps: int
    bounds: Bounds
    judges_all: bool
    rows: int
    draws: int = 1
    result: BatchResult = field(init=False)
    _points: Tensor = field(init=False)
    _centres: Tensor = field(init=False)
    _lower: Tensor = field(init=False)
    _upper: Tensor = field(init=False)
    _work: Tensor = field(init=False)
    _shares: Tensor = field(init=False)
    _labels: Tensor = field(init=False)
    _targets: Tensor | None = field(init=False)
    _is_adversarial: Tensor = field(init=False)
    _is_finite: Tensor = field(init=False)
    _steps_done: Tensor = field(init=False)

    def __post_init__(self) -> None:
        count, device = len(self.images), self.images.device
        # Every sample is stored before the result is read.
        counts = torch.zeros(count, dtype=torch.int64, device=device)
        self.result = BatchResult(
            points=torch.empty_like(self.images),
            is_adversarial=torch.zeros(count, dtype=torch.bool, device=device),
            completed=torch.ones(count, dtype=torch.bool, device=device),
            forward_counts=counts,
            gradient_counts=counts,
        )
        shape = (self.rows, *self.images.shape[1:])
        self._points, self._work = (self.images.new_empty(shape) for _ in range(2))
        if self.rule == "linf":
            self._lower, self._upper = (self.images.new_empty(shape) for _ in range(2))
        else:
            self._centres = self.images.new_empty(shape)
        # The mean of finite entries is finite, and takes a seventh of the time of `isfinite` on all of them.
        size = self.images[0].numel()
        self._shares = self.images.new_full((size,), 1 / size)
        self._labels = self.labels.new_empty((self.rows, *self.labels.shape[1:]))
        self._targets = None if self.targets is None else self.targets.new_empty(self.rows)
        self._is_adversarial = torch.zeros(self.rows, dtype=torch.bool, device=device)
        self._is_finite = torch.ones_like(self._is_adversarial)
        self._steps_done = torch.zeros(self.rows, dtype=torch.int64, device=device)

    def load(self, rows: Tensor, samples: Tensor) -> None:
        """Put samples ``(R,)`` into these rows ``(R,)``."""
        images = self.images[samples]
        self._points[rows] = self.starts[samples]
        if self.rule == "linf":
            # Ball and box in one: a step is then clamped once.
            self._lower[rows] = (images - self.eps).clamp_(*self.bounds)
            self._upper[rows] = images.add_(self.eps).clamp_(*self.bounds)
        else:
            self._centres[rows] = images
        self._labels[rows] = self.labels[samples]
        if self._targets is not None and self.targets is not None:
            self._targets[rows] = self.targets[samples]
        self._is_adversarial[rows] = False
        self._is_finite[rows] = True
        self._steps_done[rows] = 0

    def take_step(self) -> None:
        """Evaluate the points of all rows, and move those that are neither adversarial nor finished."""
        logits, gradients = self.differentiate(self._points, self._labels, self._targets)
        is_open = ~self.finished()
        self._steps_done += is_open
        # torch's sign of NaN is 0, so steps along NaN gradients would pass as a robust model.
        self._is_finite &= torch.mv(gradients.flatten(1), self._shares).isfinite() | ~is_open
        if self.judges_all:
            # The logits are those of the point before the step: an adversarial point is kept.
            is_new = misclassified(logits, self._labels) & is_open
            self._is_adversarial |= is_new
            is_open &= ~is_new
        if self.rule == "linf":
            self._step_in_box(gradients, is_open)
        else:
            self._step_and_project(gradients, is_open)

    def finished(self) -> Tensor:
        """Return in which rows the sample is finished, ``(rows,)`` bool."""
        return self._is_adversarial | (self._steps_done >= self.steps)

    def store(self, rows: Tensor, samples: Tensor) -> None:
        """Store the results of the samples ``(R,)`` in these rows ``(R,)``."""
        self.result.points[samples] = self._points[rows]
        self.result.is_adversarial[samples] = self._is_adversarial[rows]
        self.result.completed[samples] = self._is_finite[rows]
        self.result.gradient_counts[samples] = self._steps_done[rows] * self.draws

    def _step_in_box(self, gradients: Tensor, is_open: Tensor) -> None:
        """Step by the signs of the gradients; a row that is not open steps by 0 and keeps its bits."""
        torch.sign(gradients, out=self._work)
        lengths = is_open.to(self._points.dtype) * self.step_size
        self._points.addcmul_(self._work, row_column(lengths, self._points))
        torch.clamp(self._points, self._lower, self._upper, out=self._points)

    def _step_and_project(self, gradients: Tensor, is_open: Tensor) -> None:
        direction = step_direction(self.rule, gradients, self._points, self.bounds)
        moved = self._points + self.step_size * direction
        moved = project_step(self.rule, moved, self._centres, self.eps).clamp_(*self.bounds)
        torch.where(row_column(is_open, moved), moved, self._points, out=self._points)
