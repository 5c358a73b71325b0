"""L2-SP: full fine-tuning with a penalty on the distance from the source (Li et al., 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advtransfer.toolkit.losses import PenalizedLoss
from advtransfer.types import Context, DataCard, Fitted, Network, Samples
from advtransfer_finetune.target_model import TargetModel, as_target_model
from advtransfer_finetune.tuning import BlockTuning


@dataclass(frozen=True, slots=True, kw_only=True)
class StartingPointPenalty:
    """``alpha / 2 ||w_S - w_S^0||^2 + beta / 2 ||w_new||^2`` (Li et al., 2018, equation 3).

    Args:
        alpha: Weight of the squared distance of the source's weights from where they started.
        beta: Weight of the squared norm of the weights that the source does not have.
        shared: The trained weights of the source.
        start: Their initial values.
        new: The trained weights of the new head, and of a learned adapter.
    """

    alpha: float
    beta: float
    shared: Sequence[Tensor]
    start: Sequence[Tensor]
    new: Sequence[Tensor]

    @classmethod
    def from_model(cls, model: TargetModel, *, alpha: float, beta: float) -> StartingPointPenalty:
        """Return the penalty on the trained weights of a model that still has its initial ones."""
        shared: list[Tensor] = []
        new: list[Tensor] = []
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                (shared if name.startswith("network.") else new).append(parameter)
        start = [weight.detach().clone() for weight in shared]
        return cls(alpha=alpha, beta=beta, shared=shared, start=start, new=new)

    def __call__(self) -> Tensor:
        """Return the penalty ``()`` on the current weights."""
        distance = _sum_of_squares(
            [weight - start for weight, start in zip(self.shared, self.start, strict=True)]
        )
        return self.alpha / 2 * distance + self.beta / 2 * _sum_of_squares(self.new)


def _sum_of_squares(tensors: Sequence[Tensor]) -> Tensor:
    # A source of flattening alone has no weights before its head.
    if not tensors:
        return torch.tensor(0.0)
    return torch.stack([tensor.square().sum() for tensor in tensors]).sum()


@dataclass(frozen=True, slots=True, kw_only=True)
class StartingPointTuning:
    """Transfer that trains all weights, with a penalty on their distance from the source.

    Args:
        alpha: Weight of the source's weights in the penalty.
        beta: Weight of the new ones.
        tuning: The training of all weights.
    """

    alpha: float
    beta: float
    tuning: BlockTuning

    def model(
        self, *, source: Network | None, adapter: nn.Module | None, target: DataCard
    ) -> nn.Module:
        """Return the model with its trained parameters unfrozen; `fit` draws the head's weights."""
        return self.tuning.model(source=source, adapter=adapter, target=target)

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
        # A resumed fit passes here too, before the saved weights are restored.
        penalty = StartingPointPenalty.from_model(tuned, alpha=self.alpha, beta=self.beta)
        objective = PenalizedLoss(self.tuning.recipe.make_objective(train), penalty)
        return self.tuning.train(
            tuned, train=train, validation=validation, context=context, objective=objective
        )
