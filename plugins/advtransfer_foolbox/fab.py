"""Fast adaptive boundary attack of Croce and Hein (2020), targeted, as a Foolbox attack.

F. Croce and M. Hein, "Minimally distorted adversarial examples with a fast adaptive boundary
attack", ICML 2020. The targeted form is that of AutoAttack (Croce and Hein, ICML 2020).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from eagerpy.astensor import astensor, astensor_
from foolbox.attacks.base import MinimizationAttack, raise_if_kwargs, verify_input_bounds
from foolbox.distances import Distance
from foolbox.models.base import Model
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor

from advtransfer.toolkit.kernel_batch import KERNEL_BATCH
from advtransfer.toolkit.option_checks import Norm
from advtransfer.toolkit.prediction import apply_in_chunks, fill_batch
from advtransfer.types import Context
from advtransfer_foolbox.active_rows import step_until_finished
from advtransfer_foolbox.attack_settings import Fab
from advtransfer_foolbox.gradient_attacks import other_classes
from advtransfer_foolbox.hyperplanes import project_onto_hyperplane
from advtransfer_foolbox.norms import distances_to_images, eps_with_slack
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
    logits_of,
    row_column,
)

FINAL_SEARCH_STEPS = 3
"""Steps of the search between the image and its nearest example (their section 2.4)."""

ROUNDING_RESERVE = 1e-5
"""Margin that the last search leaves, relative to the largest logit.

