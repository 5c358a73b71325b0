"""How well a teacher does on images that a transfer may see; results come from evaluations."""

from __future__ import annotations

import torch

from advtransfer.toolkit.adversary import Adversary
from advtransfer.toolkit.attack import pgd
from advtransfer.toolkit.prediction import accuracy, chunks
from advtransfer.types import Context, Samples
from advtransfer_igam.teacher import Teacher


def measured(teacher: Teacher, samples: Samples, *, attack: Adversary | None, context: Context) -> dict[str, float]:
    """The facts of a teacher in eval mode: its accuracy and, where there is an attack, its accuracy under it."""
    clean = {"teacher_clean_accuracy": accuracy(teacher, samples, device=context.device)}
    return clean if attack is None else clean | {"teacher_robust_accuracy": _left(teacher, samples, attack, context)}


def _left(teacher: Teacher, samples: Samples, attack: Adversary, context: Context) -> float:
    """The share of samples that PGD leaves right, by its last iterate, or by its best."""
    starts, left = context.generator("teacher attack"), 0
    for _, inputs, labels in chunks(samples):
        truth = labels.to(context.device)
        moved = pgd(
            teacher,
            inputs.to(context.device),
            truth,
            norm=attack.norm,
            eps=attack.eps,
            steps=attack.steps,
            step_size=attack.step,
            random_start=attack.random_start,
            generator=starts,
            best=attack.best,
            bounds=samples.card.bounds,
        )
        with torch.no_grad():
            left += int((teacher(moved).argmax(1) == truth).sum())
    return left / len(samples)
