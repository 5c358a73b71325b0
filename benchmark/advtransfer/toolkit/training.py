"""The training loop: the same inputs give the same weights, however often it was interrupted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import nn

from advtransfer.errors import Diverged
from advtransfer.toolkit.augment import Augmentation
from advtransfer.toolkit.checkpoint import Checkpoint
from advtransfer.toolkit.epoch import Loop
from advtransfer.toolkit.losses import right, task_loss
from advtransfer.toolkit.objective import MeanLoss, Objective, Perturb
from advtransfer.toolkit.prediction import accuracy, predict
from advtransfer.toolkit.recipe import Optimiser, Schedule
from advtransfer.toolkit.saving import Saver
from advtransfer.toolkit.stepper import make_stepper
from advtransfer.types import Context, Samples


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
    objective: Objective | None = None,
    augment: Augmentation | None = None,
    stream: str = "batches",
    validation: Samples | None = None,
    watch: Callable[[nn.Module], Mapping[str, float]] | None = None,
    mode: Callable[[nn.Module], object] = nn.Module.train,
    save_every: int = 1,
) -> list[dict[str, float]]:
    """Minimise the task's loss in place and return the curves; the model ends in eval mode on the context's device.

    Only parameters with ``requires_grad`` are trained. A killed call continues from `context.saved()` to the same
    bits, be it between epochs or in the middle of one; when states are saved depends on the clock, see `saving`.

    Args:
        model: From inputs to outputs: logits of classes or attributes, or values.
        samples: What is trained on; the task is that of their card.
        epochs: How often each sample is seen.
        batch_size: Samples in a step; the last batch of an epoch may be smaller.
        optimiser: The optimiser and its largest learning rate.
        schedule: The learning rate over the training.
        context: Where randomness, device and saved state come from, and where progress goes.
        perturb: Changes each batch before it is trained on, such as `attack.adversarial`.
        objective: What is minimised in place of the task's mean loss, such as `robust.objective`.
        augment: Changes each image when it is read, such as `augment.augmentation`.
        stream: Names the random streams and the saved state; two trainings in one context need two names.
        validation: Measured after each epoch when given; never trained on.
        watch: Measures the model in eval mode after each epoch; adds its columns to the curves.
        mode: Puts the model in the mode it is trained in; give another one to keep batch normalisation fixed.
        save_every: Epochs between saved states, at the least.

    Returns:
        A row an epoch: ``epoch`` from 1, ``train_loss`` and ``train_accuracy`` on the batches as they were trained
        on, ``validation_accuracy`` when there is a validation part, and what `watch` gives. For the task ``values``,
        which knows no accuracy, ``validation_loss``. A sample's accuracy is its share of right ``attributes``.

    Raises:
        Diverged: A loss is not finite.
        ValueError: There are no samples, or both `perturb` and `objective` are given.
    """
    if not len(samples):
        raise ValueError("found no samples to train on; expected at least one; check the subset or the view")
    if perturb is not None and objective is not None:
        raise ValueError("found both perturb and objective; expected one of them; let the objective perturb")
    minimised = objective or MeanLoss(samples.card.task, perturb)
    stepper = make_stepper(optimiser, model.to(context.device).parameters())
    state = Checkpoint(model, stepper, minimised.state, stream)
    rate = partial(_rate, optimiser, schedule)
    saver = Saver(context.save)
    loop = Loop(model, samples, batch_size, epochs, stepper, rate, context, minimised, augment, state, saver, mode)
    curves, begun = state.unpack(context.saved())
    for epoch in range(len(curves) + 1, epochs + 1):
        row = loop.epoch(epoch, begun, curves) | _measured(model.eval(), validation, watch, context.device)
        _check(row)
        begun = {}
        curves.append(row)
        if epoch % save_every == 0 and saver.cheap():
            saver.save(partial(state.pack, curves, {}))
        context.progress(epoch, epochs, loss=row["train_loss"])
    model.eval()
    return curves


def _measured(
    model: nn.Module,
    validation: Samples | None,
    watch: Callable[[nn.Module], Mapping[str, float]] | None,
    device: torch.device,
) -> dict[str, float]:
    """What is measured after an epoch."""
    watched = {} if watch is None else dict(watch(model))
    if validation is None:
        return watched
    if validation.card.task == "classes":
        return {"validation_accuracy": accuracy(model, validation, device=device)} | watched
    outputs, labels = predict(model, validation, device=device)
    hits = right(validation.card.task, outputs, labels)
    if hits is None:
        return {"validation_loss": task_loss(validation.card.task, outputs, labels).item()} | watched
    return {"validation_accuracy": hits / len(validation)} | watched


def _check(row: Mapping[str, float]) -> None:
    for value in row.values():
        if not math.isfinite(value):
            raise Diverged(int(row["epoch"]), value)


def _rate(optimiser: Optimiser, schedule: Schedule, done: float) -> float:
    return optimiser.lr * schedule.factor(done)
