"""LwF: fine-tuning whose features stay near the source's (Shafahi et al., 2020)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.losses import task_loss
from advtransfer.types import Context, DataCard, Fitted, Network, Samples, Task
from advtransfer_finetune.options import FeatureNorm
from advtransfer_finetune.target_model import TargetModel, as_target_model
from advtransfer_finetune.tuning import BlockTuning


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureDistanceLoss:
    """``loss(w z(x), y) + weight * mean ||z(x) - z_0(x)||`` for the head's inputs z.

    Shafahi et al. (2020), equation 1, with the source's own z_0. During the warm start only the
    head is trained: its loss has no gradient in z.

    Args:
        source: The model before training, in eval mode and frozen.
        task: The task.
        weight: lambda_d in the paper; 0 leaves the term out.
        norm: The norm of the distance.
        warm_steps: Number of batches of the warm start.
    """

    source: TargetModel
    task: Task
    weight: float
    norm: FeatureNorm
    warm_steps: int
    state: dict[str, Tensor] = field(default_factory=dict)

    def __call__(
        self, model: nn.Module, inputs: Tensor, labels: Tensor, noise: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one loss and its outputs ``(B, K)``."""
        tuned = as_target_model(model)
        step = int(self.state.get("step", torch.tensor(0)))
        # In the saved state, so that a resumed training goes on counting.
        self.state["step"] = torch.tensor(step + 1)
        with torch.no_grad():
            own = self.source.features(inputs)
        if step < self.warm_steps:
            # Without a gradient, torch's optimizers leave a weight as it is, decay included.
            outputs: Tensor = tuned.head(own)
            yield task_loss(self.task, outputs, labels), outputs
            return
        features = tuned.features(inputs)
        outputs = tuned.head(features)
        loss = task_loss(self.task, outputs, labels)
        if self.weight:
            loss = loss + self.weight * feature_distance(features, own, norm=self.norm)
        yield loss, outputs


def feature_distance(features: Tensor, others: Tensor, *, norm: FeatureNorm) -> Tensor:
    """Return the mean distance ``()`` of features ``(B, D)``; its gradient is 0 where they meet."""
    differences = features - others
    if norm == "l1":
        return differences.abs().sum(1).mean()
    distance: Tensor = torch.linalg.vector_norm(differences, dim=1).mean()
    return distance


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureDistanceTuning:
    """Transfer that trains all weights, with a penalty on how far the features move.

    Args:
        weight: Weight of the distance.
        norm: Norm of the distance.
        warm_start: Share of the training in which only the head is trained.
        tuning: The training of all weights.
    """

    weight: float
    norm: FeatureNorm
    warm_start: float
    tuning: BlockTuning

    def model(
        self, *, source: Network | None, adapter: nn.Module | None, target: DataCard
    ) -> nn.Module:
        """Return the model with its trained parameters unfrozen; `fit` draws the head's weights.

        Raises:
            Inapplicable: The adapter is learned, so that the source has no features of its own.
        """
        model = self.tuning.model(source=source, adapter=adapter, target=target)
        if as_target_model(model).learns_adapter:
            raise Inapplicable(
                "the adapter is learned, and the source's features have to be kept from the start; "
                "take finetune/full"
            )
        return model

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
        """Draw the head and train; the validation part is only measured.

        Raises:
            Diverged: A loss is not finite.
        """
        tuned = as_target_model(model.to(context.device).eval())
        self.tuning.draw_new_layers(tuned, context)
        objective = FeatureDistanceLoss(
            # A resumed fit passes here too, before the saved weights are restored.
            source=copy.deepcopy(tuned).requires_grad_(False),
            task=train.card.task,
            weight=self.weight,
            norm=self.norm,
            warm_steps=round(self.warm_start * self.tuning.recipe.step_count(train)),
        )
        return self.tuning.train(
            tuned, train=train, validation=validation, context=context, objective=objective
        )
