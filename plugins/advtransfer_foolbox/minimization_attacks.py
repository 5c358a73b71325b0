"""Foolbox's attacks that look for the nearest example, their starting points, and how an evaluation runs them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from foolbox.attacks.base import MinimizationAttack
from foolbox.attacks.blended_noise import LinearSearchBlendedUniformNoiseAttack
from foolbox.attacks.boundary_attack import BoundaryAttack
from foolbox.attacks.brendel_bethge import (
    BrendelBethgeAttack,
    L1BrendelBethgeAttack,
    L2BrendelBethgeAttack,
    LinfinityBrendelBethgeAttack,
)
from foolbox.attacks.carlini_wagner import L2CarliniWagnerAttack
from foolbox.attacks.deepfool import DeepFoolAttack, L2DeepFoolAttack, LinfDeepFoolAttack
from foolbox.criteria import Misclassification
from foolbox.models.base import Model
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor
from torch.nn import functional

from advtransfer.toolkit.prediction import KERNEL_BATCH
from advtransfer.toolkit.rng import fork_global_rng
from advtransfer.types import Context
from advtransfer_foolbox import options
from advtransfer_foolbox.options import Norm
from advtransfer_foolbox.protocols import (
    AttackBatch,
    AttackRun,
    BatchResult,
    CountingModel,
    OnProgress,
    fill_kernel_batch,
)

NOISE_GRIDS = (None, 1, 2, 4, 8)
"""Noise by the pixel, then in ever smaller squares (so many to a side): a network often gives fine noise one class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlendedStartingPoints:
    """Foolbox's linear search along blends with uniform noise, each sample's drawn from (seed, sample key, restart).

    Args:
        attack: How often noise is drawn (`directions`), and how finely it is blended in (`steps`).
        seed: Which noise is drawn.
    """

    attack: LinearSearchBlendedUniformNoiseAttack
    seed: int

    def find_starts(
        self, model: Model, images: Tensor, labels: Tensor, *, generators: list[torch.Generator]
    ) -> tuple[Tensor, Tensor]:
        """A misclassified point for each image ``(B, C, H, W)``, and where there is one ``(B,)`` bool."""
        noise, found = (
            torch.zeros_like(images),
            torch.zeros(len(images), dtype=torch.bool, device=images.device),
        )
        for draw in range(self.attack.directions):
            drawn = torch.stack(
                [_noise_image(images.shape[1:], draw, one) for one in generators]
            ).to(images)
            new = _misclassified(model, drawn, labels) & ~found
            noise[new], found = drawn[new], found | new
            if found.all():
                break
        return self._first_blend(model, images, noise, labels), found

    def sample_generators(
        self, keys: list[int], *, restart: int, context: Context
    ) -> list[torch.Generator]:
        """One for each sample."""
        return [context.generator("first example", self.seed, key, restart) for key in keys]

    def _first_blend(self, model: Model, images: Tensor, noise: Tensor, labels: Tensor) -> Tensor:
        """The first misclassified blend on the way from the image to the noise."""
        kept, open_ = noise.clone(), torch.ones(len(images), dtype=torch.bool, device=images.device)
        for step in range(1, self.attack.steps):
            share = step / self.attack.steps
            blend = (1 - share) * images + share * noise
            new = _misclassified(model, blend, labels) & open_
            kept[new], open_ = blend[new], open_ & ~new
            if not open_.any():
                break
        return kept


def _noise_image(shape: torch.Size, draw: int, generator: torch.Generator) -> Tensor:
    grid = NOISE_GRIDS[draw % len(NOISE_GRIDS)]
    if grid is None:
        return torch.rand(shape, generator=generator)
    coarse = torch.rand((1, shape[0], grid, grid), generator=generator)
    return functional.interpolate(coarse, size=shape[1:], mode="nearest")[0]


