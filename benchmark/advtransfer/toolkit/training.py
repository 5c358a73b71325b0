"""The training loop: the same inputs give the same weights, however often it was interrupted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from advtransfer.errors import Diverged
from advtransfer.toolkit.augmentation import Augmentation
from advtransfer.toolkit.averaging import WeightAverage
from advtransfer.toolkit.checkpoint import Checkpoint, CheckpointTimer
from advtransfer.toolkit.compilation import compiled_calls
from advtransfer.toolkit.epoch_loop import EpochLoop
from advtransfer.toolkit.losses import MeanLoss, Objective, Perturb
from advtransfer.toolkit.memory_format import channels_last_weights, prefers_channels_last
from advtransfer.toolkit.resident_samples import keep_on_device
from advtransfer.toolkit.training_batches import TrainingBatches
from advtransfer.toolkit.training_config import (
    Adam,
    Averaging,
    KeptEpoch,
    OptimizerConfig,
    Schedule,
)
from advtransfer.toolkit.validation import ACCURACY, LOSS, ROBUST_ACCURACY, measure_validation
from advtransfer.types import Context, Samples

FUSED_DEVICES = ("cpu", "cuda")
"""Types of the devices that torch has fused optimizers for."""


def make_optimizer(
    optimiser: OptimizerConfig, weights: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """Return the configured optimizer for those of the weights that require gradients."""
    trained = [parameter for parameter in weights if parameter.requires_grad]
    # One kernel for all weights instead of several for each.
    fused = all(
        parameter.device.type in FUSED_DEVICES and parameter.is_floating_point()
        for parameter in trained
    )
    if isinstance(optimiser, Adam):
        # AdamW, since the weight decay of `Adam` is decoupled.
        return torch.optim.AdamW(
            trained, lr=optimiser.lr, weight_decay=optimiser.weight_decay, fused=fused
        )
    sgd = torch.optim.SGD(
        trained,
        lr=optimiser.lr,
        momentum=optimiser.momentum,
        weight_decay=optimiser.weight_decay,
        nesterov=optimiser.nesterov,
        fused=fused,
    )
    if fused and optimiser.momentum:
        sgd.register_step_pre_hook(_begin_late_momenta)
    return sgd


def _begin_late_momenta(optimizer: torch.optim.Optimizer, *_: object) -> None:
    """Begin the momentum of weights that get their first gradient later than others at 0.

    That is what the first step begins with, but torch's fused kernel takes momenta of all weights or of none.
    """
    if not optimizer.state:
        return
    for group in optimizer.param_groups:
        for weight in group["params"]:
            if weight.grad is not None and weight not in optimizer.state:
                optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)


def train(
    model: nn.Module,
    samples: Samples,
    *,
    epochs: int,
    batch_size: int,
    optimiser: OptimizerConfig,
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
    kept_epoch: KeptEpoch = "last",
    averaging: Averaging | None = None,
    cutmix: float | None = None,
) -> list[dict[str, float]]:
    """Train a model in place and return the curves; it ends in eval mode on the context's device.

    Only parameters with ``requires_grad`` are trained. A killed call continues from
    `context.saved()` to the same bits, between epochs or in the middle of one. When states are
    saved depends on the clock, see `checkpoint`.

    Args:
        model: From inputs to outputs: logits of classes or attributes, or values.
        samples: The training samples; the task is that of their card.
        epochs: How often each sample is seen.
        batch_size: Samples in a step; the last batch of an epoch may be smaller.
        optimiser: The optimizer and its largest learning rate.
        schedule: The learning rate over the training.
        context: Gives random streams, the device and the saved state, and receives progress.
        perturb: Changes each batch before it is trained on, such as `pgd.pgd_perturb`.
        objective: Replaces the task's mean loss, such as `adversarial_training.training_objective`.
        augment: Changes each image when it is read, such as `augmentation.make_augmentation`.
        stream: Names the random streams and the saved state; two trainings in one context need two
            names.
        validation: Samples to measure after each epoch; never trained on.
        watch: Measures the model in eval mode after each epoch; adds its columns to the curves.
        mode: Puts the model in the mode it is trained in; another one keeps batch normalisation
            fixed, for example.
        save_every: The smallest number of epochs between saved states.
        kept_epoch: The epoch whose weights the model ends with. ``best``: that of the highest
            ``robust_validation_accuracy``, or else ``validation_accuracy``, or else the lowest
            ``validation_loss``; of equal ones the first. It is `best_epoch` of the curves.
        averaging: The average of the weights that takes their place. It is what is measured after
            each epoch, with statistics of batch normalisation of its own.
        cutmix: The parameter of CutMix, see `augmentation.cut_and_mix`; None for none.

    Returns:
        One row for each epoch: ``epoch`` from 1, ``train_loss`` and ``train_accuracy`` on the
        batches as they were trained on, ``validation_accuracy`` if `validation` is given, and the
        columns of `watch`. The task ``values`` has no accuracy, and has ``validation_loss`` instead. The
        accuracy of a sample with ``attributes`` is the share of them that is correct.

    Raises:
        Diverged: A loss is not finite.
        ValueError: There are no samples, both `perturb` and `objective` are given, or the best epoch
            is to be kept without a validation part.
    """
    if not len(samples):
        raise ValueError(
            "found no samples to train on; expected at least one; check the subset or the view"
        )
    if perturb is not None and objective is not None:
        raise ValueError(
            "found both perturb and objective; expected one of them; let the objective perturb"
        )
    if kept_epoch == "best" and validation is None:
        raise ValueError(
            "found no validation part to choose the best epoch by; expected one; "
            "give validation a share, or keep the last epoch"
        )
    device = context.device
    model.to(device)
    batches = TrainingBatches(keep_on_device(samples, device), batch_size, augment, device)
    if validation is not None:
        validation = keep_on_device(validation, torch.device("cpu"))
    with (
        channels_last_weights(model, enabled=prefers_channels_last(model, device)),
        compiled_calls(model),
    ):
        minimised = objective or MeanLoss(samples.card.task, perturb)
        optimizer = make_optimizer(optimiser, model.parameters())
        average = None if averaging is None else WeightAverage(model, averaging)
        best_state: dict[str, Tensor] = {}
        extras = {"best": best_state} | ({"average": average.state} if average else {})
        checkpoint = Checkpoint(model, optimizer, minimised.state, stream, extras)
        checkpoint_timer = CheckpointTimer(context.save)
        loop = EpochLoop(
            model,
            batches,
            epochs,
            optimizer,
            partial(_learning_rate, optimiser, schedule),
            context,
            minimised,
            checkpoint,
            checkpoint_timer,
            average,
            cutmix,
            mode,
        )
        curves, begun = checkpoint.unpack(context.saved())
        for epoch in range(len(curves) + 1, epochs + 1):
            row = loop.train_epoch(epoch, begun, curves)
            if average is not None:
                average.after_epoch(epoch / epochs)
            with loop.averaged_weights(epoch, is_measured=bool(validation or watch)):
                row |= _measure_epoch(model.eval(), validation, watch, context.device)
                _require_finite(row)
                curves.append(row)
                if kept_epoch == "best" and best_epoch(curves) == epoch:
                    best_state.update(_copy_state(model))
            # Only the first epoch after a resumption can be unfinished.
            begun = {}
            if epoch % save_every == 0 and checkpoint_timer.is_affordable():
                checkpoint_timer.save(partial(checkpoint.pack, curves, {}))
            context.progress(epoch, epochs, loss=row["train_loss"])
        if kept_epoch == "best":
            model.load_state_dict(best_state)
        elif average is not None:
            mode(model)
            average.apply(partial(loop.training_inputs, epochs))
        model.eval()
        return curves


def best_epoch(curves: Sequence[Mapping[str, float]]) -> int:
    """Return the epoch, from 1, of the best validation measurement; of equal ones the first."""
    for column, sign in ((ROBUST_ACCURACY, 1), (ACCURACY, 1), (LOSS, -1)):
        if column in curves[0]:
            best = max(curves, key=lambda row: (sign * row[column], -row["epoch"]))
            return int(best["epoch"])
    raise ValueError("found curves without a validation measurement; expected one")


def _copy_state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}


def _measure_epoch(
    model: nn.Module,
    validation: Samples | None,
    watch: Callable[[nn.Module], Mapping[str, float]] | None,
    device: torch.device,
) -> dict[str, float]:
    """Return the columns that are measured after an epoch."""
    watched = {} if watch is None else dict(watch(model))
    if validation is None:
        return watched
    return measure_validation(model, validation, device=device) | watched


def _require_finite(row: Mapping[str, float]) -> None:
    for value in row.values():
        if not math.isfinite(value):
            raise Diverged(int(row["epoch"]), value)


def _learning_rate(optimiser: OptimizerConfig, schedule: Schedule, done: float) -> float:
    return optimiser.lr * schedule.rate_factor(done)
