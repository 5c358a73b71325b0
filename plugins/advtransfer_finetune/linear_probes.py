"""Linear probes on frozen features: solved by L-BFGS, or trained by SGD for a fixed time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

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
from advtransfer_finetune.target_model import (
    TargetModel,
    as_target_model,
    draw_head,
    refuse_learned_adapter,
)
from advtransfer_finetune.training import TrainingRecipe

LabeledFeatures: TypeAlias = tuple[FloatArray, LabelArray]
"""Features ``(N, D)`` in float64, and labels ``(N,)``."""


class StandardizedLinear(nn.Module):
    """Linear layer on standardized features, ``(B, D)`` to ``(B, K)``; zero until it is fitted.

    ``weight @ ((features - mean) / scale) + bias``
    """

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        # Buffers, so that the scaling is saved with the weights.
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.weight = nn.Parameter(torch.zeros(classes, features))
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits, ``(B, K)``, of features ``(B, D)``."""
        return nn.functional.linear((features - self.mean) / self.scale, self.weight, self.bias)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearProbe:
    """Transfer that fits a linear classifier on the source's frozen features.

    Args:
        C: Inverse strength of the l2 penalty.
        max_iterations: Largest number of solver steps.
        tolerance: Largest entry of the gradient at the end.
        cached: Share the features with other fits.
    """

    C: float
    max_iterations: int
    tolerance: float
    cached: bool = True

    def model(
        self, *, source: Network | None, adapter: nn.Module | None, target: DataCard
    ) -> nn.Module:
        """Return the untrained model, whose shapes are those of the trained one.

        Raises:
            Inapplicable: The adapter is learned.
        """
        refuse_learned_adapter(adapter, method="the convex solver")
        return _untrained_probe(source, adapter, target)

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
        """Solve for the head.

        Raises:
            Inapplicable: There are images of one class only.
        """
        probed = as_target_model(model.to(context.device).eval())
        features, labels = self._labeled_features(probed, train, context)
        scaling = FeatureScaling.from_features(features)
        solution = self._solve_regression(scaling(features), labels, classes=train.card.outputs)
        context.progress(1, 1)
        probed.head.load_state_dict(_head_state(scaling, solution))
        facts = {"iterations": solution.iterations, "converged": float(solution.converged)}
        return Fitted(chosen={"C": self.C}, facts=facts)

    def _solve_regression(
        self, features: FloatArray, labels: LabelArray, *, classes: int
    ) -> RegressionSolution:
        return fit_regression(
            features,
            labels,
            classes=classes,
            C=self.C,
            max_iterations=self.max_iterations,
            tolerance=self.tolerance,
        )

    def _labeled_features(
        self, model: TargetModel, samples: Samples, context: Context
    ) -> LabeledFeatures:
        features = model.frozen_extractor(shared=self.cached)(samples, context)
        return features.double().numpy(), samples.labels(all_positions(samples)).numpy()


def _untrained_probe(
    source: Network | None, adapter: nn.Module | None, target: DataCard
) -> TargetModel:
    model = TargetModel(source=source, adapter=adapter, target=target, head=StandardizedLinear)
    return model.eval()


def _head_state(scaling: FeatureScaling, regression: RegressionSolution) -> dict[str, Tensor]:
    """Return the state of a `StandardizedLinear`; loading rounds it to float32."""
    arrays = {
        "mean": scaling.mean,
        "scale": scaling.scale,
        "weight": regression.weight,
        "bias": regression.bias,
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class SgdProbe:
    """Transfer that trains a linear classifier on the source's frozen features.

    Args:
        recipe: Training recipe.
        head_init: Initial weights of the classifier.
        cached: Share the features with other fits.
    """

    recipe: TrainingRecipe
    head_init: HeadInit
    cached: bool = True

    def model(
        self, *, source: Network | None, adapter: nn.Module | None, target: DataCard
    ) -> nn.Module:
        """Return the untrained model, the same as that of `LinearProbe`."""
        return _untrained_probe(source, adapter, target)

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
        """Compute the features once, draw the head and train it; train a learned adapter too.

        The features are standardized by their statistics before training.

        Raises:
            Diverged: A loss is not finite.
        """
        probed = as_target_model(model.to(context.device).eval())
        probed.draw_adapter(context)
        # A learned adapter's weights are drawn for this fit, so its features suit no other one.
        extractor = probed.frozen_extractor(shared=self.cached and not probed.learns_adapter)
        train_features = extractor.extract_samples(train, context)
        validation_features = extractor.extract_samples(validation, context) if validation else None
        inputs = train_features.inputs(all_positions(train_features))
        scaling = FeatureScaling.from_features(inputs.double().numpy())
        outputs, features = probed.head.get_parameter("weight").shape
        head = draw_head(features, outputs, init=self.head_init, source=context.generator("head"))
        scaling_state = {
            "mean": torch.from_numpy(scaling.mean),
            "scale": torch.from_numpy(scaling.scale),
        }
        probed.head.load_state_dict(scaling_state | head.state_dict())
        if probed.learns_adapter:
            return self.recipe.fit(
                probed,
                train=train,
                validation=validation,
                context=context,
                mode=_enter_training_mode,
            )
        return self.recipe.fit(
            probed.head,
            train=train_features,
            validation=validation_features,
            context=context,
            whole=probed,
        )


def _enter_training_mode(model: nn.Module) -> None:
    """Put adapter and head in training mode, and keep the source in eval mode."""
    probed = as_target_model(model).eval()
    probed.adapter.train()
    probed.head.train()
