"""Foolbox's repeated additive noise, drawn per sample."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from eagerpy.astensor import astensor
from eagerpy.tensor.tensor import Tensor as EagerTensor
from foolbox.attacks.additive_noise import BaseRepeatedAdditiveNoiseAttack
from foolbox.criteria import Misclassification
from foolbox.distances import Distance
from foolbox.models.base import Model
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor

from advtransfer.toolkit.option_checks import Norm
from advtransfer.types import Context
from advtransfer_foolbox.attack_settings import Noise, NoiseKind
from advtransfer_foolbox.norms import bring_inside
from advtransfer_foolbox.protocols import (
    AttackBatch,
    AttackRun,
    BatchResult,
    CountingModel,
    OnProgress,
    attack_in_chunks,
)
from advtransfer_foolbox.row_functions import DISTANCES
from advtransfer_foolbox.starts import normal_numbers

DrawUniform: TypeAlias = Callable[[int, int], Tensor]
"""Map the number of a draw and of values a row to uniform numbers in [0, 1), ``(B, values)``."""


class PerSampleNoise(BaseRepeatedAdditiveNoiseAttack):
    """Noise of a fixed size in any norm, drawn repeatedly until the sample is misclassified.

    The l_inf noise of Foolbox 3.3.4 divides by the largest value instead of the largest magnitude,
    and so leaves the ball.

    Args:
        settings: The kind of noise and the number of draws.
        norm: The norm of its size.
        draw_uniform: Draws the numbers of which the noise is made.
    """

    def __init__(self, settings: Noise, *, norm: Norm, draw_uniform: DrawUniform) -> None:
        super().__init__(repeats=settings.draws, check_trivial=False)
        self.settings = settings
        self.norm = norm
        self._draw_uniform = draw_uniform
        self._draws_done = 0

    @property
    def distance(self) -> Distance:
        """The distance of the norm (Foolbox's hook)."""
        return DISTANCES[self.norm]

    def attack_batch(self, model: Model, inputs: Tensor, labels: Tensor, *, eps: float) -> Tensor:
        """Return a point for each image ``(B, C, H, W)``: the image itself where no draw broke it."""
        points: Tensor = self.run(model, inputs, Misclassification(labels), epsilon=eps)
        return bring_inside(points, inputs, norm=self.norm, eps=eps)

    def sample_noise(self, x: EagerTensor) -> EagerTensor:
        """Return noise of the shape of ``x`` (Foolbox's hook)."""
        # Foolbox's own noise is drawn from global state, and a row's noise depends on the batch.
        size = math.prod(x.shape[1:])
        numbers = self._draw_uniform(self._draws_done, numbers_per_image(self.settings.noise, size))
        self._draws_done += 1
        noise = noise_images(self.settings.noise, numbers, size)
        return astensor(noise.reshape(x.shape).to(x.raw))

    def get_epsilons(
        self, x: EagerTensor, p: EagerTensor, epsilon: float, min_: float, max_: float
    ) -> EagerTensor:
        """Return the factors that scale the noise ``p`` to the size epsilon (Foolbox's hook)."""
        order = {"linf": math.inf, "l2": 2.0, "l1": 1.0}[self.norm]
        # By magnitude: Foolbox 3.3.4 divides l_inf noise by its largest value, which may be small.
        sizes = torch.linalg.vector_norm(p.raw.flatten(1), ord=order, dim=1)
        factors = (epsilon / sizes.clamp_min(1e-12)).reshape(-1, *[1] * (p.ndim - 1))
        eager_factors: EagerTensor = astensor(factors)
        return eager_factors


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseAttack:
    """Additive noise as an evaluation uses it.

    Args:
        settings: The kind of noise and the number of draws.
        norm: The norm of its size.
        seed: Seed of the noise.
        finds_nearest: False, since the noise has the size of one radius.
    """

    settings: Noise
    norm: Norm
    seed: int
    finds_nearest: bool = False

    def count_attempts(self, classes: int) -> int:
        """Return 1: the attack itself repeats the draws."""
        return 1

    def run_attempt(
        self,
        model: PyTorchModel,
        batch: AttackBatch,
        run: AttackRun,
        *,
        context: Context,
        on_progress: OnProgress,
    ) -> BatchResult:
        """Attack every sample of the batch once."""

        def attack_rows(rows: Tensor) -> BatchResult:
            return self._attack_rows(model, batch, rows, run.eps, context)

        return attack_in_chunks(batch, attack_rows, on_progress)

    def _attack_rows(
        self, model: PyTorchModel, batch: AttackBatch, rows: Tensor, eps: float, context: Context
    ) -> BatchResult:
        images = batch.inputs[rows]
        keys = [batch.keys[row] for row in rows.tolist()]

        def draw_uniform(draw: int, count: int) -> Tensor:
            return context.uniform(f"noise {self.seed}", keys, (count,), step=draw)

        attack = PerSampleNoise(self.settings, norm=self.norm, draw_uniform=draw_uniform)
        counting = CountingModel(model, rows=len(rows), device=rows.device)
        points = attack.attack_batch(counting, images, batch.labels[rows], eps=eps)
        # Foolbox moves a point only to an adversarial one.
        moved = (points != images).flatten(1).any(1)
        return counting.batch_result(points, is_adversarial=moved)


def numbers_per_image(noise: NoiseKind, size: int) -> int:
    """Return how many uniform numbers the noise of an image of `size` values is made of."""
    match noise:
        case "uniform":
            return size
        case "gaussian":
            return size + size % 2
        case "salt_and_pepper":
            return size + 1


def noise_images(noise: NoiseKind, numbers: Tensor, size: int) -> Tensor:
    """Return the noise of images, ``(B, size)``.

    For salt and pepper, a random share of the pixels moves up or down by the same amount.

    Args:
        noise: The kind of noise.
        numbers: Uniform numbers in [0, 1), ``(B, numbers_per_image)``.
        size: The number of values of an image.
    """
    if noise == "gaussian":
        return normal_numbers(numbers)[:, :size]
    uniform = 2 * numbers[:, :size] - 1
    if noise == "uniform":
        return uniform
    share = numbers[:, size:]
    return uniform.sign() * (uniform.abs() <= share)