def _misclassified(model: Model, points: Tensor, labels: Tensor) -> Tensor:
    logits: Tensor = model(points)
    return logits.isfinite().all(1) & (logits.argmax(1) != labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class NearestExampleAttack:
    """A minimisation attack of Foolbox, in batches of exactly `KERNEL_BATCH` rows.

    Args:
        attack: The Foolbox attack, one in which the rows of a batch do not depend on each other.
        seed: Which random draws are made. What the attack itself draws from torch's global state is one stream for
            each restart, the same for every sample (Foolbox shares its random directions within a batch).
        blends: Finds the misclassified points where the attack begins; None where it begins at the image.
        restarts: Runs with other draws, on what no run has broken at the smallest radius.
    """

    attack: MinimizationAttack
    seed: int
    starting_points: BlendedStartingPoints | None = None
    restarts: int = 1
    finds_nearest: bool = True
    warm_starts: bool = False

    def count_attempts(self, classes: int) -> int:
        """One for each restart."""
        return self.restarts

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
            part = self._run_chunk(model, block, fill_kernel_batch(rows), rung.attempt, context)
            parts.append(part.first_rows(len(rows)))
            tick(int(rows[-1]) + 1)
        return BatchResult.concatenate(parts)

    def _run_chunk(
        self, model: PyTorchModel, block: AttackBatch, rows: Tensor, restart: int, context: Context
    ) -> BatchResult:
        images, labels = block.inputs[rows], block.labels[rows]
        metered = CountingModel(model, rows=len(rows), device=images.device)
        draws = context.generator("attack draws", self.seed, restart)
        with fork_global_rng(draws, device=images.device):
            if self.starting_points is None:
                points = self.attack.run(metered, images, Misclassification(labels))
                # where it ends is for others to judge: it may end at the nearest point it could come to
                return metered.batch_result(
                    points, found=torch.zeros_like(metered.finite_gradients)
                )
            keys = [block.keys[row] for row in rows.tolist()]
            generators = self.starting_points.sample_generators(
                keys, restart=restart, context=context
            )
            begins, found = self.starting_points.find_starts(
                metered, images, labels, generators=generators
            )
            return self._run_from_starts(metered, images, labels, begins, found)

    def _run_from_starts(
        self, metered: CountingModel, images: Tensor, labels: Tensor, begins: Tensor, found: Tensor
    ) -> BatchResult:
        """Walk from the points that were found; a sample without one stays unfinished, its row lent to another."""
        points = images.clone()
        if found.any():
            lent = torch.where(
                found, torch.arange(len(found), device=found.device), found.nonzero()[0]
            )
            criterion = Misclassification(labels[lent])
            walked: Tensor = self.attack.run(
                metered, images[lent], criterion, starting_points=begins[lent]
            )
            points = torch.where(found.view(-1, *[1] * (images.ndim - 1)), walked, points)
        metered.finite_gradients &= found
        return metered.batch_result(points, found=found)


_DEEPFOOL: dict[Norm, type[DeepFoolAttack]] = {"linf": LinfDeepFoolAttack, "l2": L2DeepFoolAttack}
_BRENDEL_BETHGE: dict[Norm, type[BrendelBethgeAttack]] = {
    "linf": LinfinityBrendelBethgeAttack,
    "l2": L2BrendelBethgeAttack,
    "l1": L1BrendelBethgeAttack,
}


def deepfool_attack(norm: Norm, asked: options.DeepFool) -> MinimizationAttack:
    """DeepFool, towards the nearest of the candidates."""
    return _DEEPFOOL[norm](
        steps=asked.steps, candidates=asked.candidates, overshoot=asked.overshoot
    )


def carlini_wagner_attack(asked: options.CarliniWagner) -> MinimizationAttack:
    """Carlini and Wagner's l_2 attack.

    Foolbox can stop early when the loss of the whole batch stalls; a sample's outcome would then depend on the others.
    """
    return L2CarliniWagnerAttack(
        binary_search_steps=asked.binary_search_steps,
        steps=asked.steps,
        stepsize=asked.step_size,
        confidence=asked.confidence,
        initial_const=asked.initial_const,
        abort_early=False,
    )


def boundary_attack(asked: options.Boundary) -> MinimizationAttack:
    """The boundary attack."""
    return BoundaryAttack(
        steps=asked.steps, spherical_step=asked.spherical_step, source_step=asked.source_step
    )


def brendel_bethge_attack(norm: Norm, asked: options.BrendelBethge) -> MinimizationAttack:
    """Brendel and Bethge's attack.

    Foolbox's trust region grows with the number of images in the batch; `lr` is what one image alone would have.

    Raises:
        ModuleNotFoundError: numba is not installed.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="At the first initialisation the optimizer needs to be compiled"
        )
        return _BRENDEL_BETHGE[norm](steps=asked.steps, lr=asked.lr / KERNEL_BATCH)
