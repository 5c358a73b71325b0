"""Fine-tuning that turns the input gradients away from, or towards, those of a reference.

The experiment "controlling adversarial transferability" in the code of Liang et al. (2021).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.losses import task_loss
from advtransfer.toolkit.model_modes import allow_double_backward
from advtransfer.toolkit.network import load_source
from advtransfer.toolkit.precomputed_gradients import precomputed_gradient_loss
from advtransfer.types import Context, DataCard, Fitted, Network, Samples, Source, Task
from advtransfer_finetune.target_model import as_target_model
from advtransfer_finetune.tuning import BlockTuning


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientAlignmentLoss:
    """``loss + rho mean |cos(g, g_T)| + |rho| smoothness mean ||g||^2`` for input gradients g.

    The gradients are those of each sample's loss with respect to the input, of the trained model
    and of the reference.

    Args:
        reference: The reference f_T, in eval mode and frozen.
        task: The task.
        rho: Weight of the alignment; negative to raise it.
        smoothness: Weight of the squared norm, in units of rho's size.
    """

    reference: nn.Module
    task: Task
    rho: float
    smoothness: float
    state: dict[str, Tensor] = field(default_factory=dict)

    def __call__(
        self, model: nn.Module, inputs: Tensor, labels: Tensor, noise: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one loss and its outputs ``(B, K)``."""
        if not self.rho:
            outputs: Tensor = model(inputs)
            yield task_loss(self.task, outputs, labels), outputs
            return
        images = inputs.detach().requires_grad_()
        # The penalty differentiates input gradients once more, with respect to the weights.
        with allow_double_backward():
            outputs = model(images)
            summed = task_loss(self.task, outputs, labels, reduction="sum")
            (gradients,) = torch.autograd.grad(summed, images, create_graph=True)
            alignment = absolute_cosines(gradients, self._reference_gradients(inputs, labels))
            squared_norms = gradients.flatten(1).square().sum(1)
            penalty = self.rho * alignment.mean()
            penalty = penalty + abs(self.rho) * self.smoothness * squared_norms.mean()
            loss = task_loss(self.task, outputs, labels) + penalty
            minimised = precomputed_gradient_loss(loss, model)
        yield minimised, outputs.detach()

    def _reference_gradients(self, inputs: Tensor, labels: Tensor) -> Tensor:
        images = inputs.detach().requires_grad_()
        summed = task_loss(self.task, self.reference(images), labels, reduction="sum")
        (gradients,) = torch.autograd.grad(summed, images)
        return gradients


def absolute_cosines(gradients: Tensor, others: Tensor) -> Tensor:
    """Return ``|cos|`` of each pair of rows of ``(B, ...)`` tensors, ``(B,)``; 0 for a zero row."""
    unit = _unit_rows(gradients)
    return (unit * _unit_rows(others)).sum(1).abs()


def _unit_rows(tensor: Tensor) -> Tensor:
    """Return the rows of ``(B, ...)`` divided by their l2 norms, ``(B, D)``; a zero row stays."""
    rows = tensor.flatten(1)
    # First by the largest entry, since the squares of tiny entries would underflow to 0; it counts
    # as a constant, which changes neither the result nor its gradient.
    largest = rows.detach().abs().amax(1, keepdim=True)
    scaled = rows / torch.where(largest > 0, largest, 1.0)
    # The bound is active for a zero row alone: the square root has no gradient at 0.
    lengths = scaled.square().sum(1, keepdim=True).clamp_min(0.5).sqrt()
    return scaled / lengths


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlledTransferability:
    """Transfer that trains all weights, and controls how attacks transfer to a reference.

    Args:
        reference: The reference f_T, a model of the target.
        rho: Weight of the alignment; negative to raise it.
        smoothness: Weight of the squared norm of the gradients, in units of rho's size.
        tuning: The training of all weights.
    """

    reference: Source
    rho: float
    smoothness: float
    tuning: BlockTuning

    def model(
        self, *, source: Network | None, adapter: nn.Module | None, target: DataCard
    ) -> nn.Module:
        """Return the model with its trained parameters unfrozen; `fit` draws the head's weights.

        Raises:
            Inapplicable: The reference is no model of the target.
        """
        card = self.reference.card()
        if (card.shape, card.outputs) != (target.shape, target.outputs):
            found = f"the reference takes inputs {card.shape} and gives {card.outputs} outputs"
            expected = f"the target has inputs {target.shape} and {target.outputs} outputs"
            raise Inapplicable(f"{found}; {expected}; take a model of the target's data set")
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
            Inapplicable: An operation of the source has no second derivative.
        """
        tuned = as_target_model(model.to(context.device).eval())
        self.tuning.draw_new_layers(tuned, context)
        objective = GradientAlignmentLoss(
            reference=cast(nn.Module, load_source(self.reference, context)),
            task=train.card.task,
            rho=self.rho,
            smoothness=self.smoothness,
        )
        return self.tuning.train(
            tuned, train=train, validation=validation, context=context, objective=objective
        )
