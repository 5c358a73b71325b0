"""Square attack: random search by the logits alone, as a Foolbox attack in l_inf, l_2 and l_1.

M. Andriushchenko, F. Croce, N. Flammarion and M. Hein, "Square attack: a query-efficient black-box
adversarial attack via random search", ECCV 2020; for l_1, F. Croce and M. Hein, "Mind the box",
ICML 2021.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from eagerpy.astensor import astensor, astensor_
from foolbox.attacks.base import FixedEpsilonAttack, raise_if_kwargs, verify_input_bounds
from foolbox.distances import Distance
from foolbox.models.base import Model
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor

from advtransfer.toolkit.option_checks import Norm
from advtransfer.toolkit.rng import keyed_uniform
from advtransfer.types import Context, Shape
from advtransfer_foolbox.active_rows import step_until_finished
from advtransfer_foolbox.attack_settings import Square
from advtransfer_foolbox.protocols import (
    AttackBatch,
    AttackRun,
    BatchResult,
    OnProgress,
    criterion_labels,
    misclassified,
)
from advtransfer_foolbox.row_functions import (
    DISTANCES,
    logit_margins,
    row_column,
)
from advtransfer_foolbox.square_windows import Proposals

Draws: TypeAlias = Callable[[Sequence[int], Shape, int], Tensor]
"""Draw uniform numbers ``(B, *shape)`` in [0, 1) for the samples of these numbers at a step."""

PROPOSALS_PER_DRAW = 50
"""Proposals whose numbers are drawn together; part of the stream: another number, other draws."""

FIRST_POINT = 0
"""Step of the stream that the first point is drawn from; proposals follow."""


class SquareAttack(FixedEpsilonAttack):
    """The square attack on the margin, stopped for each sample at its first misclassified point.

    Args:
        settings: Queries, restarts, and the share of the image that the first windows change.
        norm: The norm of the ball.
        seed: Seed of all draws.
    """

    finds_nearest = False

    def __init__(self, settings: Square, *, norm: Norm, seed: int = 0) -> None:
        self.settings = settings
        self.norm = norm
        self.seed = seed

    @property
    def distance(self) -> Distance:
        """The distance of the attack's norm (Foolbox's hook)."""
        return DISTANCES[self.norm]

    def count_attempts(self, classes: int) -> int:
        """Return the number of restarts."""
        return self.settings.restarts

    def run(
        self,
        model: Model,
        inputs: Any,  # noqa: ANN401  # Any: Foolbox's tensors are those of any framework
        criterion: Any,  # noqa: ANN401  # Any: a criterion or the labels
        *,
        epsilon: float,
        **kwargs: Any,  # noqa: ANN401  # Any: as in Foolbox
    ) -> Any:  # noqa: ANN401  # Any: the type of `inputs`
        """Return the points of one search with draws of torch's global state (Foolbox's hook).

        Raises:
            TypeError: The criterion is not misclassification.
        """
        raise_if_kwargs(kwargs)
        images, restore_type = astensor_(inputs)
        verify_input_bounds(images, model)
        first_stream = int(torch.randint(2**62, ()))

        def draw(numbers: Sequence[int], shape: Shape, step: int) -> Tensor:
            return keyed_uniform(first_stream + step, numbers, shape)

        labels = criterion_labels(criterion)
        result = self.attack_batch(model, images.raw, labels, eps=epsilon, draw=draw)
        return restore_type(astensor(result.points))

    def run_attempt(
        self,
        model: PyTorchModel,
        batch: AttackBatch,
        run: AttackRun,
        *,
        context: Context,
        on_progress: OnProgress,
    ) -> BatchResult:
        """Attack every sample of the batch once, with the draws of this restart."""

        def draw(numbers: Sequence[int], shape: Shape, step: int) -> Tensor:
            keys = [batch.keys[number] for number in numbers]
            return context.uniform(f"square {self.seed}", keys, shape, run.attempt, step)

        return self.attack_batch(
            model, batch.inputs, batch.labels, eps=run.eps, draw=draw, on_progress=on_progress
        )

    def attack_batch(
        self,
        model: Model,
        images: Tensor,
        labels: Tensor,
        *,
        eps: float,
        draw: Draws,
        on_progress: OnProgress = lambda done: None,
    ) -> BatchResult:
        """Attack images ``(B, C, H, W)`` once.

        Args:
            model: The Foolbox model.
            images: Images within the box [0, 1].
            labels: Classes ``(B,)``.
            eps: Radius of the ball.
            draw: The source of the samples' numbers.
            on_progress: Called from time to time with the number of finished samples.
        """
        shape = tuple(images.shape[1:])
        search = _RandomSearch(
            model=model,
            images=images,
            labels=labels,
            queries=self.settings.queries,
            proposals=Proposals(
                norm=self.norm,
                eps=eps,
                shape=shape,
                first_share=self.settings.p_init,
                device=images.device,
            ),
            draw=draw,
        )
        step_until_finished(
            len(images), search.take_step, device=images.device, on_progress=on_progress
        )
        return search.result()


@dataclass(slots=True, kw_only=True)
class _RandomSearch:
    """State of the search of a batch (algorithm 1 of the paper): each sample's best point.

    Args:
        model: The Foolbox model.
        images: Images ``(B, C, H, W)``.
        labels: Their classes ``(B,)``.
        queries: Largest number of queries per sample.
        proposals: The points to try.
        draw: The source of the samples' numbers.
    """

    model: Model
    images: Tensor
    labels: Tensor
    queries: int
    proposals: Proposals
    draw: Draws
    _points: Tensor = field(init=False)
    _margins: Tensor = field(init=False)
    _is_adversarial: Tensor = field(init=False)
    _completed: Tensor = field(init=False)
    _queries_done: Tensor = field(init=False)
    _drawn: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self._points = self.images.clone()
        self._margins = torch.full_like(self.labels, -torch.inf, dtype=self.images.dtype)
        self._is_adversarial = torch.zeros_like(self.labels, dtype=torch.bool)
        self._completed = torch.ones_like(self._is_adversarial)
        self._queries_done = torch.zeros_like(self.labels)
        size = (len(self.labels), PROPOSALS_PER_DRAW, self.proposals.numbers)
        self._drawn = torch.zeros(size, device=self.images.device)

    def take_step(self, active: Tensor, rows: Tensor) -> Tensor:
        """Try one point for each sample, and keep it if it is better (a `RowStep`)."""
        count = len(active)
        points = self._proposed_points(active, rows)
        with torch.no_grad():
            logits: Tensor = self.model(points)
        margins = logit_margins(logits, self.labels[rows])[:count]
        is_adversarial = misclassified(logits, self.labels[rows])[:count]
        self._completed[active] &= logits.isfinite().all(1)[:count]
        # A point without finite logits has the margin NaN, which is never better.
        is_better = is_adversarial | (margins > self._margins[active])
        self._margins[active] = torch.where(is_better, margins, self._margins[active])
        kept = torch.where(row_column(is_better, points), points[:count], self._points[active])
        self._points[active] = kept
        self._is_adversarial[active] = is_adversarial
        self._queries_done[active] += 1
        return is_adversarial | (self._queries_done[active] >= self.queries)

    def result(self) -> BatchResult:
        """Return the best points, and the number of queries."""
        return BatchResult(
            self._points,
            self._is_adversarial,
            self._completed,
            self._queries_done,
            torch.zeros_like(self._queries_done),
        )

    def _proposed_points(self, active: Tensor, rows: Tensor) -> Tensor:
        """Return the next point of each row, ``(KERNEL_BATCH, C, H, W)``."""
        self._draw_ahead(active)
        queries_done = self._queries_done[rows]
        is_new = queries_done == 0
        # The first query asks for the first point, so a proposal has a number one smaller.
        proposals_done = (queries_done - 1).clamp_min(0)
        drawn = self._drawn[rows, proposals_done % PROPOSALS_PER_DRAW]
        points = self.proposals.next_points(
            self._points[rows], self.images[rows], drawn, proposals_done
        )
        if is_new.any():
            first_points = self._first_points(rows)
            points = torch.where(row_column(is_new, points), first_points, points)
        return points

    def _first_points(self, rows: Tensor) -> Tensor:
        drawn = self.draw(rows.tolist(), self.proposals.start_shape, FIRST_POINT)
        return self.proposals.first_points(self.images[rows], drawn.to(self.images))

    def _draw_ahead(self, active: Tensor) -> None:
        """Draw the numbers of the next proposals for the samples that have used theirs up."""
        proposals_done = self._queries_done[active] - 1
        due = active[proposals_done % PROPOSALS_PER_DRAW == 0]
        draws_done = (self._queries_done[due] - 1) // PROPOSALS_PER_DRAW
        # Samples that began together are due together: there are few different numbers.
        for number in sorted(set(draws_done.tolist())):
            samples = due[draws_done == number]
            shape = (PROPOSALS_PER_DRAW, self.proposals.numbers)
            drawn = self.draw(samples.tolist(), shape, FIRST_POINT + 1 + number)
            self._drawn[samples] = drawn.to(self._drawn)
