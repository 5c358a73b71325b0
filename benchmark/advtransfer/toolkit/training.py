"""The training loop: the same inputs give the same weights, however often it was interrupted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from advtransfer.errors import Diverged, Inapplicable
from advtransfer.toolkit.augmentation import Augmentation
from advtransfer.toolkit.checkpoint import Checkpoint, CheckpointTimer, ProgressThrottle
from advtransfer.toolkit.losses import MeanLoss, Objective, Perturb, count_correct, task_loss
from advtransfer.toolkit.prediction import measure_accuracy, predict
from advtransfer.toolkit.rng import fork_global_rng
from advtransfer.toolkit.training_config import Adam, OptimizerConfig, Schedule
from advtransfer.types import Context, Samples, Tensors


def make_optimizer(
    optimiser: OptimizerConfig, weights: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """The optimiser with the recipe's settings, for those of the weights that are trained."""
    trained = [parameter for parameter in weights if parameter.requires_grad]
    if isinstance(optimiser, Adam):
        return torch.optim.AdamW(trained, lr=optimiser.lr, weight_decay=optimiser.weight_decay)
    return torch.optim.SGD(
        trained,
        lr=optimiser.lr,
        momentum=optimiser.momentum,
        weight_decay=optimiser.weight_decay,
        nesterov=optimiser.nesterov,
    )


BATCH_NORM_ERROR = "Expected more than 1 value per channel when training"
"""How the error begins that torch raises; a batch has no variance then."""


@contextmanager
def skip_single_row_batches(
    model: nn.Module, objective: Objective, *, rows: int, others: bool
) -> Iterator[None]:
    """Inside is a step of a training; a batch of one row that batch normalisation refuses is left out of the epoch.

    Each epoch has its own order, so the next one most likely leaves out another row. What the refused step has changed,
    the statistics of layers before and the objective's state, is put back. Where a single row can be trained on,
    nothing is changed.

    Args:
        model: What is trained.
        objective: What is minimised.
        rows: In the batch.
        others: Whether the epoch has larger batches.

    Raises:
        Inapplicable: Batches of one row are all there is.
    """
    if rows > 1:
        yield
        return
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    state = dict(objective.state)
    try:
        yield
    except ValueError as error:
        if not str(error).startswith(BATCH_NORM_ERROR):
            raise
        if not others:
            reason = "batch normalisation cannot be trained on batches of a single image"
            raise Inapplicable(
                f"{reason}; raise batch_size, and n where there is one image only"
            ) from error
        _restore_buffers(model, buffers)
        objective.state.clear()
        objective.state.update(state)


def _restore_buffers(model: nn.Module, buffers: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])


@dataclass(slots=True)
class EpochTotals:
    """What an epoch has come to so far: losses and right samples, summed over the samples of its steps."""

    loss_sum: float = 0.0
    correct_count: float = 0.0
    sample_count: int = 0


