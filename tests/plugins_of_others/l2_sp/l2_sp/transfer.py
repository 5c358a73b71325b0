"""The transfer, and the loss that it minimises."""

from dataclasses import dataclass

import torch
from torch import nn

from advtransfer.toolkit.heads import with_head
from advtransfer.toolkit.training import train as run_training
from advtransfer.toolkit.training_config import Schedule, Sgd
from advtransfer.types import Fitted


class StartingPointLoss:
    """``cross-entropy + alpha / 2 |w - w0|^2 + beta / 2 |head|^2``, equation 4 of Li et al. (2018)."""

    def __init__(self, blocks, head, alpha, beta):
        self.weights = [weight for block in blocks for weight in block.parameters()]
        self.start = [weight.detach().clone() for weight in self.weights]
        self.head, self.alpha, self.beta = list(head.parameters()), alpha, beta
        self.state = {}

    def distance(self):
        """Return ``|w - w0|^2``."""
        pairs = zip(self.weights, self.start, strict=True)
        return torch.stack([(weight - start).square().sum() for weight, start in pairs]).sum()

    def __call__(self, model, inputs, labels, noise):
        """Yield the loss of a batch and its logits."""
        logits = model(inputs)
        norm = torch.stack([weight.square().sum() for weight in self.head]).sum()
        penalty = self.alpha / 2 * self.distance() + self.beta / 2 * norm
        yield nn.functional.cross_entropy(logits, labels) + penalty, logits


@dataclass(frozen=True)
class StartingPointTuning:
    """A transfer method."""

    alpha: float
    beta: float
    epochs: int
    lr: float
    batch_size: int

    def model(self, *, source, adapter, target):
        """Return the adapter and a copy of the source, whose head is zero until `fit`."""
        headed = with_head(source, target.outputs, shape=target.shape, adapter=adapter)
        for block in headed.blocks.values():
            block.requires_grad_(True)
        return nn.Sequential(adapter or nn.Identity(), headed)

    def fit(self, model, *, source, adapter, train, validation, context):
        """Draw the head and train; w0 are the weights that the source arrives with."""
        headed = model.to(context.device)[1]
        headed.draw_head(context.generator("head"))
        loss = StartingPointLoss(headed.blocks.values(), headed.head, self.alpha, self.beta)
        curves = run_training(
            model,
            train,
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimiser=Sgd(lr=self.lr, weight_decay=0.0),
            schedule=Schedule(),
            objective=loss,
            context=context,
            validation=validation,
        )
        distance = float(loss.distance().detach().sqrt())
        return Fitted(curves=curves, facts={"distance_from_source": distance})
