"""One epoch of a training, whole or from where a killed call left it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from advtransfer.errors import Diverged
from advtransfer.toolkit.augment import Augmentation
from advtransfer.toolkit.checkpoint import Checkpoint
from advtransfer.toolkit.lone_rows import lone_rows_left_out
from advtransfer.toolkit.losses import right
from advtransfer.toolkit.objective import Objective
from advtransfer.toolkit.saving import Pulse, Saver
from advtransfer.toolkit.streams import seeded
from advtransfer.types import Context, Samples, Tensors


@dataclass(slots=True)
class Sums:
    """What an epoch has come to so far: losses and right samples, summed over the samples of its steps."""

    loss: float = 0.0
    right: float = 0.0
    seen: int = 0


@dataclass(frozen=True, slots=True)
class Loop:
    """What stays the same from epoch to epoch."""

    model: nn.Module
    samples: Samples
    batch_size: int
    epochs: int
    stepper: torch.optim.Optimizer
    rate: Callable[[float], float]
    context: Context
    objective: Objective
    augment: Augmentation | None
    state: Checkpoint
    saver: Saver
    mode: Callable[[nn.Module], object]
    pulse: Pulse = field(default_factory=Pulse)

    def epoch(self, epoch: int, begun: Tensors, curves: list[dict[str, float]]) -> dict[str, float]:
        """Train for one epoch, or for what a killed call left of it; its row of the curves."""
        self.mode(self.model)
        stream, sums = self.state.stream, Sums()
        order = torch.randperm(len(self.samples), generator=self.context.generator(stream, epoch))
        noise = self.context.generator(f"{stream}.perturb", epoch)
        batches = torch.split(order, self.batch_size)
        with seeded(self.context.generator(f"{stream}.layers", epoch), device=self.context.device):
            first = self._taken_up(begun, noise, sums) if begun else 0
            for index in range(first, len(batches)):
                self._set_rate(((epoch - 1) * len(batches) + index) / (self.epochs * len(batches)))
                self._batch(batches[index], epoch, noise, sums)
                self._tell(epoch, index + 1, len(batches), sums)
                if self.saver.due():
                    begun = self._begun(index + 1, noise, sums)
                    self.saver.save(partial(self.state.pack, curves, begun))
        row = {"epoch": epoch, "train_loss": sums.loss / sums.seen}
        return row if self.samples.card.task == "values" else row | {"train_accuracy": sums.right / sums.seen}

    def _tell(self, epoch: int, batches: int, all_batches: int, sums: Sums) -> None:
        if self.pulse.due():
            share = batches / all_batches
            self.context.progress(epoch - 1, self.epochs, loss=sums.loss / sums.seen, of_epoch=share)

    def _set_rate(self, done: float) -> None:
        for group in self.stepper.param_groups:
            group["lr"] = self.rate(done)

    def _batch(self, positions: Tensor, epoch: int, noise: torch.Generator, sums: Sums) -> None:
        """The steps on one batch; the losses and outputs that count are those before each step."""
        inputs, labels = self.samples.inputs(positions), self.samples.labels(positions).to(self.context.device)
        if self.augment is not None:
            inputs = self.augment(inputs, [self.samples.keys[position] for position in positions.tolist()], epoch)
        others = min(self.batch_size, len(self.samples)) > 1
        with lone_rows_left_out(self.model, self.objective, rows=len(positions), others=others):
            for loss, outputs in self.objective(self.model, inputs.to(self.context.device), labels, noise):
                self.stepper.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward
                self.stepper.step()
                if not math.isfinite(found := loss.item()):
                    raise Diverged(epoch, found)
                sums.loss += found * len(positions)
                sums.right += right(self.samples.card.task, outputs, labels) or 0
                sums.seen += len(positions)

    def _begun(self, batches: int, noise: torch.Generator, sums: Sums) -> dict[str, Tensor]:
        """An epoch that is not over: the batches behind us, the sums, and the states of what is random."""
        numbers = torch.tensor([batches, sums.loss, sums.right, sums.seen], dtype=torch.float64)
        random = {"noise": noise.get_state(), "layers": torch.get_rng_state()}
        if self.context.device.type == "cuda":
            random["layers_cuda"] = torch.cuda.get_rng_state(self.context.device)
        return {"numbers": numbers, **random}

    def _taken_up(self, begun: Tensors, noise: torch.Generator, sums: Sums) -> int:
        """Restore what `_begun` kept; the batches behind us."""
        batches, sums.loss, sums.right, seen = begun["numbers"].tolist()
        sums.seen = int(seen)
        noise.set_state(begun["noise"])
        torch.set_rng_state(begun["layers"])
        if "layers_cuda" in begun:
            torch.cuda.set_rng_state(begun["layers_cuda"], self.context.device)
        return int(batches)