@dataclass(frozen=True, slots=True)
class EpochLoop:
    """What stays the same from epoch to epoch."""

    model: nn.Module
    samples: Samples
    batch_size: int
    epochs: int
    optimizer: torch.optim.Optimizer
    learning_rate: Callable[[float], float]
    context: Context
    objective: Objective
    augment: Augmentation | None
    checkpoint: Checkpoint
    checkpoint_timer: CheckpointTimer
    set_mode: Callable[[nn.Module], object]
    progress_throttle: ProgressThrottle = field(default_factory=ProgressThrottle)

    def train_epoch(
        self, epoch: int, begun: Tensors, curves: list[dict[str, float]]
    ) -> dict[str, float]:
        """Train for one epoch, or for what a killed call left of it; its row of the curves."""
        self.set_mode(self.model)
        stream, sums = self.checkpoint.stream, EpochTotals()
        order = torch.randperm(len(self.samples), generator=self.context.generator(stream, epoch))
        noise = self.context.generator(f"{stream}.perturb", epoch)
        batches = torch.split(order, self.batch_size)
        with fork_global_rng(
            self.context.generator(f"{stream}.layers", epoch), device=self.context.device
        ):
            first = self._resume_partial_epoch(begun, noise, sums) if begun else 0
            for index in range(first, len(batches)):
                self._set_learning_rate(
                    ((epoch - 1) * len(batches) + index) / (self.epochs * len(batches))
                )
                self._train_batch(batches[index], epoch, noise, sums)
                self._report_progress(epoch, index + 1, len(batches), sums)
                if self.checkpoint_timer.is_due():
                    begun = self._pack_partial_epoch(index + 1, noise, sums)
                    self.checkpoint_timer.save(partial(self.checkpoint.pack, curves, begun))
        row = {"epoch": epoch, "train_loss": sums.loss_sum / sums.sample_count}
        return (
            row
            if self.samples.card.task == "values"
            else row | {"train_accuracy": sums.correct_count / sums.sample_count}
        )

    def _report_progress(
        self, epoch: int, batches: int, all_batches: int, sums: EpochTotals
    ) -> None:
        if self.progress_throttle.is_due():
            share = batches / all_batches
            self.context.progress(
                epoch - 1, self.epochs, loss=sums.loss_sum / sums.sample_count, of_epoch=share
            )

    def _set_learning_rate(self, done: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(done)

    def _train_batch(
        self, positions: Tensor, epoch: int, noise: torch.Generator, sums: EpochTotals
    ) -> None:
        """The steps on one batch; the losses and outputs that count are those before each step."""
        inputs, labels = (
            self.samples.inputs(positions),
            self.samples.labels(positions).to(self.context.device),
        )
        if self.augment is not None:
            inputs = self.augment(
                inputs, [self.samples.keys[position] for position in positions.tolist()], epoch
            )
        others = min(self.batch_size, len(self.samples)) > 1
        with skip_single_row_batches(
            self.model, self.objective, rows=len(positions), others=others
        ):
            for loss, outputs in self.objective(
                self.model, inputs.to(self.context.device), labels, noise
            ):
                self.optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward
                self.optimizer.step()
                if not math.isfinite(found := loss.item()):
                    raise Diverged(epoch, found)
                sums.loss_sum += found * len(positions)
                sums.correct_count += count_correct(self.samples.card.task, outputs, labels) or 0
                sums.sample_count += len(positions)

    def _pack_partial_epoch(
        self, batches: int, noise: torch.Generator, sums: EpochTotals
    ) -> dict[str, Tensor]:
        """An epoch that is not over: the batches behind us, the sums, and the states of what is random."""
        numbers = torch.tensor(
            [batches, sums.loss_sum, sums.correct_count, sums.sample_count], dtype=torch.float64
        )
        random = {"noise": noise.get_state(), "layers": torch.get_rng_state()}
        if self.context.device.type == "cuda":
            random["layers_cuda"] = torch.cuda.get_rng_state(self.context.device)
        return {"numbers": numbers, **random}

    def _resume_partial_epoch(
        self, begun: Tensors, noise: torch.Generator, sums: EpochTotals
    ) -> int:
        """Restore what `_begun` kept; the batches behind us."""
        batches, sums.loss_sum, sums.correct_count, seen = begun["numbers"].tolist()
        sums.sample_count = int(seen)
        noise.set_state(begun["noise"])
        torch.set_rng_state(begun["layers"])
        if "layers_cuda" in begun:
            torch.cuda.set_rng_state(begun["layers_cuda"], self.context.device)
        return int(batches)


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
        raise ValueError(
            "found no samples to train on; expected at least one; check the subset or the view"
        )
    if perturb is not None and objective is not None:
        raise ValueError(
            "found both perturb and objective; expected one of them; let the objective perturb"
        )
    minimised = objective or MeanLoss(samples.card.task, perturb)
    stepper = make_optimizer(optimiser, model.to(context.device).parameters())
    state = Checkpoint(model, stepper, minimised.state, stream)
    rate = partial(_learning_rate, optimiser, schedule)
    saver = CheckpointTimer(context.save)
    loop = EpochLoop(
        model,
        samples,
        batch_size,
        epochs,
        stepper,
        rate,
        context,
        minimised,
        augment,
        state,
        saver,
        mode,
    )
    curves, begun = state.unpack(context.saved())
    for epoch in range(len(curves) + 1, epochs + 1):
        row = loop.train_epoch(epoch, begun, curves) | _measure_epoch(
            model.eval(), validation, watch, context.device
        )
        _require_finite(row)
        begun = {}
        curves.append(row)
        if epoch % save_every == 0 and saver.is_affordable():
            saver.save(partial(state.pack, curves, {}))
        context.progress(epoch, epochs, loss=row["train_loss"])
    model.eval()
    return curves


def _measure_epoch(
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
        return {"validation_accuracy": measure_accuracy(model, validation, device=device)} | watched
    outputs, labels = predict(model, validation, device=device)
    hits = count_correct(validation.card.task, outputs, labels)
    if hits is None:
        return {
            "validation_loss": task_loss(validation.card.task, outputs, labels).item()
        } | watched
    return {"validation_accuracy": hits / len(validation)} | watched


def _require_finite(row: Mapping[str, float]) -> None:
    for value in row.values():
        if not math.isfinite(value):
            raise Diverged(int(row["epoch"]), value)


def _learning_rate(optimiser: OptimizerConfig, schedule: Schedule, done: float) -> float:
    return optimiser.lr * schedule.rate_factor(done)
