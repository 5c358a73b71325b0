"""Where walks along the decision boundary begin: blends of an image with random noise that is misclassified."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from foolbox.attacks.blended_noise import LinearSearchBlendedUniformNoiseAttack
from foolbox.models.base import Model
from torch import Tensor
from torch.nn import functional

from advtransfer.types import Context

GRIDS = (None, 1, 2, 4, 8)
"""Noise by the pixel, then in ever smaller squares (so many to a side): a network often gives fine noise one class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedBlends:
    """Foolbox's linear search along blends with uniform noise, each sample's drawn from (seed, sample key, restart).

    Args:
        attack: How often noise is drawn (`directions`), and how finely it is blended in (`steps`).
        seed: Which noise is drawn.
    """

    attack: LinearSearchBlendedUniformNoiseAttack
    seed: int

    def find(
        self, model: Model, images: Tensor, labels: Tensor, *, generators: list[torch.Generator]
    ) -> tuple[Tensor, Tensor]:
        """A misclassified point for each image ``(B, C, H, W)``, and where there is one ``(B,)`` bool."""
        noise, found = torch.zeros_like(images), torch.zeros(len(images), dtype=torch.bool, device=images.device)
        for draw in range(self.attack.directions):
            drawn = torch.stack([_noise(images.shape[1:], draw, one) for one in generators]).to(images)
            new = _missed(model, drawn, labels) & ~found
            noise[new], found = drawn[new], found | new
            if found.all():
                break
        return self._blended(model, images, noise, labels), found

    def generators(self, keys: list[int], *, restart: int, context: Context) -> list[torch.Generator]:
        """One for each sample."""
        return [context.generator("first example", self.seed, key, restart) for key in keys]

    def _blended(self, model: Model, images: Tensor, noise: Tensor, labels: Tensor) -> Tensor:
        """The first misclassified blend on the way from the image to the noise."""
        kept, open_ = noise.clone(), torch.ones(len(images), dtype=torch.bool, device=images.device)
        for step in range(1, self.attack.steps):
            share = step / self.attack.steps
            blend = (1 - share) * images + share * noise
            new = _missed(model, blend, labels) & open_
            kept[new], open_ = blend[new], open_ & ~new
            if not open_.any():
                break
        return kept


def _noise(shape: torch.Size, draw: int, generator: torch.Generator) -> Tensor:
    grid = GRIDS[draw % len(GRIDS)]
    if grid is None:
        return torch.rand(shape, generator=generator)
    coarse = torch.rand((1, shape[0], grid, grid), generator=generator)
    return functional.interpolate(coarse, size=shape[1:], mode="nearest")[0]


def _missed(model: Model, points: Tensor, labels: Tensor) -> Tensor:
    logits: Tensor = model(points)
    return logits.isfinite().all(1) & (logits.argmax(1) != labels)
