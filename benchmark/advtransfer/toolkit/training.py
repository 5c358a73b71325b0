"""The training loop: the same inputs give the same weights, however often it was interrupted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from advtransfer.errors import Diverged
from advtransfer.toolkit.checkpoint import pack, unpack
from advtransfer.toolkit.prediction import accuracy
from advtransfer.toolkit.recipe import Adam, Optimiser, Schedule
from advtransfer.toolkit.streams import seeded
from advtransfer.types import Context, Samples

Perturb: TypeAlias = Callable[[nn.Module, Tensor, Tensor, torch.Generator], Tensor]
"""From the model, a batch of inputs and its labels to the inputs that are trained on; noise from the generator."""


def train(
    model: nn.Module,
    samples: Samples,
    *,
    epochs: int,
    batch_size: int,
    optimiser: Optimiser,
    schedule: Schedule,
    context: Context,
    perturb: Perturb | None = None,
    stream: str = "batches",
    validation: Samples | None = None,
    mode: Callable[[nn.Module], object] = nn.Module.train,
    save_every: int = 1,
) -> list[dict[str, float]]:
    """Minimise the cross-entropy in place and return the curves; the model ends in eval mode on the context's device.

    Only parameters with ``requires_grad`` are trained. A killed call continues from `context.saved()` to the same
    bits.

    Args:
        model: From inputs to logits.
        samples: What is trained on: classes.
        epochs: How often each sample is seen.
        batch_size: Samples in a step; the last batch of an epoch may be smaller.
        optimiser: The optimiser and its largest learning rate.
        schedule: The learning rate over the training.
        context: Where randomness, device and saved state come from, and where progress goes.
        perturb: Changes each batch before it is trained on, such as `attack.adversarial`.
        stream: Names the random streams and the saved state; two trainings in one context need two names.
        validation: Measured after each epoch when given; never trained on.
        mode: Puts the model in the mode it is trained in; give another one to keep batch normalisation fixed.
        save_every: Epochs between saved states.

    Returns:
        A row an epoch: ``epoch`` from 1, ``train_loss`` and ``train_accuracy`` on the batches as they were trained
        on, and ``validation_accuracy`` when there is a validation part.

    Raises:
        Diverged: A loss is not finite.
        ValueError: There are no samples.
    """
    if not len(samples):
        raise ValueError("found no samples to train on; expected at least one; check the subset or the view")
    stepper = _stepper(optimiser, model.to(context.device))
    rate = partial(_rate, optimiser, schedule)
    loop = _Loop(model, samples, batch_size, epochs, stepper, rate, context, perturb, stream, mode)
    curves = unpack(context.saved(), model=model, optimiser=stepper, stream=stream)
    for epoch in range(len(curves) + 1, epochs + 1):
        row = loop.epoch(epoch)
        if validation is not None:
            row["validation_accuracy"] = accuracy(model.eval(), validation, device=context.device)
        curves.append(row)
        if epoch % save_every == 0:
            context.save(pack(model, stepper, curves, stream=stream))
        context.progress(epoch, epochs, loss=row["train_loss"])
    model.eval()
    return curves


def _rate(optimiser: Optimiser, schedule: Schedule, done: float) -> float:
    return optimiser.lr * schedule.factor(done)


def _stepper(optimiser: Optimiser, model: nn.Module) -> torch.optim.Optimizer:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if isinstance(optimiser, Adam):
        return torch.optim.AdamW(trained, lr=optimiser.lr, weight_decay=optimiser.weight_decay)
    return torch.optim.SGD(
        trained,
        lr=optimiser.lr,
        momentum=optimiser.momentum,
        weight_decay=optimiser.weight_decay,
        nesterov=optimiser.nesterov,
    )


@dataclass(frozen=True, slots=True)
class _Loop:
    """What stays the same from epoch to epoch."""

    model: nn.Module
    samples: Samples
    batch_size: int
    epochs: int
    stepper: torch.optim.Optimizer
    rate: Callable[[float], float]
    context: Context
    perturb: Perturb | None
    stream: str
    mode: Callable[[nn.Module], object]

    def epoch(self, epoch: int) -> dict[str, float]:
        """Train for one epoch; its row of the curves."""
        self.mode(self.model)
        order = torch.randperm(len(self.samples), generator=self.context.generator(self.stream, epoch))
        noise = self.context.generator(f"{self.stream}.perturb", epoch)
        batches = torch.split(order, self.batch_size)
        loss, correct = 0.0, 0
        with seeded(self.context.generator(f"{self.stream}.layers", epoch), device=self.context.device):
            for index, positions in enumerate(batches):
                self._set_rate(((epoch - 1) * len(batches) + index) / (self.epochs * len(batches)))
                batch_loss, batch_correct = self._step(positions, noise)
                if not math.isfinite(batch_loss):
                    raise Diverged(epoch, batch_loss)
                loss += batch_loss * len(positions)
                correct += batch_correct
        return {"epoch": epoch, "train_loss": loss / len(order), "train_accuracy": correct / len(order)}

    def _set_rate(self, done: float) -> None:
        for group in self.stepper.param_groups:
            group["lr"] = self.rate(done)

    def _step(self, positions: Tensor, noise: torch.Generator) -> tuple[float, int]:
        """One step; the batch's loss before it and how many of the batch were right."""
        inputs = self.samples.inputs(positions).to(self.context.device)
        labels = self.samples.labels(positions).to(self.context.device)
        if self.perturb is not None:
            inputs = self.perturb(self.model, inputs, labels, noise)
        logits: Tensor = self.model(inputs)
        loss = functional.cross_entropy(logits, labels)
        self.stepper.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward
        self.stepper.step()
        return loss.item(), int((logits.argmax(1) == labels).sum())
