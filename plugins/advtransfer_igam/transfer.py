"""IGAM as a transfer, which tunes the teacher and then trains the student."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.adversary import Adversary
from advtransfer.toolkit.augmentation import make_augmentation
from advtransfer.toolkit.network import require_source
from advtransfer.toolkit.training import train as minimise
from advtransfer.toolkit.training_config import Augment, OptimizerConfig, Schedule
from advtransfer.types import Context, DataCard, Fitted, Network, Samples, Shape, Source
from advtransfer_igam.discriminator import DiscriminatorTraining
from advtransfer_igam.gradient_passes import PassCount
from advtransfer_igam.held_out import held_out_facts
from advtransfer_igam.matching import GradientMatching, Window, adapter_window
from advtransfer_igam.options import DiscriminatorConfig, LossTerms, MatchTarget, TeacherConfig
from advtransfer_igam.student import build_student, initialize_student
from advtransfer_igam.teacher import Teacher, teacher_accuracies, tune_teacher
from advtransfer_igam.teacher_gradients import MAX_GRADIENT_BYTES, TaughtSamples, gradient_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class IgamTransfer:
    """Transfer from source to student through the input gradients (Chan et al., 2020).

    The fields are the options of the factory `igam`.
    """

    student: Source | None
    terms: LossTerms
    match: MatchTarget
    epochs: int
    batch_size: int
    optimiser: OptimizerConfig
    schedule: Schedule
    augment: Augment
    standardise: Literal["none", "l2"]
    teacher_config: TeacherConfig
    discriminator_config: DiscriminatorConfig
    attack: Adversary | None
    compares_gradients: bool
    cached: bool
    counts_passes: bool = False

    def model(
        self, *, source: Network | None, adapter: nn.Module | None, target: DataCard
    ) -> nn.Module:
        """Return the untrained student; `fit` gives it its initial weights.

        Raises:
            Inapplicable: The student does not fit the target, or the target's inputs are not
                images.
        """
        if len(target.shape) != 3:
            raise Inapplicable(
                f"igam compares gradients of images (C, H, W); the target gives inputs {target.shape}"
            )
        return build_student(
            self.student,
            teacher=require_source(source),
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
            Inapplicable: Gradients are to be compared on held-out images, and there are none.
        """
        if self.compares_gradients and validation is None:
            raise Inapplicable(
                "found no validation part; compare_gradients measures on it; "
                "give the target a `validation` share"
            )
        teacher, teacher_curves, facts = self._tuned_teacher(
            require_source(source), adapter, train, validation, context
        )
        initialize_student(model, self.student, context=context)
        matching = self._build_objective(teacher, adapter_window(adapter), train, context)
        samples = self._training_samples(matching, train)
        curves = minimise(
            model,
            samples,
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
        if self.counts_passes:
            is_taught_once = isinstance(samples, TaughtSamples)
            facts["gradient_passes"] = float(
                self._pass_count(teacher, len(train), is_taught_once=is_taught_once).total()
            )
        losses_by_epoch = matching.epoch_means.rows_by_epoch()
        student_curves = [row | losses for row, losses in zip(curves, losses_by_epoch, strict=True)]
        if self.compares_gradients and teacher is not None and validation is not None:
            facts |= held_out_facts(
                model,
                teacher,
                matching.trained_discriminator(),
                validation,
                of=self.terms.gradient_of,
                window=matching.window,
                batch_size=self.batch_size,
                context=context,
            )
        return Fitted(curves=[*teacher_curves, *student_curves], facts=facts)

    def _pass_count(
        self, teacher: Teacher | None, images: int, *, is_taught_once: bool
    ) -> PassCount:
        return PassCount(
            images=images,
            epochs=self.epochs,
            batch_size=self.batch_size,
            warm_up=self.terms.warm_up,
            every=self.discriminator_config.every,
            teacher_epochs=self.teacher_config.epochs if teacher is not None else 0,
            has_teacher=teacher is not None,
            is_taught_once=is_taught_once,
        )

    def _tuned_teacher(
        self,
        source: Network,
        adapter: nn.Module | None,
        train: Samples,
        validation: Samples | None,
        context: Context,
    ) -> tuple[Teacher | None, list[dict[str, float]], dict[str, float]]:
        """Return the tuned teacher in teaching mode, its curves and facts; nothing for a control."""
        if self.match != "teacher":
            return None, [], {}
        teacher = Teacher(
            source,
            adapter,
            train.card,
            generator=context.generator("teacher"),
            batch_norm=self.teacher_config.batch_norm,
        ).to(context.device)
        curves = tune_teacher(
            teacher,
            self.teacher_config,
            train=train,
            validation=validation,
            augment=self.augment,
            context=context,
        )
        samples = validation or train
        facts = teacher_accuracies(teacher, samples, attack=self.attack, context=context)
        teacher.enter_teaching_mode()
        return teacher, [_teacher_row(row) for row in curves], facts

    def _build_objective(
        self, teacher: Teacher | None, window: Window, train: Samples, context: Context
    ) -> GradientMatching:
        shape = train.card.shape
        discriminator_training = DiscriminatorTraining.from_config(
            self.discriminator_config,
            _window_shape(shape, window),
            optimiser=self.optimiser,
            schedule=self.schedule,
            context=context,
        )
        is_deterministic = teacher is not None and teacher.is_deterministic(shape)
        return GradientMatching(
            terms=self.terms,
            discriminator_training=discriminator_training,
            match=self.match,
            teacher=teacher,
            shape=shape,
            fixed_batch_size=self.batch_size if is_deterministic else None,
            window=window,
            steps=self.epochs * math.ceil(len(train) / self.batch_size),
            bounds=train.card.bounds,
        )

    def _training_samples(self, matching: GradientMatching, train: Samples) -> Samples:
        """Return the training images, with the teacher's gradients where these never change."""
        # Changed images have other gradients in every epoch.
        changes_images = self.augment != "none" or self.terms.input_noise
        if not self.cached or changes_images:
            return train
        if matching.teacher is None or matching.fixed_batch_size is None:
            return train
        # The rows of all images are kept in memory.
        if gradient_bytes(train) > MAX_GRADIENT_BYTES:
            return train
        return TaughtSamples(
            train, matching.teacher, of=self.terms.gradient_of, rows=matching.fixed_batch_size
        )


def _teacher_row(row: Mapping[str, float]) -> dict[str, float]:
    """Return a row of the teacher's curves, under names that differ from the student's."""
    return {f"teacher_{name}": value for name, value in row.items()}


def _window_shape(shape: Shape, window: Window) -> Shape:
    """Return the shape of the window of an image."""
    rows, columns = window
    return tuple(torch.empty(shape, device="meta")[..., rows, columns].shape)
