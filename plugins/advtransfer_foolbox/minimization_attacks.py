"""Foolbox's attacks that search for the nearest example, their starts, and their runner."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
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

from advtransfer.toolkit.kernel_batch import KERNEL_BATCH
from advtransfer.toolkit.option_checks import Norm
from advtransfer.toolkit.rng import fork_global_rng
from advtransfer.types import Context
from advtransfer_foolbox import attack_settings
from advtransfer_foolbox.protocols import (
    AttackBatch,
    AttackRun,
    BatchResult,
    CountingModel,
    OnProgress,
    attack_in_chunks,
    misclassified,
)

NOISE_GRIDS = (None, 1, 2, 4, 8)
"""Cells per side of the noise of successive draws; None for noise per pixel.

Coarse noise is needed because a network often assigns all fine noise to one class.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlendedStartingPoints:
    """Foolbox's linear search for misclassified blends of an image with uniform noise.

    A sample's noise is drawn from (seed, sample key, restart).

    Args:
        attack: The Foolbox attack; it holds the number of draws (`directions`) and of blends
            (`steps`).
        seed: Seed of the noise.
    """

    attack: LinearSearchBlendedUniformNoiseAttack
    seed: int

    def find_starts(
        self,
        model: Model,
        images: Tensor,
        labels: Tensor,
        *,
        keys: Sequence[int],
        restart: int,
        context: Context,
    ) -> tuple[Tensor, Tensor]:
        """Return misclassified points ``(B, C, H, W)``, and which images have one, ``(B,)`` bool."""
        stream = f"first example {self.seed}"
        shape = tuple(images.shape[1:])
        noise = torch.zeros_like(images)
        has_start = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        for draw in range(self.attack.directions):
            grid = NOISE_GRIDS[draw % len(NOISE_GRIDS)]
            cells = shape if grid is None else (shape[0], grid, grid)
            noise_cells = context.uniform(stream, keys, cells, restart=restart, step=draw)
            candidates = functional.interpolate(noise_cells, size=shape[1:], mode="nearest")
            candidates = candidates.to(images)
            is_new = misclassified(model(candidates), labels) & ~has_start
            noise[is_new] = candidates[is_new]
            has_start |= is_new
            if has_start.all():
                break
        return self._first_blends(model, images, noise, labels), has_start

    def _first_blends(self, model: Model, images: Tensor, noise: Tensor, labels: Tensor) -> Tensor:
        """Return the first misclassified blend of each image on the line to its noise."""
        starts = noise.clone()
        is_open = torch.ones(len(images), dtype=torch.bool, device=images.device)
        for step in range(1, self.attack.steps):
            noise_share = step / self.attack.steps
            blends = (1 - noise_share) * images + noise_share * noise
            is_first = misclassified(model(blends), labels) & is_open
            starts[is_first] = blends[is_first]
            is_open &= ~is_first
            if not is_open.any():
                break
        return starts


