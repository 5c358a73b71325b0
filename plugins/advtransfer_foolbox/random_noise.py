"""Foolbox's repeated additive noise, drawn per sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from eagerpy.astensor import astensor
from eagerpy.tensor.tensor import Tensor as EagerTensor
from foolbox.attacks.additive_noise import BaseRepeatedAdditiveNoiseAttack
from foolbox.criteria import Misclassification
from foolbox.distances import Distance, l1, l2, linf
from foolbox.models.base import Model
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor

from advtransfer.toolkit.option_checks import Norm
from advtransfer.types import Context
from advtransfer_foolbox.norms import bring_inside
from advtransfer_foolbox.options import NoiseKind
from advtransfer_foolbox.protocols import (
    AttackBatch,
    AttackRun,
    BatchResult,
    CountingModel,
    OnProgress,
    attack_in_chunks,
)


class PerSampleNoise(BaseRepeatedAdditiveNoiseAttack):
    """Noise of a fixed size in any norm, drawn repeatedly until the sample is misclassified.

    Each row is drawn from its own generator. The l_inf noise of Foolbox 3.3.4 divides by the
    largest value instead of the largest magnitude, and so leaves the ball.
    """

    def __init__(self, *, norm: Norm, noise: NoiseKind, draws: int) -> None:
        super().__init__(repeats=draws, check_trivial=False)
        self.norm = norm
        self.noise = noise
        self._generators: Sequence[torch.Generator] = ()

    @property
    def distance(self) -> Distance:
        """The distance of the norm (Foolbox's hook)."""
        return {"linf": linf, "l2": l2, "l1": l1}[self.norm]

    def attack_batch(
        self,
        model: Model,
        inputs: Tensor,
        labels: Tensor,
        *,
        eps: float,
        generators: Sequence[torch.Generator],
    ) -> Tensor:
        """Return a point for each image ``(B, C, H, W)``: the image itself where no draw broke it.

        The noise of a row is drawn from the generator of that row.
        """
        self._generators = generators
        points: Tensor = self.run(model, inputs, Misclassification(labels), epsilon=eps)
        return bring_inside(points, inputs, norm=self.norm, eps=eps)

    def sample_noise(self, x: EagerTensor) -> EagerTensor:
        """Return noise of the shape of ``x`` (Foolbox's hook)."""
        # Foolbox's own noise is drawn from global state, and a row's noise depends on the batch.
        shape = x.shape[1:]
        images = [_noise_image(self.noise, shape, generator) for generator in self._generators]
        return astensor(torch.stack(images).to(x.raw))

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
        attack: The Foolbox attack.
        seed: Seed of the noise.
        finds_nearest: False, since the noise has the size of one radius.
    """

    attack: PerSampleNoise
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
        generators = [context.generator("noise", self.seed, key) for key in keys]
        counting = CountingModel(model, rows=len(rows), device=rows.device)
        points = self.attack.attack_batch(
            counting, images, batch.labels[rows], eps=eps, generators=generators
        )
        # Foolbox moves a point only to an adversarial one.
        moved = (points != images).flatten(1).any(1)
        return counting.batch_result(points, is_adversarial=moved)


def _noise_image(noise: NoiseKind, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Return the noise of one image.

    For salt and pepper, a random share of the pixels takes the lowest or the highest value.
    """
    if noise == "gaussian":
        return torch.randn(tuple(shape), generator=generator)
    uniform = 2 * torch.rand(tuple(shape), generator=generator) - 1
    if noise == "uniform":
        return uniform
    share = torch.rand((), generator=generator)
    return uniform.sign() * (uniform.abs() <= share)
