"""Training objective of the student.

Cross-entropy, and the distance of its input gradients to the teacher's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional

from advtransfer.toolkit.model_modes import allow_double_backward
from advtransfer.toolkit.pgd import Bounds, clip_to_bounds
from advtransfer.toolkit.rng import fork_global_rng
from advtransfer.types import Shape
from advtransfer_igam.discriminator import DiscriminatorTraining
from advtransfer_igam.input_gradients import gradient_distance, input_gradients
from advtransfer_igam.options import LossTerms
from advtransfer_igam.teacher import Teacher
from advtransfer_igam.teacher_gradients import TeacherBatch, split_taught_inputs, teacher_batch


@dataclass(frozen=True, slots=True)
class EpochMeans:
    """Sums over samples, by column; a column that an epoch has nothing in is absent from its row.

    Args:
        columns: Their names.
        state: Where the sums live; it may be written back from a saved training.
    """

    columns: Sequence[str]
    state: dict[str, Tensor]

    def add_batch(self, means: Mapping[str, float], *, samples: int) -> None:
        """Count the means over a batch of so many samples."""
        seen = torch.tensor([[name in means for name in self.columns]], dtype=torch.float64)
        values = torch.tensor(
            [[means.get(name, 0.0) for name in self.columns]], dtype=torch.float64
        )
        self.state["sums"] = self._running_sums() + samples * torch.cat([values, seen])

    def end_epoch(self) -> None:
        """End the epoch."""
        sums = self._running_sums().unsqueeze(0)
        self.state["epochs"] = (
            torch.cat([self.state["epochs"], sums]) if "epochs" in self.state else sums
        )
        self.state["sums"] = torch.zeros_like(self._running_sums())

    def rows_by_epoch(self) -> list[dict[str, float]]:
        """The means of each epoch that has ended."""
        return [
            {
                name: total / count
                for name, total, count in zip(self.columns, totals, counts, strict=True)
                if count
            }
            for totals, counts in self.state.get(
                "epochs", torch.zeros(0, 2, len(self.columns))
            ).tolist()
        ]

    def _running_sums(self) -> Tensor:
        """``(2, columns)``: sums of values times samples, and samples."""
        return self.state.get("sums", torch.zeros(2, len(self.columns), dtype=torch.float64))


def precomputed_gradient_loss(loss: Tensor, model: nn.Module) -> Tensor:
    """The same value; `backward` gives the weights of `model` that are trained the same gradients.

    Where a loss depends on gradients with respect to the inputs, its own `backward` would differentiate with respect to
    these inputs, too: twice through the first layer, for nothing.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    used = [
        (weight, gradient)
        for weight, gradient in zip(weights, found, strict=True)
        if gradient is not None
    ]
    known: Tensor = _PrecomputedGradients.apply(
        loss.detach(), [gradient for _, gradient in used], *(weight for weight, _ in used)
    )
    return known


class _SavedGradients(Protocol):
    """What torch carries from forward to backward."""

    gradients: list[Tensor]


