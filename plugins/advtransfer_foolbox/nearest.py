"""Attacks that look for the nearest example, as an evaluation uses them: run once, whatever the radii."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from foolbox.attacks.base import MinimizationAttack
from foolbox.criteria import Misclassification
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor

from advtransfer.toolkit.prediction import KERNEL_BATCH
from advtransfer.toolkit.streams import seeded
from advtransfer.types import Context
from advtransfer_foolbox.contract import Block, Reached, Rung, Tick, filled
from advtransfer_foolbox.first_examples import KeyedBlends
from advtransfer_foolbox.metered import Metered


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
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
    blends: KeyedBlends | None = None
    restarts: int = 1
    nearest: bool = True
    climbs: bool = False

    def attempts(self, classes: int) -> int:
        """One for each restart."""
        return self.restarts

    def strike(self, model: PyTorchModel, block: Block, rung: Rung, *, context: Context, tick: Tick) -> Reached:
        """Attack every sample of the block once."""
        parts = []
        for rows in torch.split(torch.arange(len(block.labels), device=block.labels.device), KERNEL_BATCH):
            part = self._chunk(model, block, filled(rows), rung.attempt, context)
            parts.append(part.first(len(rows)))
            tick(int(rows[-1]) + 1)
        return Reached.joined(parts)

    def _chunk(self, model: PyTorchModel, block: Block, rows: Tensor, restart: int, context: Context) -> Reached:
        images, labels = block.inputs[rows], block.labels[rows]
        metered = Metered(model, rows=len(rows), device=images.device)
        draws = context.generator("attack draws", self.seed, restart)
        with seeded(draws, device=images.device):
            if self.blends is None:
                points = self.attack.run(metered, images, Misclassification(labels))
                # where it ends is for others to judge: it may end at the nearest point it could come to
                return metered.reached(points, found=torch.zeros_like(metered.finite))
            keys = [block.keys[row] for row in rows.tolist()]
            generators = self.blends.generators(keys, restart=restart, context=context)
            begins, found = self.blends.find(metered, images, labels, generators=generators)
            return self._walked(metered, images, labels, begins, found)

    def _walked(self, metered: Metered, images: Tensor, labels: Tensor, begins: Tensor, found: Tensor) -> Reached:
        """Walk from the points that were found; a sample without one stays unfinished, its row lent to another."""
        points = images.clone()
        if found.any():
            lent = torch.where(found, torch.arange(len(found), device=found.device), found.nonzero()[0])
            criterion = Misclassification(labels[lent])
            walked: Tensor = self.attack.run(metered, images[lent], criterion, starting_points=begins[lent])
            points = torch.where(found.view(-1, *[1] * (images.ndim - 1)), walked, points)
        metered.finite &= found
        return metered.reached(points, found=found)
