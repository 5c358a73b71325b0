"""The discriminator's side of the game: its own steps, beside the student's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from advtransfer.toolkit.checkpoint import Checkpoint
from advtransfer.toolkit.freezing import weights_frozen
from advtransfer.toolkit.recipe import Optimiser, Schedule
from advtransfer.toolkit.stepper import make_stepper
from advtransfer.toolkit.streams import initialised
from advtransfer.types import Context, Shape
from advtransfer_igam.discriminator import Discriminator
from advtransfer_igam.settings import Judging


@dataclass(frozen=True, slots=True)
class Duel:
    """A discriminator in training; whoever owns it keeps its state.

    Args:
        discriminator: The network, in training mode.
        stepper: Its optimiser.
        optimiser: The recipe behind it.
        schedule: The learning rate over the whole training.
        every: Steps of the student for each of its own.
    """

    discriminator: Discriminator
    stepper: torch.optim.Optimizer
    optimiser: Optimiser
    schedule: Schedule
    every: int

    @classmethod
    def begin(
        cls, judging: Judging, shape: Shape, *, optimiser: Optimiser, schedule: Schedule, context: Context
    ) -> Duel:
        """A new discriminator of gradients of that shape; `optimiser` and `schedule` where `judging` names none."""
        network = initialised(lambda: Discriminator(shape, judging.channels), context.generator("discriminator")).to(
            context.device
        )
        recipe = judging.optimiser or optimiser
        stepper = make_stepper(recipe, network.parameters())
        return cls(network.train(), stepper, recipe, judging.schedule or schedule, judging.every)

    def loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Its cross-entropy, with a graph to the gradients and none to its own weights."""
        with weights_frozen(self.discriminator):
            return self.discriminator.loss(student, teacher)

    def step(self, student: Tensor, teacher: Tensor, *, done: float) -> None:
        """Learn from detached gradients, when the share `done` of the training lies behind."""
        for group in self.stepper.param_groups:
            group["lr"] = self.optimiser.lr * self.schedule.factor(done)
        self.stepper.zero_grad()
        self.discriminator.loss(student, teacher).backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward
        self.stepper.step()

    def pack(self) -> dict[str, Tensor]:
        """Its weights and momenta by name."""
        return self._checkpoint().pack([], {})

    def unpack(self, state: dict[str, Tensor]) -> None:
        """Take them up again, if they are in the state."""
        self._checkpoint().unpack(state)

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(self.discriminator, self.stepper, {}, "discriminator")
