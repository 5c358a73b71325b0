"""The training loop: the same inputs give the same weights, however often it was interrupted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from advtransfer.errors import Diverged, Inapplicable
from advtransfer.toolkit.augmentation import Augmentation, cut_and_mix
from advtransfer.toolkit.averaging import WeightAverage
from advtransfer.toolkit.checkpoint import Checkpoint, CheckpointTimer, ProgressThrottle
from advtransfer.toolkit.losses import MeanLoss, Objective, Perturb, count_correct
from advtransfer.toolkit.rng import fork_global_rng
from advtransfer.toolkit.training_config import (
    Adam,
    Averaging,
    KeptEpoch,
    OptimizerConfig,
    Schedule,
)
from advtransfer.toolkit.validation import ACCURACY, LOSS, ROBUST_ACCURACY, measure_validation
from advtransfer.types import Context, Samples, Tensors


def make_optimizer(
    optimiser: OptimizerConfig, weights: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """Return the configured optimizer for those of the weights that require gradients."""
    trained = [parameter for parameter in weights if parameter.requires_grad]
    if isinstance(optimiser, Adam):
        # AdamW, since the weight decay of `Adam` is decoupled.
        return torch.optim.AdamW(trained, lr=optimiser.lr, weight_decay=optimiser.weight_decay)
    return torch.optim.SGD(
        trained,
        lr=optimiser.lr,
        momentum=optimiser.momentum,
        weight_decay=optimiser.weight_decay,
        nesterov=optimiser.nesterov,
    )


BATCH_NORM_ERROR = "Expected more than 1 value per channel when training"
"""The beginning of torch's error for batch normalisation of one row, which has no variance."""


