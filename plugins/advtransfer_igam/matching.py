"""What the student minimises: cross-entropy, and how its input gradients differ from the teacher's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional

from advtransfer.toolkit.attack import Bounds, boxed
from advtransfer.toolkit.second_order import differentiated_twice
from advtransfer.toolkit.streams import seeded
from advtransfer.types import Shape
from advtransfer_igam.duel import Duel
from advtransfer_igam.gradients import distance, input_gradients
from advtransfer_igam.ledger import Ledger
from advtransfer_igam.lessons import Lesson, lesson, parted
from advtransfer_igam.settings import Terms
from advtransfer_igam.settled import settled
from advtransfer_igam.teacher import Teacher

COLUMNS = ("student_loss", "teacher_loss", "gradient_distance", "discriminator_loss")
WHOLE = (slice(None), slice(None))

Window: TypeAlias = tuple[slice, slice]


@runtime_checkable
class Windowed(Protocol):
    """An adapter's module that leaves only a window of the target's images: the rows and columns that it keeps."""

    @property
    def window(self) -> Window | None:
        """None where it keeps every pixel, or mixes them."""


def window_of(adapter: nn.Module | None) -> Window:
    """The rows and columns of the target's images that the discriminator compares: all, but for a crop."""
    return (adapter.window if isinstance(adapter, Windowed) else None) or WHOLE


@dataclass(slots=True)
class Matching:
    """An objective of `toolkit.training.train`: one step of the student a batch, and now and then one of its opponent.

    Both terms are computed and weighted even where their weight is 0; only before the warm-up is over they are left
    out. With both weights 0 the student is trained as without them, to the bit.

    Args:
        terms: The terms and their weights.
        duel: The discriminator.
        teacher: Whose gradients are matched, tuned and in teaching mode; None for zeros.
        shape: ``(C, H, W)`` of an image.
        rows: What `lessons.lesson` fills smaller batches up to: the batch size for a steady teacher, None for another.
        window: The rows and columns that the discriminator compares.
        steps: Steps of the whole training.
        bounds: The smallest and the largest value an input may take.
    """

    terms: Terms
    duel: Duel
    teacher: Teacher | None
    shape: Shape
    rows: int | None
    window: Window
    steps: int
    bounds: Bounds
    state: dict[str, Tensor] = field(default_factory=dict)
    taken_up: bool = False

    @property
    def ledger(self) -> Ledger:
        """The losses by epoch."""
        return Ledger(COLUMNS, self.state)

    def __call__(
        self, model: nn.Module, inputs: Tensor, labels: Tensor, noise: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """One loss a batch; after the step on it the discriminator steps, when it is its turn."""
        step = self._next()
        images, taught = parted(inputs, self.shape)
        matched = step >= self.terms.warm_up * self.steps
        images = self._moved(images, noise).requires_grad_(matched)
        with differentiated_twice() if matched else nullcontext():
            logits: Tensor = model(images)
        entropy = functional.cross_entropy(logits, labels)
        loss = entropy + self.terms.kernel_decay * half_squares(model) if self.terms.kernel_decay else entropy
        means = {"student_loss": entropy.item()}
        if not matched:
            yield loss, logits
        else:
            student = input_gradients(logits, labels, images, of=self.terms.gradient_of, differentiable=True)
            taught = taught or self._lesson(images, labels, noise)
            apart = distance(student, taught.gradients, reduction=self.terms.reduction)
            rows, columns = self.window
            seen, shown = student[..., rows, columns], taught.gradients[..., rows, columns]
            judged = self.duel.loss(seen, shown)
            loss = loss + self.terms.lambda_diff * apart - self.terms.lambda_adv * judged
            with differentiated_twice():
                minimised = settled(loss, model)
            yield minimised, logits
            means |= {"gradient_distance": apart.item(), "discriminator_loss": judged.item()}
            if self.teacher is not None:
                means["teacher_loss"] = taught.losses.mean().item()
            if step % self.duel.every == 0:
                self.duel.step(seen.detach(), shown, done=step / self.steps)
                self.state.update(self.duel.pack())
        self.ledger.add(means, samples=len(labels))

    def epoch_over(self, model: nn.Module) -> dict[str, float]:
        """What `train` takes as `watch`: it ends the epoch of the ledger and measures nothing."""
        self.ledger.close()
        return {}

    def _next(self) -> int:
        """The number of this step, from 0."""
        if not self.taken_up:
            self.duel.unpack(self.state)
            self.taken_up = True
        step = int(self.state.get("step", torch.tensor(0)))
        self.state["step"] = torch.tensor(step + 1)
        return step

    def _moved(self, inputs: Tensor, noise: torch.Generator) -> Tensor:
        """The images, with noise if any is asked for."""
        if not self.terms.input_noise:
            return inputs.detach()
        drawn = 2 * torch.rand(inputs.shape, generator=noise) - 1
        return boxed(inputs + self.terms.input_noise * drawn.to(inputs), self.bounds)

    def _lesson(self, images: Tensor, labels: Tensor, noise: torch.Generator) -> Lesson:
        """What the teacher gives for a batch; zeros without one."""
        if self.teacher is None:
            return Lesson(torch.zeros_like(images), torch.zeros(len(images)))
        # its random adapter must not draw from the state that the student's layers draw from
        with seeded(noise, device=images.device):
            return lesson(self.teacher, images, labels, of=self.terms.gradient_of, rows=self.rows)


def half_squares(model: nn.Module) -> Tensor:
    """Half the squared l2 norm of all kernels of convolutions and linear layers that are trained."""
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    squares = [layer.weight.square().sum() for layer in layers if layer.weight.requires_grad]
    return 0.5 * torch.stack(squares).sum()