On the boundary itself, kernels of another batch size would round an example to the image's class.
"""


class FastAdaptiveBoundary(MinimizationAttack):
    """The targeted fast adaptive boundary attack, from each image towards one class after another.

    The model always sees `KERNEL_BATCH` rows, so that no result depends on the rest of the batch.

    Args:
        settings: Steps, targets, and the constants of the steps.
        norm: The norm of the distance.
        stops_inside: Stop for a sample at its first example within the radius of the run, instead of
            searching for a nearer one.
    """

    finds_nearest = True

    def __init__(self, settings: Fab, *, norm: Norm, stops_inside: bool = False) -> None:
        self.settings = settings
        self.norm = norm
        self.stops_inside = stops_inside

    @property
    def distance(self) -> Distance:
        """The distance of the attack's norm (Foolbox's hook)."""
        return DISTANCES[self.norm]

    def count_attempts(self, classes: int) -> int:
        """Return the number of target classes."""
        return min(self.settings.targets, classes - 1)

    def run(
        self,
        model: Model,
        inputs: Any,  # noqa: ANN401  # Any: Foolbox's tensors are those of any framework
        criterion: Any,  # noqa: ANN401  # Any: a criterion or the labels
        *,
        early_stop: float | None = None,
        **kwargs: Any,  # noqa: ANN401  # Any: as in Foolbox
    ) -> Any:  # noqa: ANN401  # Any: the type of `inputs`
        """Return the nearest points over all targets, images without one (Foolbox's hook).

        Raises:
            TypeError: The criterion is not misclassification.
        """
        raise_if_kwargs(kwargs)
        images, restore_type = astensor_(inputs)
        verify_input_bounds(images, model)
        labels = criterion_labels(criterion)
        with torch.no_grad():
            clean_logits = apply_in_chunks(model, images.raw)
        ranking = other_classes(clean_logits, labels)
        points = images.raw.clone()
        # An image that is misclassified as it is has the distance 0.
        is_wrong = misclassified(clean_logits, labels)
        nearest = torch.where(is_wrong, 0.0, torch.inf).double()
        for rank in range(self.count_attempts(clean_logits.shape[1])):
            result = self.attack_batch(model, images.raw, labels, targets=ranking[:, rank])
            lengths = distances_to_images(result.points, images.raw, norm=self.norm)
            is_nearer = result.is_adversarial & (lengths < nearest)
            points[is_nearer] = result.points[is_nearer]
            nearest[is_nearer] = lengths[is_nearer]
        return restore_type(astensor(points))

    def run_attempt(
        self,
        model: PyTorchModel,
        batch: AttackBatch,
        run: AttackRun,
        *,
        context: Context,
        on_progress: OnProgress,
    ) -> BatchResult:
        """Attack every sample of the batch once, towards the target class of this attempt."""
        return self.attack_batch(
            model,
            batch.inputs,
            batch.labels,
            targets=other_classes(batch.clean_logits, batch.labels)[:, run.attempt],
            stop_within=run.eps if self.stops_inside else None,
            on_progress=on_progress,
        )

    def attack_batch(
        self,
        model: Model,
        images: Tensor,
        labels: Tensor,
        *,
        targets: Tensor,
        stop_within: float | None = None,
        on_progress: OnProgress = lambda done: None,
    ) -> BatchResult:
        """Attack images ``(B, C, H, W)`` once; points without an example are the images themselves.

        Args:
            model: The Foolbox model; its weights must not require gradients.
            images: Images within the box [0, 1].
            labels: Classes ``(B,)``.
            targets: Target classes ``(B,)``.
            stop_within: Stop for a sample at its first example within this radius.
            on_progress: Called from time to time with the number of finished samples.
        """
        search = _BoundarySearch(
            model=model,
            settings=self.settings,
            norm=self.norm,
            images=images,
            labels=labels,
            targets=targets,
            # No distance is negative: the search then never stops early.
            stop_distance=-1.0 if stop_within is None else eps_with_slack(stop_within),
        )
        step_until_finished(
            len(images), search.take_step, device=images.device, on_progress=on_progress
        )
        search.search_towards_images()
        return search.result()


@dataclass(slots=True, kw_only=True)
class _BoundarySearch:
    """State of the search of a batch: each sample's point, and its nearest example so far.

    Args:
        model: The Foolbox model.
        settings: The attack's constants.
        norm: The norm of the distance.
        images: Images ``(B, C, H, W)``.
        labels: Their classes ``(B,)``.
        targets: Their target classes ``(B,)``.
        stop_distance: A sample with an example as near as this is finished.
    """

    model: Model
    settings: Fab
    norm: Norm
    images: Tensor
    labels: Tensor
    targets: Tensor
    stop_distance: float
    _points: Tensor = field(init=False)
    _nearest: Tensor = field(init=False)
    _distances: Tensor = field(init=False)
    _completed: Tensor = field(init=False)
    _forward_counts: Tensor = field(init=False)
    _steps: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self._points = self.images.clone()
        self._nearest = self.images.clone()
        self._distances = torch.full_like(self.labels, torch.inf, dtype=torch.float64)
        self._completed = torch.ones_like(self.labels, dtype=torch.bool)
        self._forward_counts = torch.zeros_like(self.labels)
        self._steps = torch.zeros_like(self.labels)

    def take_step(self, active: Tensor, rows: Tensor) -> Tensor:
        """Take a step of algorithm 1 (a `RowStep`)."""
        count = len(active)
        images = self.images[rows]
        gaps, gradients = self._linearize(rows)
        entries = gradients.isfinite() & gaps.isfinite()[:, None]
        self._completed[active] &= entries.all(1)[:count]
        gradients = torch.where(entries, gradients, 0.0)
        points = self._move_to_boundary(self._points[rows], images, gaps, gradients)

        with torch.no_grad():
            logits: Tensor = self.model(points)
        self._forward_counts[active] += 2
        self._steps[active] += 1
        self._completed[active] &= logits.isfinite().all(1)[:count]
        is_example = misclassified(logits, self.labels[rows])
        self._keep_nearest(active, points[:count], is_example[:count])

        # An example is left again towards the image (their section 2.3, backward step).
        backward = images + self.settings.beta * (points - images)
        self._points[active] = torch.where(row_column(is_example, points), backward, points)[:count]
        is_inside = self._distances[active] <= self.stop_distance
        return is_inside | (self._steps[active] >= self.settings.steps)

    def search_towards_images(self) -> None:
        """Move the examples along the lines to their images (their section 2.4, final search)."""
        is_open = self._distances.isfinite() & (self._distances > self.stop_distance)
        for active in torch.split(is_open.nonzero().flatten(), KERNEL_BATCH):
            if len(active):  # torch.split of no numbers gives one empty chunk
                self._search_rows(active, fill_batch(active))

    def result(self) -> BatchResult:
        """Return the nearest examples, and the number of queries."""
        return BatchResult(
            self._nearest,
            self._distances.isfinite(),
            self._completed,
            self._forward_counts,
            self._steps,
        )

    def _linearize(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return target logit minus own logit at the points, ``(B,)``, and its gradients ``(B, D)``."""
        points = self._points[rows].detach().requires_grad_()
        with torch.enable_grad():
            logits: Tensor = self.model(points)
            gaps = logits_of(logits, self.targets[rows]) - logits_of(logits, self.labels[rows])
            # A sum, not a mean: the gradient of a sample must not depend on the number of rows.
            (gradients,) = torch.autograd.grad(gaps.sum(), points)
        return gaps.detach(), gradients.flatten(1)

    def _move_to_boundary(
        self, points: Tensor, images: Tensor, gaps: Tensor, gradients: Tensor
    ) -> Tensor:
        """Return the points after one step towards the linearised boundary (their equations 8, 9)."""
        flat_points = points.double().flatten(1)
        flat_images = images.double().flatten(1)
        # The boundary's affine function at the images, by the linearisation at the points.
        offsets = flat_images - flat_points
        image_gaps = gaps.double() + (gradients.double() * offsets).sum(1)
        moves = project_onto_hyperplane(flat_points, gradients, gaps, norm=self.norm)
        image_moves = project_onto_hyperplane(flat_images, gradients, image_gaps, norm=self.norm)
        length = _row_norms(moves, self.norm)
        total = length + _row_norms(image_moves, self.norm)
        bias = (length / torch.where(total > 0, total, 1.0)).clamp_max(self.settings.alpha_max)
        moved = (1 - bias) * (flat_points + self.settings.eta * moves)
        moved += bias * (flat_images + self.settings.eta * image_moves)
        return moved.clamp(0, 1).to(points.dtype).reshape(points.shape)

    def _keep_nearest(self, active: Tensor, points: Tensor, is_example: Tensor) -> None:
        lengths = distances_to_images(points, self.images[active], norm=self.norm)
        is_nearer = is_example & (lengths < self._distances[active])
        self._nearest[active[is_nearer]] = points[is_nearer]
        self._distances[active[is_nearer]] = lengths[is_nearer]

    def _search_rows(self, active: Tensor, rows: Tensor) -> None:
        """Step to the zero of the margin between an example and a point that is none."""
        labels = self.labels[rows]
        outer = self._nearest[rows]
        inner = self.images[rows]
        outer_margins = self._margins(outer, labels)
        inner_margins = self._margins(inner, labels)
        for _ in range(FINAL_SEARCH_STEPS):
            share = outer_margins / (outer_margins - inner_margins)
            # Rounding may make both margins 0; the search then stays where it is.
            share = torch.where(share.isfinite(), share.clamp(0, 1), 0.0)
            points = (outer - row_column(share, outer) * (outer - inner)).clamp(0, 1)
            margins = self._margins(points, labels)
            is_example = margins > 0
            self._keep_nearest(active, points[: len(active)], is_example[: len(active)])
            mask = row_column(is_example, points)
            outer = torch.where(mask, points, outer)
            inner = torch.where(mask, inner, points)
            outer_margins = torch.where(is_example, margins, outer_margins)
            inner_margins = torch.where(is_example, inner_margins, margins)
        self._forward_counts[active] += 2 + FINAL_SEARCH_STEPS

    def _margins(self, points: Tensor, labels: Tensor) -> Tensor:
        """Return the largest other logit minus the label's and the reserve for rounding, ``(B,)``."""
        with torch.no_grad():
            logits: Tensor = self.model(points)
        return logit_margins(logits, labels) - ROUNDING_RESERVE * logits.abs().amax(1)


def _row_norms(rows: Tensor, norm: Norm) -> Tensor:
    """Return the norm of each row, ``(B, 1)``."""
    order = {"linf": torch.inf, "l2": 2.0, "l1": 1.0}[norm]
    lengths: Tensor = torch.linalg.vector_norm(rows, ord=order, dim=1, keepdim=True)
    return lengths
