"""Gradient passes of an IGAM fit: forward and backward passes of one image through one network."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PassCount:
    """What the number of passes follows from.

    Args:
        images: Training images.
        epochs: Epochs of the student.
        batch_size: Images per step.
        warm_up: Share of the training before the terms begin.
        every: Steps of the student per step of the discriminator.
        teacher_epochs: Epochs of the teacher's new logit layer; 0 without a teacher.
        has_teacher: Whether a teacher gives the gradients.
        is_taught_once: Whether they are computed once for all epochs.
    """

    images: int
    epochs: int
    batch_size: int
    warm_up: float
    every: int
    teacher_epochs: int
    has_teacher: bool
    is_taught_once: bool

    def total(self) -> int:
        """Return the passes of teacher, student and discriminator together.

        A matched image goes through the student twice (input gradient, and the loss that holds it), once through the
        teacher, and its gradient and the teacher's through the discriminator: 2 passes for the student's loss, and 2
        more in the discriminator's own steps. Frozen layers count as others do.
        """
        passes = self.teacher_epochs * self.images
        if self.has_teacher and self.is_taught_once:
            passes += self.images
        sizes = self._batch_sizes()
        first_matched = self.warm_up * self.epochs * len(sizes)
        for step, size in enumerate(sizes * self.epochs):
            if step < first_matched:
                passes += size
                continue
            passes += 4 * size
            if self.has_teacher and not self.is_taught_once:
                passes += size
            if step % self.every == 0:
                passes += 2 * size
        return passes

    def _batch_sizes(self) -> list[int]:
        whole, rest = divmod(self.images, self.batch_size)
        return [self.batch_size] * whole + [rest] * bool(rest)