class _PrecomputedGradients(torch.autograd.Function):
    """A loss as it is, with gradients that are known."""

    @staticmethod
    def forward(ctx: _SavedGradients, loss: Tensor, gradients: list[Tensor], *_: Tensor) -> Tensor:
        ctx.gradients = gradients
        return loss.clone()

    @staticmethod
    def backward(ctx: _SavedGradients, upstream: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(upstream * gradient for gradient in ctx.gradients)


LOSS_COLUMNS = ("student_loss", "teacher_loss", "gradient_distance", "discriminator_loss")
FULL_WINDOW = (slice(None), slice(None))

Window: TypeAlias = tuple[slice, slice]


@runtime_checkable
class WindowedAdapter(Protocol):
    """An adapter's module that leaves only a window of the target's images: the rows and columns that it keeps."""

    @property
    def window(self) -> Window | None:
        """None where it keeps every pixel, or mixes them."""


def adapter_window(adapter: nn.Module | None) -> Window:
    """The rows and columns of the target's images that the discriminator compares: all, but for a crop."""
    return (adapter.window if isinstance(adapter, WindowedAdapter) else None) or FULL_WINDOW


@dataclass(slots=True)
class GradientMatching:
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

    terms: LossTerms
    discriminator_training: DiscriminatorTraining
    teacher: Teacher | None
    shape: Shape
    fixed_batch_size: int | None
    window: Window
    steps: int
    bounds: Bounds
    state: dict[str, Tensor] = field(default_factory=dict)
    restored: bool = False

    @property
    def epoch_means(self) -> EpochMeans:
        """The losses by epoch."""
        return EpochMeans(LOSS_COLUMNS, self.state)

    def __call__(
        self, model: nn.Module, inputs: Tensor, labels: Tensor, noise: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """One loss a batch; after the step on it the discriminator steps, when it is its turn."""
        step = self._next_step()
        images, taught = split_taught_inputs(inputs, self.shape)
        matched = step >= self.terms.warm_up * self.steps
        images = self._noisy_images(images, noise).requires_grad_(matched)
        with allow_double_backward() if matched else nullcontext():
            logits: Tensor = model(images)
        entropy = functional.cross_entropy(logits, labels)
        loss = (
            entropy + self.terms.kernel_decay * half_squared_norm(model)
            if self.terms.kernel_decay
            else entropy
        )
        means = {"student_loss": entropy.item()}
        if not matched:
            yield loss, logits
        else:
            student = input_gradients(
                logits, labels, images, of=self.terms.gradient_of, differentiable=True
            )
            taught = taught or self._teacher_batch(images, labels, noise)
            apart = gradient_distance(student, taught.gradients, reduction=self.terms.reduction)
            rows, columns = self.window
            seen, shown = student[..., rows, columns], taught.gradients[..., rows, columns]
            judged = self.discriminator_training.loss_for_student(seen, shown)
            loss = loss + self.terms.lambda_diff * apart - self.terms.lambda_adv * judged
            with allow_double_backward():
                minimised = precomputed_gradient_loss(loss, model)
            yield minimised, logits
            means |= {"gradient_distance": apart.item(), "discriminator_loss": judged.item()}
            if self.teacher is not None:
                means["teacher_loss"] = taught.losses.mean().item()
            if step % self.discriminator_training.every == 0:
                self.discriminator_training.train_step(seen.detach(), shown, done=step / self.steps)
                self.state.update(self.discriminator_training.pack_state())
        self.epoch_means.add_batch(means, samples=len(labels))

    def end_epoch(self, model: nn.Module) -> dict[str, float]:
        """What `train` takes as `watch`: it ends the epoch of the ledger and measures nothing."""
        self.epoch_means.end_epoch()
        return {}

    def _next_step(self) -> int:
        """The number of this step, from 0."""
        if not self.restored:
            self.discriminator_training.restore_state(self.state)
            self.restored = True
        step = int(self.state.get("step", torch.tensor(0)))
        self.state["step"] = torch.tensor(step + 1)
        return step

    def _noisy_images(self, inputs: Tensor, noise: torch.Generator) -> Tensor:
        """The images, with noise if any is asked for."""
        if not self.terms.input_noise:
            return inputs.detach()
        drawn = 2 * torch.rand(inputs.shape, generator=noise) - 1
        return clip_to_bounds(inputs + self.terms.input_noise * drawn.to(inputs), self.bounds)

    def _teacher_batch(
        self, images: Tensor, labels: Tensor, noise: torch.Generator
    ) -> TeacherBatch:
        """What the teacher gives for a batch; zeros without one."""
        if self.teacher is None:
            return TeacherBatch(torch.zeros_like(images), torch.zeros(len(images)))
        # its random adapter must not draw from the state that the student's layers draw from
        with fork_global_rng(noise, device=images.device):
            return teacher_batch(
                self.teacher, images, labels, of=self.terms.gradient_of, rows=self.fixed_batch_size
            )


def half_squared_norm(model: nn.Module) -> Tensor:
    """Half the squared l2 norm of all kernels of convolutions and linear layers that are trained."""
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    squares = [layer.weight.square().sum() for layer in layers if layer.weight.requires_grad]
    return 0.5 * torch.stack(squares).sum()
