"""Linear probes on frozen features: solved by L-BFGS, or trained by SGD for a fixed time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, cast

import numpy as np
import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.datasets import all_positions
from advtransfer.types import Context, DataCard, Fitted, Network, Samples
from advtransfer_finetune.options import HeadInit
from advtransfer_finetune.regression import (
    FeatureScaling,
    FloatArray,
    LabelArray,
    RegressionSolution,
    fit_regression,
)
from advtransfer_finetune.regularization_path import (
    FoldSplit,
    RegularizationPath,
    fit_path,
    stratified_folds,
)
from advtransfer_finetune.target_model import (
    TargetModel,
    as_target_model,
    draw_head,
    refuse_learned_adapter,
)
from advtransfer_finetune.training import TrainingRecipe

LabeledFeatures: TypeAlias = tuple[FloatArray, LabelArray]
"""Features ``(N, D)`` in float64 and labels ``(N,)``."""


class StandardizedLinear(nn.Module):
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

    def model(
        self, *, source: Network | None, adapter: nn.Module | None, target: DataCard
    ) -> nn.Module:
        """The untrained model; its shapes are those of the trained one.

        Raises:
            Inapplicable: The adapter is learned.
        """
        refuse_learned_adapter(adapter, method="the convex solver")
        return TargetModel(
            source=source, adapter=adapter, target=target, head=StandardizedLinear
        ).eval()

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
        probed = as_target_model(model.to(context.device).eval())
        features, labels = self._labeled_features(probed, train, context)
        C, facts = self.strengths[0], dict[str, float]()
        if len(self.strengths) > 1:
            held_out = self._labeled_features(probed, validation, context) if validation else None
            tried = self._score_strengths(
                (features, labels), held_out, classes=train.card.outputs, context=context
            )
            C = self.strengths[tried.best_index]
            name = "validation_accuracy" if validation else "cross_validation_accuracy"
            facts = {
                name: tried.accuracies[tried.best_index],
                "path_converged": float(tried.converged),
            }
        scaling = FeatureScaling.from_features(features)
        found = self._solve_regression(scaling(features), labels, C=C, classes=train.card.outputs)
        context.progress(1, 1)
        probed.head.load_state_dict(_head_state(scaling, found))
        facts |= {"iterations": found.iterations, "converged": float(found.converged)}
        return Fitted(chosen={"C": C}, facts=facts)

    def _score_strengths(
        self,
        train: LabeledFeatures,
        held_out: LabeledFeatures | None,
        *,
        classes: int,
        context: Context,
    ) -> RegularizationPath:
        """Every strength on what was not fitted: the validation part, or each fold in turn."""
        features, labels = train
        if held_out is not None:
            rows = np.arange(len(labels) + len(held_out[1]))
            splits = [FoldSplit(*np.split(rows, [len(labels)]))]
            features, labels = (
                np.concatenate([features, held_out[0]]),
                np.concatenate([labels, held_out[1]]),
            )
        else:
            splits = stratified_folds(labels, cast(int, self.folds), source=context.numpy("folds"))
        return fit_path(
            features,
            labels,
            splits,
            classes=classes,
            strengths=self.strengths,
            tolerance=self.tolerance,
            max_iterations=self.max_iterations,
        )

    def _solve_regression(
        self, features: FloatArray, labels: LabelArray, *, C: float, classes: int
    ) -> RegressionSolution:
        return fit_regression(
            features,
            labels,
            classes=classes,
            C=C,
            max_iterations=self.max_iterations,
            tolerance=self.tolerance,
        )

    def _labeled_features(
        self, model: TargetModel, samples: Samples, context: Context
    ) -> LabeledFeatures:
        features = model.frozen_extractor(shared=self.cached)(samples, context)
        return features.double().numpy(), samples.labels(all_positions(samples)).numpy()


def _head_state(scaling: FeatureScaling, regression: RegressionSolution) -> dict[str, Tensor]:
    """What a `StandardizedLinear` holds; loading rounds it to float32."""
    arrays = {
        "mean": scaling.mean,
        "scale": scaling.scale,
        "weight": regression.weight,
        "bias": regression.bias,
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class SgdProbe:
    """A transfer: the source's features stay, a linear classifier on them is trained.

    Args:
        recipe: How it is trained.
        head_init: Where its weights start.
        cached: Share the features with other fits.
    """

    recipe: TrainingRecipe
    head_init: HeadInit
    cached: bool = True

    def model(
        self, *, source: Network | None, adapter: nn.Module | None, target: DataCard
    ) -> nn.Module:
        """The untrained model, the same as that of `LinearProbe`."""
        return TargetModel(
            source=source, adapter=adapter, target=target, head=StandardizedLinear
        ).eval()

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
        """Compute the features once, draw the head and train it; where the adapter is learned, train both.

        The features are standardised as they are before training.

        Raises:
            Diverged: A loss is not finite.
        """
        probed = as_target_model(model.to(context.device).eval())
        probed.draw_adapter(context)
        front = probed.frozen_extractor(shared=self.cached and not probed.learns_adapter)
        known = front.extract_samples(train, context)
        unseen = front.extract_samples(validation, context) if validation else None
        scaling = FeatureScaling.from_features(known.inputs(all_positions(known)).double().numpy())
        outputs, features = probed.head.get_parameter("weight").shape
        start = draw_head(features, outputs, init=self.head_init, source=context.generator("head"))
        standards = {
            "mean": torch.from_numpy(scaling.mean),
            "scale": torch.from_numpy(scaling.scale),
        }
        probed.head.load_state_dict(standards | start.state_dict())
        if probed.learns_adapter:
            return self.recipe.fit(
                probed,
                train=train,
                validation=validation,
                context=context,
                mode=_enter_training_mode,
            )
        return self.recipe.fit(
            probed.head, train=known, validation=unseen, context=context, whole=probed
        )


def _enter_training_mode(model: nn.Module) -> None:
    """The source stays as in evaluation."""
    probed = as_target_model(model).eval()
    probed.adapter.train()
    probed.head.train()
