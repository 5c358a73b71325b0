"""The loop over the batches of one epoch, which can be interrupted after any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.augmentation import cut_and_mix
from advtransfer.toolkit.averaging import WeightAverage
from advtransfer.toolkit.checkpoint import Checkpoint, CheckpointTimer, ProgressThrottle
from advtransfer.toolkit.compilation import plain_calls
from advtransfer.toolkit.datasets import all_positions
from advtransfer.toolkit.epoch_totals import EpochTotals
from advtransfer.toolkit.losses import Objective, count_correct
from advtransfer.toolkit.rng import fork_global_rng
from advtransfer.toolkit.training_batches import TrainingBatches
from advtransfer.types import Context, DataCard, Tensors

BATCH_NORM_ERROR = "Expected more than 1 value per channel when training"
"""The beginning of torch's error for batch normalisation of one row, which has no variance."""


@contextmanager
def skip_single_row_batches(
    model: nn.Module, objective: Objective, *, rows: int, others: bool
) -> Iterator[None]:
    """Leave out a batch of one row that batch normalisation refuses; the block is a training step.

    Each epoch has its own order, so the next one most likely leaves out another row. The changes of
    a refused step to the buffers of earlier layers and to the objective's state are undone. A
    single row that can be trained on is trained on, by a model that is not compiled.

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
        with plain_calls(model):
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


@dataclass(frozen=True, slots=True)
class EpochLoop:
    """The training of one epoch, with everything that stays the same from epoch to epoch."""

    model: nn.Module
    batches: TrainingBatches
    epochs: int
    optimizer: torch.optim.Optimizer
    learning_rate: Callable[[float], float]
    context: Context
    objective: Objective
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
        totals = EpochTotals(epoch)
        # Streams are named by the epoch: a resumed training needs no random state of earlier
        # epochs.
        generator = self.context.generator(stream, epoch)
        order = torch.randperm(len(self.batches.samples), generator=generator)
        noise = self.context.generator(f"{stream}.perturb", epoch)
        layer_noise = self.context.generator(f"{stream}.layers", epoch)
        count = -(-len(order) // self.batches.size)
        with fork_global_rng(layer_noise, device=self.context.device):
            first = self._resume_partial_epoch(begun, noise, totals) if begun else 0
            batches = self.batches.read(order, epoch, first=first)
            for index, (inputs, labels) in enumerate(batches, first):
                self._set_learning_rate(((epoch - 1) * count + index) / (self.epochs * count))
                self._train_batch(inputs, labels, index, noise, totals)
                self._report_progress(epoch, index + 1, count, totals)
                if self.checkpoint_timer.is_due():
                    begun = self._pack_partial_epoch(index + 1, noise, totals)
                    self.checkpoint_timer.save(partial(self.checkpoint.pack, curves, begun))
        totals.read_steps()
        row = {"epoch": epoch, "train_loss": totals.loss_sum / totals.sample_count}
        if self._card.task != "values":
            row["train_accuracy"] = totals.correct_count / totals.sample_count
        return row

    @property
    def _card(self) -> DataCard:
        return self.batches.samples.card

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
            totals.read_steps()
            self.context.progress(
                epoch - 1,
                self.epochs,
                loss=totals.loss_sum / totals.sample_count,
                of_epoch=batches_done / batch_count,
            )

    def _set_learning_rate(self, done: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(done)

    def training_inputs(self, epoch: int) -> Iterator[Tensor]:
        """Yield the inputs ``(B, *shape)`` of all samples in order, augmented as in an epoch."""
        for inputs, _ in self.batches.read(all_positions(self.batches.samples), epoch):
            yield inputs

    def _train_batch(
        self,
        inputs: Tensor,
        labels: Tensor,
        index: int,
        noise: torch.Generator,
        totals: EpochTotals,
    ) -> None:
        """Take the steps on one batch and add their losses and outputs before each step."""
        rows = len(inputs)
        targets = labels
        if self.cutmix is not None:
            source = self.context.numpy(f"{self.checkpoint.stream}.cutmix", totals.epoch, index)
            inputs, targets = cut_and_mix(
                inputs, labels, classes=self._card.outputs, alpha=self.cutmix, source=source
            )
            # The larger part of a mixed image gives the label of the training accuracy.
            labels = targets.argmax(1)
        others = min(self.batches.size, len(self.batches.samples)) > 1
        with skip_single_row_batches(self.model, self.objective, rows=rows, others=others):
            for loss, outputs in self.objective(self.model, inputs, targets, noise):
                self.optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward
                self.optimizer.step()
                if self.average is not None:
                    self.average.after_step()
                correct = count_correct(self._card.task, outputs, labels)
                totals.add_step(loss, correct, rows=rows)

    def _pack_partial_epoch(
        self, batches_done: int, noise: torch.Generator, totals: EpochTotals
    ) -> dict[str, Tensor]:
        """Return the state of an unfinished epoch: batches done, totals, random states.

        Raises:
            Diverged: A loss is not finite; such a state is never saved.
        """
        totals.read_steps()
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
