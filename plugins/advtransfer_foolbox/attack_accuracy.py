"""Accuracy under attacks: the worst outcome of each sample, and the examples that prove it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor

from advtransfer.toolkit.datasets import require_unit_bounds
from advtransfer.toolkit.model_modes import weights_frozen
from advtransfer.types import Context, EvaluationInputs, Examples, Measurement, Outcome
from advtransfer_foolbox.clean_accuracy import CleanPredictions, predict_clean, require_model
from advtransfer_foolbox.norms import Budget
from advtransfer_foolbox.protocols import Attack
from advtransfer_foolbox.radius_search import RadiusSearch


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackAccuracy:
    """An evaluation: what becomes of each test sample when attacks may move it.

    Args:
        attacks: The attacks; a sample counts with the worst that any of them does to it.
        metric: The outcome metric's name, before ``@<eps>``.
        budget: The norm, and the radii, climbed from the smallest.
        clean: The name of the outcome metric without attack; None leaves it out.
        counts: Whether to report how often the model and its gradient were evaluated.
        nearest: Whether to report how far the nearest examples are.
    """

    attacks: Sequence[Attack]
    metric: str
    budget: Budget
    clean_metric: str | None = None
    report_queries: bool = False
    report_distances: bool = False

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Outcomes at each radius, with the examples that broke a sample.

        Raises:
            ValueError: A radius beyond the box, images outside [0, 1], labels that are none of the model's classes, or
                a model in training mode.
        """
        model, test = require_model(given), require_unit_bounds(given.test)
        self.budget.check_radii(test.card.shape)
        without = predict_clean(model, test, context=context)
        with weights_frozen(model), torch.enable_grad():
            attacked = PyTorchModel(model, bounds=(0, 1), device=context.device)
            climb = RadiusSearch(
                attacks=self.attacks,
                model=attacked,
                test=test,
                clean=without,
                norm=self.budget.norm,
                radii=sorted(self.budget.eps),
                context=context,
            )
            found = {
                eps: (climb.attack_radius(eps), self._proving_examples(climb, eps))
                for eps in climb.radii
            }
        outcomes = {} if self.clean_metric is None else {self.clean_metric: without.outcomes}
        outcomes |= {self._metric_name(eps): found[eps][0] for eps in self.budget.eps}
        samples, metrics = self._optional_measurements(climb, without)
        examples = [found[eps][1] for eps in self.budget.eps]
        return Measurement(outcomes=outcomes, metrics=metrics, samples=samples, examples=examples)

    def _metric_name(self, eps: float) -> str:
        return f"{self.metric}@{eps:g}"

    def _proving_examples(self, climb: RadiusSearch, eps: float) -> Examples:
        positions = climb.positions_within(eps) if eps > 0 else []
        points = [climb.examples[position].point for position in positions]
        inputs = torch.stack(points) if points else torch.empty((0, *climb.test.card.shape))
        at = torch.tensor(positions, dtype=torch.int64)
        return Examples(self._metric_name(eps), self.budget.norm, eps, at, inputs)

    def _optional_measurements(
        self, climb: RadiusSearch, without: CleanPredictions
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Arrays ``(N,)`` and metrics besides the outcomes, where they are asked for."""
        samples, metrics = dict[str, Tensor](), dict[str, float]()
        if self.report_queries:
            samples |= {"forwards": climb.forward_counts, "gradients": climb.gradient_counts}
            metrics |= {
                f"mean_{name}": counted.double().mean().item() for name, counted in samples.items()
            }
        if self.report_distances:
            samples["distance"] = climb.nearest_distances()
            right = samples["distance"][without.outcomes == Outcome.ROBUST]
            if len(right) and right.median().isfinite():
                metrics["median_distance"] = right.median().item()
        return samples, metrics
