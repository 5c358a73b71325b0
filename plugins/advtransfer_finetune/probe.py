"""The linear probe: logistic regression on frozen features, as one differentiable model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, cast

import numpy as np
import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.samples import every
from advtransfer.types import Context, DataCard, Fitted, Network, Samples
from advtransfer_finetune.model import TargetModel, refuse_learned, target_model
from advtransfer_finetune.path import Path, Split, folds, path
from advtransfer_finetune.regression import Array, Labels, Regression, Scaling, regress

Table: TypeAlias = tuple[Array, Labels]
"""Features ``(N, D)`` in float64 and labels ``(N,)``."""


class StandardisedLinear(nn.Module):
    """``weight @ ((features - mean) / scale) + bias``, from ``(B, D)`` to ``(B, K)``; all zero until it is fitted."""

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.weight = nn.Parameter(torch.zeros(classes, features))
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, features: Tensor) -> Tensor:
        """``(B, D)`` to ``(B, K)``."""
        return nn.functional.linear((features - self.mean) / self.scale, self.weight, self.bias)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearProbe:
    """A transfer: the source's features stay, a linear classifier on them is fitted.

    Args:
        strengths: Values of C, ascending; more than one needs a validation part, or folds.
        max_iterations: The most steps of the solver.
        tolerance: The largest entry of the gradient at which it stops.
        folds: Over how many to choose C where there is no validation part.
        cached: Share the features with other fits.
    """

    strengths: tuple[float, ...]
    max_iterations: int
    tolerance: float
    folds: int | None = None
    cached: bool = True

    def model(self, *, source: Network | None, adapter: nn.Module | None, target: DataCard) -> nn.Module:
        """The untrained model; its shapes are those of the trained one.

        Raises:
            Inapplicable: The adapter is learned.
        """
        refuse_learned(adapter, method="the convex solver")
        return TargetModel(source=source, adapter=adapter, target=target, head=StandardisedLinear).eval()

    def fit(
        self,
        model: nn.Module,
        *,
        source: Network | None,
        adapter: nn.Module | None,
        train: Samples,
        validation: Samples | None,
        context: Context,
    ) -> Fitted:
        """Choose C where there are several, and solve for the head.

        Raises:
            Inapplicable: Several C and nothing to choose by, too few images for the folds, or images of one class only.
        """
        if len(self.strengths) > 1 and not validation and self.folds is None:
            needed = "needs a validation part; give it a share of n, or give the probe folds"
            raise Inapplicable(f"choosing C among {list(self.strengths)} {needed}")
        probed = target_model(model.to(context.device).eval())
        features, labels = self._table(probed, train, context)
        C, facts = self.strengths[0], dict[str, float]()
        if len(self.strengths) > 1:
            held_out = self._table(probed, validation, context) if validation else None
            tried = self._tried((features, labels), held_out, classes=train.card.outputs, context=context)
            C = self.strengths[tried.best]
            name = "validation_accuracy" if validation else "cross_validation_accuracy"
            facts = {name: tried.accuracies[tried.best], "path_converged": float(tried.converged)}
        scaling = Scaling.of(features)
        found = self._solve(scaling(features), labels, C=C, classes=train.card.outputs)
        context.progress(1, 1)
        probed.head.load_state_dict(_state(scaling, found))
        facts |= {"iterations": found.iterations, "converged": float(found.converged)}
        return Fitted(chosen={"C": C}, facts=facts)

    def _tried(self, train: Table, held_out: Table | None, *, classes: int, context: Context) -> Path:
        """Every strength on what was not fitted: the validation part, or each fold in turn."""
        features, labels = train
        if held_out is not None:
            rows = np.arange(len(labels) + len(held_out[1]))
            splits = [Split(*np.split(rows, [len(labels)]))]
            features, labels = np.concatenate([features, held_out[0]]), np.concatenate([labels, held_out[1]])
        else:
            splits = folds(labels, cast(int, self.folds), source=context.numpy("folds"))
        return path(
            features,
            labels,
            splits,
            classes=classes,
            strengths=self.strengths,
            tolerance=self.tolerance,
            max_iterations=self.max_iterations,
        )

    def _solve(self, features: Array, labels: Labels, *, C: float, classes: int) -> Regression:
        return regress(
            features, labels, classes=classes, C=C, max_iterations=self.max_iterations, tolerance=self.tolerance
        )

    def _table(self, model: TargetModel, samples: Samples, context: Context) -> Table:
        features = model.front(shared=self.cached)(samples, context)
        return features.double().numpy(), samples.labels(every(samples)).numpy()


def _state(scaling: Scaling, regression: Regression) -> dict[str, Tensor]:
    """What a `StandardisedLinear` holds; loading rounds it to float32."""
    arrays = {"mean": scaling.mean, "scale": scaling.scale, "weight": regression.weight, "bias": regression.bias}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