@dataclass(frozen=True, slots=True, kw_only=True)
class NearestExampleAttack:
    """A minimization attack of Foolbox, run in batches of exactly `KERNEL_BATCH` rows.

    Args:
        attack: The Foolbox attack; the rows of a batch must not depend on each other.
        seed: Seed of all random draws. The attack's own draws from torch's global state come from
            one stream per restart, the same for every sample, because Foolbox shares random
            directions within a batch.
        starting_points: Search for the misclassified points where the attack starts; None for an
            attack that starts at the image.
        restarts: Number of runs with different draws; each attacks the samples that are not broken
            at the smallest radius.
        finds_nearest: True: one run serves all radii.
    """

    attack: MinimizationAttack
    seed: int
    starting_points: BlendedStartingPoints | None = None
    restarts: int = 1
    finds_nearest: bool = True

    def count_attempts(self, classes: int) -> int:
        """Return the number of restarts."""
        return self.restarts

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
            return self._attack_rows(model, batch, rows, run.attempt, context)

        return attack_in_chunks(batch, attack_rows, on_progress)

    def _attack_rows(
        self, model: PyTorchModel, batch: AttackBatch, rows: Tensor, restart: int, context: Context
    ) -> BatchResult:
        images = batch.inputs[rows]
        labels = batch.labels[rows]
        keys = [batch.keys[row] for row in rows.tolist()]
        counting = CountingModel(model, rows=len(rows), device=images.device)
        global_draws = context.generator("attack draws", self.seed, restart)
        # Foolbox draws from torch's global state, which must be neither an input nor an effect.
        with fork_global_rng(global_draws, device=images.device):
            if self.starting_points is None:
                points = self.attack.run(counting, images, Misclassification(labels))
                # The attack may end at a point that is not adversarial: `RadiusSearch` judges it.
                is_adversarial = torch.zeros_like(counting.finite_gradients)
                return counting.batch_result(points, is_adversarial=is_adversarial)
            starts, has_start = self.starting_points.find_starts(
                counting, images, labels, keys=keys, restart=restart, context=context
            )
            return self._walk_from_starts(counting, images, labels, starts, has_start)

    def _walk_from_starts(
        self,
        counting: CountingModel,
        images: Tensor,
        labels: Tensor,
        starts: Tensor,
        has_start: Tensor,
    ) -> BatchResult:
        """Run the attack from the starting points; a sample without one is not completed."""
        points = images.clone()
        if has_start.any():
            # Foolbox refuses a start that is not adversarial, and the kernels need all rows: a row
            # without a start computes the walk of the first row that has one.
            own_rows = torch.arange(len(has_start), device=has_start.device)
            rows = torch.where(has_start, own_rows, has_start.nonzero()[0])
            criterion = Misclassification(labels[rows])
            ends: Tensor = self.attack.run(
                counting, images[rows], criterion, starting_points=starts[rows]
            )
            row_mask = has_start.view(-1, *[1] * (images.ndim - 1))
            points = torch.where(row_mask, ends, points)
        counting.finite_gradients &= has_start
        return counting.batch_result(points, is_adversarial=has_start)


_DEEPFOOL: dict[Norm, type[DeepFoolAttack]] = {"linf": LinfDeepFoolAttack, "l2": L2DeepFoolAttack}
_BRENDEL_BETHGE: dict[Norm, type[BrendelBethgeAttack]] = {
    "linf": LinfinityBrendelBethgeAttack,
    "l2": L2BrendelBethgeAttack,
    "l1": L1BrendelBethgeAttack,
}


def deepfool_attack(norm: Norm, settings: attack_settings.DeepFool) -> MinimizationAttack:
    """Return DeepFool, which steps to the nearest linearised boundary of its candidate classes."""
    return _DEEPFOOL[norm](
        steps=settings.steps, candidates=settings.candidates, overshoot=settings.overshoot
    )


def carlini_wagner_attack(settings: attack_settings.CarliniWagner) -> MinimizationAttack:
    """Return the l_2 attack of Carlini and Wagner."""
    return L2CarliniWagnerAttack(
        binary_search_steps=settings.binary_search_steps,
        steps=settings.steps,
        stepsize=settings.step_size,
        confidence=settings.confidence,
        initial_const=settings.initial_const,
        # Foolbox aborts when the loss of the whole batch stalls: samples would depend on others.
        abort_early=False,
    )


def boundary_attack(settings: attack_settings.Boundary) -> MinimizationAttack:
    """Return the boundary attack."""
    return BoundaryAttack(
        steps=settings.steps,
        spherical_step=settings.spherical_step,
        source_step=settings.source_step,
    )


def brendel_bethge_attack(
    norm: Norm, settings: attack_settings.BrendelBethge
) -> MinimizationAttack:
    """Return the attack of Brendel and Bethge.

    Raises:
        ModuleNotFoundError: numba is not installed.
    """
    # Foolbox's trust region grows with the number of images in the batch: divided by it, `lr`
    # means the same as for one image alone.
    lr = settings.lr / KERNEL_BATCH
    with warnings.catch_warnings():
        # Foolbox announces the compilation by numba with a warning.
        warnings.filterwarnings(
            "ignore", message="At the first initialisation the optimizer needs to be compiled"
        )
        return _BRENDEL_BETHGE[norm](steps=settings.steps, lr=lr)
