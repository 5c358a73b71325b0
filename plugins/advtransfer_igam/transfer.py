"""IGAM as a transfer: the teacher is tuned, then the student is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.adversary import Adversary
from advtransfer.toolkit.augment import augmentation
from advtransfer.toolkit.recipe import Augment, Optimiser, Schedule
from advtransfer.toolkit.training import train as minimise
from advtransfer.types import Context, DataCard, Fitted, Network, Samples, Shape, Source
from advtransfer_igam.duel import Duel
from advtransfer_igam.lessons import MOST_BYTES, Lessons, size_of
from advtransfer_igam.matching import Matching, Window, window_of
from advtransfer_igam.robustness import measured
from advtransfer_igam.settings import Judging, TeacherTuning, Terms
from advtransfer_igam.student import start, student_of
from advtransfer_igam.teacher import Teacher, tune


@dataclass(frozen=True, slots=True, kw_only=True)
class Igam:
    """A transfer: the source teaches a student through its input gradients (Chan et al., 2020)."""

    student: Source | None
    terms: Terms
    match: Literal["teacher", "zero"]
    epochs: int
    batch_size: int
    optimiser: Optimiser
    schedule: Schedule
    augment: Augment
    standardise: Literal["none", "l2"]
    tuning: TeacherTuning
    judging: Judging
    attack: Adversary | None
    cached: bool

    def model(self, *, source: Network | None, adapter: nn.Module | None, target: DataCard) -> nn.Module:
        """The untrained student; `fit` gives it the weights that it starts from.

        Raises:
            Inapplicable: The student does not fit the target, or the target's inputs are not images.
        """
        if len(target.shape) != 3:
            raise Inapplicable(f"igam compares gradients of images (C, H, W); the target gives inputs {target.shape}")
        return student_of(self.student, teacher=_source(source), target=target, standardise=self.standardise)

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
        teacher, taught, facts = self._teacher(_source(source), adapter, train, validation, context)
        start(model, self.student, context=context)
        matching = self._matching(teacher, window_of(adapter), train, context)
        curves = minimise(
            model,
            self._lessons(matching, train),
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimiser=self.optimiser,
            schedule=self.schedule,
            context=context,
            objective=matching,
            augment=augmentation(self.augment, shape=train.card.shape, context=context),
            validation=validation,
            watch=matching.epoch_over,
            save_every=max(1, self.epochs // 10),
        )
        rows = zip(curves, matching.ledger.rows(), strict=True)
        return Fitted(curves=[*taught, *(row | losses for row, losses in rows)], facts=facts)

    def _teacher(
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
        drawn, statistics = context.generator("teacher"), self.tuning.batch_norm
        teacher = Teacher(source, adapter, train.card, generator=drawn, batch_norm=statistics).to(context.device)
        curves = tune(teacher, self.tuning, train=train, validation=validation, augment=self.augment, context=context)
        facts = measured(teacher, validation or train, attack=self.attack, context=context)
        teacher.teaching()
        return teacher, [{f"teacher_{name}": value for name, value in row.items()} for row in curves], facts

    def _matching(self, teacher: Teacher | None, window: Window, train: Samples, context: Context) -> Matching:
        duel = Duel.begin(
            self.judging,
            _seen(train.card.shape, window),
            optimiser=self.optimiser,
            schedule=self.schedule,
            context=context,
        )
        shape, steps = train.card.shape, self.epochs * math.ceil(len(train) / self.batch_size)
        rows = self.batch_size if teacher is not None and teacher.steady(shape) else None
        return Matching(self.terms, duel, teacher, shape, rows, window, steps, train.card.bounds)

    def _lessons(self, matching: Matching, train: Samples) -> Samples:
        """The training images, with what the teacher gives for them where that stays the same from epoch to epoch."""
        changed = self.augment != "none" or self.terms.input_noise
        if matching.teacher is None or matching.rows is None or changed or not self.cached:
            return train
        if size_of(train) > MOST_BYTES:
            return train
        return Lessons(train, matching.teacher, of=self.terms.gradient_of, rows=matching.rows)


def _source(source: Network | None) -> Network:
    if source is None:
        raise ValueError("found no source; expected a network; declare needs=('source',) on the factory")
    return source


def _seen(shape: Shape, window: Window) -> Shape:
    """The shape of the window of an image."""
    rows, columns = window
    return tuple(torch.empty(shape, device="meta")[..., rows, columns].shape)
