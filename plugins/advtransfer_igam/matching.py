"""Training objective of the student (Chan et al., 2020, equation 14).

Cross-entropy, the distance of the student's input gradients from the teacher's, and the
discriminator's loss.
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
from advtransfer.toolkit.precomputed_gradients import precomputed_gradient_loss
from advtransfer.toolkit.rng import fork_global_rng
from advtransfer.types import Shape
from advtransfer_igam.discriminator import (
    Discriminator,
    DiscriminatorTraining,
    half_squared_norm,
)
from advtransfer_igam.input_gradients import gradient_distance, input_gradients, l2_standardized
from advtransfer_igam.options import LossTerms, MatchTarget
from advtransfer_igam.teacher import Teacher
from advtransfer_igam.teacher_gradients import TeacherBatch, split_taught_inputs, teacher_batch


@dataclass(frozen=True, slots=True)
class EpochMeans:
    """Means over the samples of each epoch, by column.

    A column without any value in an epoch is absent from its row.

    Args:
        columns: Names of the columns.
        state: Storage of the sums. It may be restored from a saved training.
    """

    columns: Sequence[str]
    state: dict[str, Tensor]

    def add_batch(self, means: Mapping[str, float], *, samples: int) -> None:
        """Add the means over a batch of this many samples."""
        values = [means.get(name, 0.0) for name in self.columns]
        is_present = [float(name in means) for name in self.columns]
        batch = torch.tensor([values, is_present], dtype=torch.float64)
        self.state["sums"] = self._running_sums() + samples * batch

    def end_epoch(self) -> None:
        """Close the epoch's sums and start the next epoch's."""
        sums = self._running_sums().unsqueeze(0)
        if "epochs" in self.state:
            sums = torch.cat([self.state["epochs"], sums])
        self.state["epochs"] = sums
        self.state["sums"] = torch.zeros_like(self._running_sums())

    def rows_by_epoch(self) -> list[dict[str, float]]:
        """Return the means of each epoch that has ended."""
        no_epochs = torch.zeros(0, 2, len(self.columns))
        rows = []
        for totals, counts in self.state.get("epochs", no_epochs).tolist():
            columns = zip(self.columns, totals, counts, strict=True)
            rows.append({name: total / count for name, total, count in columns if count})
        return rows

    def _running_sums(self) -> Tensor:
        """Return the sums of values times samples, and of samples, ``(2, columns)``."""
        return self.state.get("sums", torch.zeros(2, len(self.columns), dtype=torch.float64))


LOSS_COLUMNS = ("student_loss", "teacher_loss", "gradient_distance", "discriminator_loss")
FULL_WINDOW = (slice(None), slice(None))

Window: TypeAlias = tuple[slice, slice]


@runtime_checkable
class WindowedAdapter(Protocol):
    """A module that passes on only a window of the target's images."""

    @property
    def window(self) -> Window | None:
        """Rows and columns that it passes on; None where it keeps or mixes every pixel."""


def adapter_window(adapter: nn.Module | None) -> Window:
    """Return the rows and columns of the target's images that the discriminator compares.

    They are the window of an adapter that crops, and the whole image otherwise.
    """
    # The teacher's gradient is zero outside a crop, which would give it away at once.
    window = adapter.window if isinstance(adapter, WindowedAdapter) else None
    return window or FULL_WINDOW