@contextmanager
def skip_single_row_batches(
    model: nn.Module, objective: Objective, *, rows: int, others: bool
) -> Iterator[None]:
    """Leave out a batch of one row that batch normalisation refuses; the block is a training step.

    Each epoch has its own order, so the next one most likely leaves out another row. The changes of
    a refused step to the buffers of earlier layers and to the objective's state are undone. A
    single row that can be trained on is trained on.

    Args:
        model: The model that is trained.
        objective: The objective that is minimised.
        rows: The number of rows in the batch.
        others: True if the epoch has larger batches.

    Raises:
        Inapplicable: All batches have one row, so nothing could be trained.
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
    """Losses and correct predictions of an epoch so far, summed over the samples of its steps."""

    loss_sum: float = 0.0
    correct_count: float = 0.0
    sample_count: int = 0


@dataclass(frozen=True, slots=True)
class EpochLoop:
    """The training of one epoch, with everything that stays the same from epoch to epoch."""

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
    average: WeightAverage | None
    cutmix: float | None
    set_mode: Callable[[nn.Module], object]
    progress_throttle: ProgressThrottle = field(default_factory=ProgressThrottle)

    def train_epoch(
        self, epoch: int, begun: Tensors, curves: list[dict[str, float]]
    ) -> dict[str, float]:
        """Train for one epoch, or for the rest of it, and return its row of the curves.

        Args:
            epoch: The number of the epoch, from 1.
            begun: The saved state of this epoch if an earlier call was killed in it, else empty.
            curves: The rows of the epochs before, saved with each checkpoint.
        """
        self.set_mode(self.model)
        stream = self.checkpoint.stream
        totals = EpochTotals()
        # Streams are named by the epoch: a resumed training needs no random state of earlier
        # epochs.
        order = torch.randperm(len(self.samples), generator=self.context.generator(stream, epoch))
        noise = self.context.generator(f"{stream}.perturb", epoch)
        layer_noise = self.context.generator(f"{stream}.layers", epoch)
        batches = torch.split(order, self.batch_size)
        with fork_global_rng(layer_noise, device=self.context.device):
            first = self._resume_partial_epoch(begun, noise, totals) if begun else 0
            for index in range(first, len(batches)):
                batches_done = (epoch - 1) * len(batches) + index
                self._set_learning_rate(batches_done / (self.epochs * len(batches)))
                self._train_batch(batches[index], (epoch, index), noise, totals)
                self._report_progress(epoch, index + 1, len(batches), totals)
                if self.checkpoint_timer.is_due():
                    begun = self._pack_partial_epoch(index + 1, noise, totals)
                    self.checkpoint_timer.save(partial(self.checkpoint.pack, curves, begun))
        row = {"epoch": epoch, "train_loss": totals.loss_sum / totals.sample_count}
        if self.samples.card.task != "values":
            row["train_accuracy"] = totals.correct_count / totals.sample_count
        return row

    @contextmanager
    def averaged_weights(self, epoch: int, *, is_measured: bool) -> Iterator[None]:
        """Give the model its averaged weights in the block, if it has any and is measured there."""
        if self.average is None or not is_measured:
            yield
            return
        # Layers of batch normalisation that train get statistics of the averaged weights.
        self.set_mode(self.model)
        with self.average.applied(partial(self.training_inputs, epoch)):
            yield

    def _report_progress(
        self, epoch: int, batches_done: int, batch_count: int, totals: EpochTotals
    ) -> None:
        if self.progress_throttle.is_due():
            self.context.progress(
                epoch - 1,
                self.epochs,
                loss=totals.loss_sum / totals.sample_count,
                of_epoch=batches_done / batch_count,
            )

    def _set_learning_rate(self, done: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(done)

    def _read_batch(self, positions: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """Return the augmented inputs ``(B, *shape)`` and the labels of a batch on the device."""
        inputs = self.samples.inputs(positions)
        labels = self.samples.labels(positions).to(self.context.device)
        if self.augment is not None:
            keys = [self.samples.keys[position] for position in positions.tolist()]
            inputs = self.augment(inputs, keys, epoch)
        return inputs.to(self.context.device), labels

    def training_inputs(self, epoch: int) -> Iterator[Tensor]:
        """Yield the inputs ``(B, *shape)`` of all samples in order, augmented as in an epoch."""
        for positions in torch.split(torch.arange(len(self.samples)), self.batch_size):
            yield self._read_batch(positions, epoch)[0]

    def _train_batch(
        self,
        positions: Tensor,
        epoch_and_batch: tuple[int, int],
        noise: torch.Generator,
        totals: EpochTotals,
    ) -> None:
        """Take the steps on one batch and add their losses and outputs before each step."""
        epoch, batch = epoch_and_batch
        inputs, labels = self._read_batch(positions, epoch)
        targets = labels
        if self.cutmix is not None:
            source = self.context.numpy(f"{self.checkpoint.stream}.cutmix", epoch, batch)
            inputs, targets = cut_and_mix(
                inputs, labels, classes=self.samples.card.outputs, alpha=self.cutmix, source=source
            )
            # The larger part of a mixed image gives the label of the training accuracy.
            labels = targets.argmax(1)
        others = min(self.batch_size, len(self.samples)) > 1
        with skip_single_row_batches(
            self.model, self.objective, rows=len(positions), others=others
        ):
            for loss, outputs in self.objective(self.model, inputs, targets, noise):
                self.optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward
                self.optimizer.step()
                if self.average is not None:
                    self.average.after_step()
                loss_value = loss.item()
                if not math.isfinite(loss_value):
                    raise Diverged(epoch, loss_value)
                totals.loss_sum += loss_value * len(positions)
                totals.correct_count += count_correct(self.samples.card.task, outputs, labels) or 0
                totals.sample_count += len(positions)

    def _pack_partial_epoch(
        self, batches_done: int, noise: torch.Generator, totals: EpochTotals
    ) -> dict[str, Tensor]:
        """Return the state of an unfinished epoch: batches done, totals, random states."""
        numbers = torch.tensor(
            [batches_done, totals.loss_sum, totals.correct_count, totals.sample_count],
            dtype=torch.float64,
        )
        state = {
            "numbers": numbers,
            "noise": noise.get_state(),
            "layers": torch.get_rng_state(),
        }
        # Dropout on a GPU draws from the device's own generator.
        if self.context.device.type == "cuda":
            state["layers_cuda"] = torch.cuda.get_rng_state(self.context.device)
        return state

    def _resume_partial_epoch(
        self, begun: Tensors, noise: torch.Generator, totals: EpochTotals
    ) -> int:
        """Restore the state of `_pack_partial_epoch` and return the number of batches done."""
        batches_done, loss_sum, correct_count, sample_count = begun["numbers"].tolist()
        totals.loss_sum = loss_sum
        totals.correct_count = correct_count
        totals.sample_count = int(sample_count)
        noise.set_state(begun["noise"])
        torch.set_rng_state(begun["layers"])
        if "layers_cuda" in begun:
            torch.cuda.set_rng_state(begun["layers_cuda"], self.context.device)
        return int(batches_done)


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
    minimised = objective or MeanLoss(samples.card.task, perturb)
    optimizer = make_optimizer(optimiser, model.to(context.device).parameters())
    average = None if averaging is None else WeightAverage(model, averaging)
    best_state: dict[str, Tensor] = {}
    extras = {"best": best_state} | ({"average": average.state} if average else {})
    checkpoint = Checkpoint(model, optimizer, minimised.state, stream, extras)
    checkpoint_timer = CheckpointTimer(context.save)
    loop = EpochLoop(
        model,
        samples,
        batch_size,
        epochs,
        optimizer,
        partial(_learning_rate, optimiser, schedule),
        context,
        minimised,
        augment,
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
