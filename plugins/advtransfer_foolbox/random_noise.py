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

from advtransfer.toolkit.prediction import KERNEL_BATCH
from advtransfer.types import Context
from advtransfer_foolbox.norms import bring_inside
from advtransfer_foolbox.options import NoiseKind, Norm
from advtransfer_foolbox.protocols import (
    AttackBatch,
    AttackRun,
    BatchResult,
    CountingModel,
    OnProgress,
    fill_kernel_batch,
)


class PerSampleNoise(BaseRepeatedAdditiveNoiseAttack):
    """Noise of a fixed size in any norm, drawn again until the sample is misclassified.

    Each row draws from a generator of its own. Foolbox 3.3.4's own l_inf noise divides by the largest value instead of
    the largest magnitude, and so leaves the ball.
    """

    def __init__(self, *, norm: Norm, noise: NoiseKind, draws: int) -> None:
        super().__init__(repeats=draws, check_trivial=False)
        self.norm, self.noise = norm, noise
        self._generators: Sequence[torch.Generator] = ()

    @property
    def distance(self) -> Distance:
        """Foolbox's distance of the norm."""
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
        """A point for each image ``(B, C, H, W)``, drawn from the generator of its row; the image where none broke."""
        self._generators = generators
        found: Tensor = self.run(model, inputs, Misclassification(labels), epsilon=eps)
        return bring_inside(found, inputs, norm=self.norm, eps=eps)

    def sample_noise(self, x: EagerTensor) -> EagerTensor:
        """Foolbox's hook; its own draws from global state and depends on the batch."""
        drawn = [_noise_image(self.noise, x.shape[1:], generator) for generator in self._generators]
        return astensor(torch.stack(drawn).to(x.raw))

    def get_epsilons(
        self, x: EagerTensor, p: EagerTensor, epsilon: float, min_: float, max_: float
    ) -> EagerTensor:
        """Foolbox's hook: what the noise is multiplied by to have the size epsilon."""
        order = {"linf": math.inf, "l2": 2.0, "l1": 1.0}[self.norm]
        sizes = torch.linalg.vector_norm(p.raw.flatten(1), ord=order, dim=1)
        factors: EagerTensor = astensor(
            (epsilon / sizes.clamp_min(1e-12)).reshape(-1, *[1] * (p.ndim - 1))
        )
        return factors


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseAttack:
    """Additive noise as an evaluation uses it."""

    attack: PerSampleNoise
    seed: int
    finds_nearest: bool = False
    warm_starts: bool = False

    def count_attempts(self, classes: int) -> int:
        """One: the draws are repeated inside."""
        return 1

    def run_attempt(
        self,
        model: PyTorchModel,
        block: AttackBatch,
        rung: AttackRun,
        *,
        context: Context,
        tick: OnProgress,
    ) -> BatchResult:
        """Attack every sample of the block once."""
        parts = []
        for rows in torch.split(
            torch.arange(len(block.labels), device=block.labels.device), KERNEL_BATCH
        ):
            chunk = fill_kernel_batch(rows)
            generators = [
                context.generator("noise", self.seed, block.keys[row]) for row in chunk.tolist()
            ]
            metered = CountingModel(model, rows=KERNEL_BATCH, device=rows.device)
            images, labels = block.inputs[chunk], block.labels[chunk]
            points = self.attack.attack_batch(
                metered, images, labels, eps=rung.eps, generators=generators
            )
            parts.append(
                metered.batch_result(points, found=(points != images).flatten(1).any(1)).first_rows(
                    len(rows)
                )
            )
            tick(int(rows[-1]) + 1)
        return BatchResult.concatenate(parts)


def _noise_image(noise: NoiseKind, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """One image of noise; for salt and pepper, a random share of the pixels goes fully up or down."""
    if noise == "gaussian":
        return torch.randn(tuple(shape), generator=generator)
    drawn = 2 * torch.rand(tuple(shape), generator=generator) - 1
    if noise == "uniform":
        return drawn
    share = torch.rand((), generator=generator)
    return drawn.sign() * (drawn.abs() <= share)
