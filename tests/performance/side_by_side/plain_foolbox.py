"""Foolbox's own PGD as its guide shows it: the baseline, at the best of three batch sizes."""

from __future__ import annotations

import torch
from foolbox.attacks import LinfPGD
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor, nn

BATCHES = (64, 256, 1024)
"""The sizes of which the best is the baseline."""


def linf_pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    eps: float,
    steps: int,
    step_size: float,
    batch: int,
    random_start: bool = True,
) -> Tensor:
    """Return True for each image whose last iterate is misclassified, ``(N,)``.

    Args:
        model: A network in evaluation mode on the CPU.
        images: Images ``(N, C, H, W)`` in [0, 1].
        labels: Classes ``(N,)``.
        eps: Radius of the l_inf ball in [0, 1] pixel space.
        steps: Number of gradient steps.
        step_size: Length of one step in pixel space.
        batch: Images that are attacked at once.
        random_start: Start at a random point of the ball, drawn by torch's global generator,
            instead of at the image.
    """
    foolbox = PyTorchModel(model, bounds=(0, 1), device="cpu")
    attack = LinfPGD(abs_stepsize=step_size, steps=steps, random_start=random_start)
    parts = zip(torch.split(images, batch), torch.split(labels, batch), strict=True)
    return torch.cat([attack(foolbox, *part, epsilons=eps)[2] for part in parts])
