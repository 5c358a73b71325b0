"""IGAM as a transfer: the teacher is tuned, then the student is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.adversary import Adversary
from advtransfer.toolkit.augmentation import make_augmentation
from advtransfer.toolkit.training import train as minimise
from advtransfer.toolkit.training_config import Augment, OptimizerConfig, Schedule
from advtransfer.types import Context, DataCard, Fitted, Network, Samples, Shape, Source
from advtransfer_igam.discriminator import DiscriminatorTraining
from advtransfer_igam.matching import GradientMatching, Window, adapter_window
from advtransfer_igam.options import DiscriminatorConfig, LossTerms, TeacherConfig
from advtransfer_igam.student import build_student, initialize_student
from advtransfer_igam.teacher import Teacher, teacher_accuracies, tune_teacher
from advtransfer_igam.teacher_gradients import MAX_GRADIENT_BYTES, TaughtSamples, gradient_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class IgamTransfer:
    """A transfer: the source teaches a student through its input gradients (Chan et al., 2020)."""

    student: Source | None
    terms: LossTerms
    match: Literal["teacher", "zero"]
    epochs: int
    batch_size: int
    optimiser: OptimizerConfig
    schedule: Schedule
    augment: Augment
    standardise: Literal["none", "l2"]
    teacher_config: TeacherConfig
    discriminator_config: DiscriminatorConfig
    attack: Adversary | None
    cached: bool

    def model(
        self, *, source: Network | None, adapter: nn.Module | None, target: DataCard
    ) -> nn.Module:
        """The untrained student; `fit` gives it the weights that it starts from.

        Raises:
            Inapplicable: The student does not fit the target, or the target's inputs are not images.
        """
        if len(target.shape) != 3:
            raise Inapplicable(
                f"igam compares gradients of images (C, H, W); the target gives inputs {target.shape}"
            )
        return build_student(
            self.student,
            teacher=_require_source(source),
            target=target,
            standardise=self.standardise,
        )

    def fit(
        self,
        model: nn.Module,
        *,
        source: Network | None,
        adapter: nn.Module | None,
        train: Samples,
        validation: Samples | None,
        context: Context,
    ) -> Fitted:
        """Tune the teacher, then train the student; the validation part is only measured.

        Raises:
            Diverged: A loss is not finite.
        """
        teacher, taught, facts = self._tuned_teacher(
            _require_source(source), adapter, train, validation, context
        )
        initialize_student(model, self.student, context=context)
        matching = self._build_objective(teacher, adapter_window(adapter), train, context)
        curves = minimise(
            model,
            self._training_samples(matching, train),
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimiser=self.optimiser,
            schedule=self.schedule,
            context=context,
            objective=matching,
            augment=make_augmentation(self.augment, shape=train.card.shape, context=context),
            validation=validation,
            watch=matching.end_epoch,
            save_every=max(1, self.epochs // 10),
        )
        rows = zip(curves, matching.epoch_means.rows_by_epoch(), strict=True)
        return Fitted(curves=[*taught, *(row | losses for row, losses in rows)], facts=facts)

    def _tuned_teacher(
        self,
        source: Network,
        adapter: nn.Module | None,
        train: Samples,
        validation: Samples | None,
        context: Context,
    ) -> tuple[Teacher | None, list[dict[str, float]], dict[str, float]]:
        """The tuned teacher in teaching mode, its curves and facts; none of it for zeros."""
        if self.match == "zero":
            return None, [], {}
        drawn, statistics = context.generator("teacher"), self.teacher_config.batch_norm
        teacher = Teacher(source, adapter, train.card, generator=drawn, batch_norm=statistics).to(
            context.device
        )
        curves = tune_teacher(
            teacher,
            self.teacher_config,
            train=train,
            validation=validation,
            augment=self.augment,
            context=context,
        )
        facts = teacher_accuracies(
            teacher, validation or train, attack=self.attack, context=context
        )
        teacher.enter_teaching_mode()
        return (
            teacher,
            [{f"teacher_{name}": value for name, value in row.items()} for row in curves],
            facts,
        )

    def _build_objective(
        self, teacher: Teacher | None, window: Window, train: Samples, context: Context
    ) -> GradientMatching:
        duel = DiscriminatorTraining.from_config(
            self.discriminator_config,
            _window_shape(train.card.shape, window),
            optimiser=self.optimiser,
            schedule=self.schedule,
            context=context,
        )
        shape, steps = train.card.shape, self.epochs * math.ceil(len(train) / self.batch_size)
        rows = self.batch_size if teacher is not None and teacher.is_deterministic(shape) else None
        return GradientMatching(
            self.terms, duel, teacher, shape, rows, window, steps, train.card.bounds
        )

    def _training_samples(self, matching: GradientMatching, train: Samples) -> Samples:
        """The training images, with what the teacher gives for them where that stays the same from epoch to epoch."""
        changed = self.augment != "none" or self.terms.input_noise
        if (
            matching.teacher is None
            or matching.fixed_batch_size is None
            or changed
            or not self.cached
        ):
            return train
        if gradient_bytes(train) > MAX_GRADIENT_BYTES:
            return train
        return TaughtSamples(
            train, matching.teacher, of=self.terms.gradient_of, rows=matching.fixed_batch_size
        )


def _require_source(source: Network | None) -> Network:
    if source is None:
        raise ValueError(
            "found no source; expected a network; declare needs=('source',) on the factory"
        )
    return source


def _window_shape(shape: Shape, window: Window) -> Shape:
    """The shape of the window of an image."""
    rows, columns = window
    return tuple(torch.empty(shape, device="meta")[..., rows, columns].shape)