@dataclass(slots=True)
class GradientMatching:
    """Training objective: steps of the student, and every few steps one of the discriminator.

    Both terms are computed and weighted even where their weight is 0, except before the warm-up is
    over. With both weights 0 the student's training is the same as without the terms, to the bit.

    Args:
        terms: The terms and their weights.
        discriminator_training: The discriminator and its optimizer.
        teacher: The teacher whose gradients are matched, tuned and in teaching mode; None for a
            control.
        shape: ``(C, H, W)`` of an image.
        fixed_batch_size: Size that `teacher_batch` fills smaller batches up to: the batch size for
            a deterministic teacher, None for another.
        window: Rows and columns that the discriminator compares.
        steps: Number of steps of the whole training.
        bounds: Smallest and largest value of an input.
        match: ``image`` for the control that has images in place of a teacher's gradients.
        state: State that the training saves and restores.
        restored: The discriminator has taken up the saved state.
    """

    terms: LossTerms
    discriminator_training: DiscriminatorTraining
    teacher: Teacher | None
    shape: Shape
    fixed_batch_size: int | None
    window: Window
    steps: int
    bounds: Bounds
    match: MatchTarget = "teacher"
    state: dict[str, Tensor] = field(default_factory=dict)
    restored: bool = False

    @property
    def epoch_means(self) -> EpochMeans:
        """The losses by epoch."""
        return EpochMeans(LOSS_COLUMNS, self.state)

    def __call__(
        self, model: nn.Module, inputs: Tensor, labels: Tensor, noise: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one loss and its logits; after the step on it, train the discriminator if due.

        Args:
            model: The student, in training mode.
            inputs: ``(B, C, H, W)``, or rows of `TaughtSamples`.
            labels: ``(B,)``.
            noise: Random numbers of this step.
        """
        step = self._next_step()
        images, taught = split_taught_inputs(inputs, self.shape)
        # The released code has this warm-up; the paper does not mention it.
        is_matched = step >= self.terms.warm_up * self.steps
        images = self._noisy_images(images, noise).requires_grad_(is_matched)
        # Matching differentiates input gradients once more, with respect to the weights.
        with allow_double_backward() if is_matched else nullcontext():
            logits: Tensor = model(images)
        cross_entropy = functional.cross_entropy(logits, labels)
        loss = cross_entropy
        if self.terms.kernel_decay:
            loss = cross_entropy + self.terms.kernel_decay * half_squared_norm(model)
        means = {"student_loss": cross_entropy.item()}
        if not is_matched:
            yield loss, logits
        else:
            gradients = input_gradients(
                logits, labels, images, of=self.terms.gradient_of, differentiable=True
            )
            taught = taught or self._teacher_batch(images, labels, noise)
            matched_loss, matching_means = self._matched_loss(loss, gradients, taught)
            with allow_double_backward():
                minimised = precomputed_gradient_loss(matched_loss, model)
            yield minimised, logits
            means |= matching_means
            # After the student's step on the same batch, as in the released code.
            if step % self.discriminator_training.every == 0:
                self._train_discriminator(gradients.detach(), taught, step)
        self.epoch_means.add_batch(means, samples=len(labels))

    def _matched_loss(
        self, loss: Tensor, gradients: Tensor, taught: TeacherBatch
    ) -> tuple[Tensor, dict[str, float]]:
        """Return the student's whole loss, and the means of its terms."""
        # The distance compares the whole raw gradients, as in the released code.
        distance = gradient_distance(gradients, taught.gradients, reduction=self.terms.reduction)
        rows, columns = self.window
        discriminator_loss = self.discriminator_training.loss_for_student(
            gradients[..., rows, columns], taught.gradients[..., rows, columns]
        )
        # Chan et al. (2020), equation 14. The discriminator's cross-entropy is -L_adv / 2 of
        # equation 10, hence the minus; the factor is in lambda_adv, as in the released code.
        matched_loss = (
            loss + self.terms.lambda_diff * distance - self.terms.lambda_adv * discriminator_loss
        )
        means = {
            "gradient_distance": distance.item(),
            "discriminator_loss": discriminator_loss.item(),
        }
        if self.teacher is not None:
            means["teacher_loss"] = taught.losses.mean().item()
        return matched_loss, means

    def _train_discriminator(self, gradients: Tensor, taught: TeacherBatch, step: int) -> None:
        """Take the discriminator's step on the gradients of the student's step before it."""
        rows, columns = self.window
        self.discriminator_training.train_step(
            gradients[..., rows, columns],
            taught.gradients[..., rows, columns],
            done=step / self.steps,
        )
        self.state.update(self.discriminator_training.pack_state())

    def end_epoch(self, model: nn.Module) -> dict[str, float]:
        """Close the epoch's means, as the `watch` of `train`; return no measurements."""
        self.epoch_means.end_epoch()
        return {}

    def trained_discriminator(self) -> Discriminator:
        """Return the discriminator as the training left it."""
        self._restore_discriminator()
        return self.discriminator_training.discriminator

    def _restore_discriminator(self) -> None:
        # `train` restores a saved state after this objective has been built.
        if not self.restored:
            self.discriminator_training.restore_state(self.state)
            self.restored = True

    def _next_step(self) -> int:
        """Return the number of this step, from 0, and advance it."""
        self._restore_discriminator()
        step = int(self.state.get("step", torch.tensor(0)))
        self.state["step"] = torch.tensor(step + 1)
        return step

    def _noisy_images(self, inputs: Tensor, noise: torch.Generator) -> Tensor:
        """Return the images, with noise if the options ask for it."""
        if not self.terms.input_noise:
            return inputs.detach()
        # The released code has this noise for CIFAR-10 to CIFAR-100; it is not in the paper.
        uniform = 2 * torch.rand(inputs.shape, generator=noise) - 1
        return clip_to_bounds(inputs + self.terms.input_noise * uniform.to(inputs), self.bounds)

    def _teacher_batch(
        self, images: Tensor, labels: Tensor, noise: torch.Generator
    ) -> TeacherBatch:
        """Return the teacher's gradients and losses for a batch, or what a control puts there."""
        if self.teacher is None:
            pattern = torch.zeros_like(images)
            if self.match == "image":
                pattern = l2_standardized(images.detach())
            return TeacherBatch(pattern, torch.zeros(len(images)))
        # A random adapter must not draw from the state that the student's layers draw from.
        with fork_global_rng(noise, device=images.device):
            return teacher_batch(
                self.teacher, images, labels, of=self.terms.gradient_of, rows=self.fixed_batch_size
            )
