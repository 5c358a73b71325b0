"""Accuracy under attacks: the worst outcome of each sample, and the examples that prove it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.datasets import BoundedSamples, require_unit_bounds
from advtransfer.toolkit.model_modes import weights_frozen
from advtransfer.toolkit.randomized import is_randomized
from advtransfer.toolkit.surrogate_gradients import surrogate_gradients
from advtransfer.types import Context, EvaluationInputs, Examples, Measurement, Outcome, Task
from advtransfer_foolbox.apgd_losses import replaced_loss_checks
from advtransfer_foolbox.attack_settings import ApgdLoss
from advtransfer_foolbox.clean_accuracy import (
    CleanPredictions,
    attack_rows,
    predict_clean,
    require_model,
)
from advtransfer_foolbox.draws import require_expectation
from advtransfer_foolbox.norms import Budget
from advtransfer_foolbox.protocols import Attack
from advtransfer_foolbox.radius_search import RadiusSearch


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackAccuracy:
    """An evaluation of the accuracy on the test samples under attacks.

    Args:
        attacks: The attacks; a sample is broken when any of them breaks it.
        metric: Name of the outcome metric, before ``@<eps>``.
        budget: The norm and the radii; the search runs from the smallest radius to the largest.
        clean_metric: Name of the outcome metric without attack; None leaves it out.
        report_queries: Report the numbers of model and gradient evaluations.
        report_distances: Report the distances of the nearest examples.
        apgd_losses: The losses of Auto-PGD among the attacks; the record says where a model has too
            few classes for one.
    """

    attacks: Sequence[Attack]
    metric: str
    budget: Budget
    clean_metric: str | None = None
    report_queries: bool = False
    report_distances: bool = False
    apgd_losses: Sequence[ApgdLoss] = ()

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Return the outcomes at each radius, with the examples of the broken samples.

        Gradients go through the surrogates that the model offers; its own answers decide. A randomised model
        decides by one draw, which the sample's key names, without attack and at the attack's point.

        Raises:
            Inapplicable: The labels are attributes, and an attack knows classes only; or the model is
                randomised, and an attack takes no expectation over its draws.
            ValueError: A radius is beyond the box, images are outside [0, 1], a label is not one
                that the model can predict, or the model is in training mode.
        """
        model = require_model(given)
        test = require_unit_bounds(given.test)
        self._require_task(test.card.task)
        if is_randomized(model):
            for attack in self.attacks:
                require_expectation(attack)
        self.budget.check_radii(test.card.shape)
        clean = predict_clean(model, test, context=context)
        outcomes: dict[str, Tensor] = {}
        examples: dict[float, Examples] = {}
        # Frozen weights save their gradients: attacks need those of the inputs only.
        with weights_frozen(model), surrogate_gradients(model), torch.enable_grad():
            search = self._start_search(model, test, clean, context)
            for eps in sorted(self.budget.eps):
                outcomes[self._metric_name(eps)] = search.attack_radius(eps)
                examples[eps] = self._proving_examples(search, eps)
        samples, metrics = self._optional_measurements(search, clean)
        return Measurement(
            outcomes=self._reported_outcomes(clean, outcomes),
            metrics=metrics,
            samples=samples,
            examples=[examples[eps] for eps in self.budget.eps],
            checks=replaced_loss_checks(
                self.apgd_losses, classes=clean.logits.shape[1], samples=len(test)
            ),
        )

    def _require_task(self, task: Task) -> None:
        if task == "attributes" and not all(
            getattr(attack, "attacks_attributes", False) for attack in self.attacks
        ):
            raise Inapplicable(
                "attributes are attacked by fgsm, pgd and basic_iterative; another attack of this "
                "evaluation knows classes only"
            )

    def _start_search(
        self, model: nn.Module, test: BoundedSamples, clean: CleanPredictions, context: Context
    ) -> RadiusSearch:
        return RadiusSearch(
            attacks=self.attacks,
            model=PyTorchModel(model, bounds=(0, 1), device=context.device),
            randomized=is_randomized(model),
            test=test,
            clean=clean,
            budget=self.budget,
            context=context,
            rows=attack_rows(model, test, context),
        )

    def _reported_outcomes(
        self, clean: CleanPredictions, outcomes: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the outcomes by metric: clean ones, then those of `eps` in the option's order."""
        reported = {} if self.clean_metric is None else {self.clean_metric: clean.outcomes}
        names = map(self._metric_name, self.budget.eps)
        return reported | {name: outcomes[name] for name in names}

    def _metric_name(self, eps: float) -> str:
        return f"{self.metric}@{eps:g}"

    def _proving_examples(self, search: RadiusSearch, eps: float) -> Examples:
        positions = search.examples.positions_within(eps)
        return Examples(
            self._metric_name(eps),
            self.budget.norm,
            eps,
            positions,
            search.examples.points_at(positions),
        )

    def _optional_measurements(
        self, search: RadiusSearch, clean: CleanPredictions
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Return the arrays ``(N,)`` and metrics that the options add to the outcomes."""
        samples: dict[str, Tensor] = {}
        metrics: dict[str, float] = {}
        if self.report_queries:
            samples["forwards"] = search.forward_counts
            samples["gradients"] = search.gradient_counts
            metrics["mean_forwards"] = search.forward_counts.double().mean().item()
            metrics["mean_gradients"] = search.gradient_counts.double().mean().item()
        if self.report_distances:
            samples["distance"] = search.nearest_distances()
            correct = samples["distance"][clean.outcomes == Outcome.ROBUST]
            # The median is infinite when half of the samples have no example: no metric then.
            if len(correct) and correct.median().isfinite():
                metrics["median_distance"] = correct.median().item()
        return samples, metrics
