"""One epoch of IGAM against one epoch of adversarial training: the same network, images, batches and thread.

    python tests/performance/igam_epoch.py

Two baselines: PGD-7 adversarial training as the papers' code runs it, which builds the gradients of the weights in
every step of the attack, too; and that of `toolkit.attack`, which does not. The teacher has the student's architecture.
Its gradients stay the same from epoch to epoch, so `igam/igam` computes them once; an epoch is charged its share of
that. Shown beside it, without a claim: IGAM that asks the teacher anew in every epoch, as it must with augmentation.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial

import torch
from side_by_side.claims import at_most, report
from side_by_side.timing import alternate
from torch import Tensor, nn
from torch.nn import functional

from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.adversarial_training import training_objective
from advtransfer.toolkit.adversary import Adversary
from advtransfer.toolkit.losses import MeanLoss, Objective
from advtransfer.toolkit.model_modes import in_eval_mode
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.toolkit.training import train
from advtransfer.toolkit.training_config import Schedule, Sgd
from advtransfer.types import DataCard, Samples
from advtransfer_igam.discriminator import DiscriminatorTraining
from advtransfer_igam.matching import FULL_WINDOW, GradientMatching
from advtransfer_igam.options import DiscriminatorConfig, LossTerms
from advtransfer_igam.teacher import Teacher
from advtransfer_igam.teacher_gradients import TaughtSamples
from advtransfer_vision.networks import SizedNetwork, build_network

SHAPE, CLASSES, IMAGES, BATCH, EPOCHS, REPEATS = (3, 32, 32), 10, 640, 32, 30, 4
NETWORK = SizedNetwork(name="small_cnn")
ATTACK = Adversary(norm="linf", eps=8 / 255, steps=7, step_size=2 / 255)
TERMS = LossTerms(
    lambda_adv=0.1,
    lambda_diff=1.0,
    gradient_of="loss",
    reduction="sample_mean",
    warm_up=0.0,
    kernel_decay=0.0,
    input_noise=0.0,
)
RECIPE = Sgd(lr=0.01)
MOST = {"as published": 0.45, "ours": 0.65}


def network(card: DataCard) -> BlockNetwork:
    """The network that is trained, and the teacher's; always the same weights."""
    return build_initialized(
        partial(build_network, NETWORK, data=card), stream_generator("network")
    )


def as_published(
    model: nn.Module, inputs: Tensor, labels: Tensor, noise: torch.Generator
) -> Tensor:
    """PGD whose every step differentiates with respect to the weights, too, as a plain `backward` does."""
    start = (2 * torch.rand(inputs.shape, generator=noise) - 1) * ATTACK.eps
    moved = (inputs + start).clamp(0, 1)
    with in_eval_mode(model):
        for _ in range(ATTACK.steps):
            moved.requires_grad_()
            functional.cross_entropy(model(moved), labels, reduction="sum").backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward
            assert moved.grad is not None
            stepped = moved.detach() + ATTACK.effective_step_size * moved.grad.sign()
            moved = (inputs + (stepped - inputs).clamp(-ATTACK.eps, ATTACK.eps)).clamp(0, 1)
    return moved


def epoch(samples: Samples, card: DataCard, minimised: Callable[[], Objective]) -> None:
    """Train for one epoch."""
    train(
        network(card),
        samples,
        epochs=1,
        batch_size=BATCH,
        optimiser=RECIPE,
        schedule=Schedule(),
        context=InMemoryContext(),
        objective=minimised(),
    )


def matching(teacher: Teacher, images: int) -> GradientMatching:
    """IGAM's objective at the start of a training."""
    duel = DiscriminatorTraining.from_config(
        DiscriminatorConfig(),
        SHAPE,
        optimiser=RECIPE,
        schedule=Schedule(),
        context=InMemoryContext(),
    )
    return GradientMatching(
        TERMS, duel, teacher, SHAPE, BATCH, FULL_WINDOW, EPOCHS * images // BATCH, (0.0, 1.0)
    )


def kinds_of_training() -> tuple[Mapping[str, Callable[[], object]], Callable[[], object]]:
    """Return an epoch of each kind, by its name, and what computes the teacher's gradients."""
    data = toy(shape=SHAPE, classes=CLASSES, train=IMAGES, test=CLASSES)
    card, samples = data.card(), data.part("train")
    teacher = Teacher(
        network(card), None, card, generator=stream_generator("logits"), batch_norm="running"
    )
    teacher.requires_grad_(False).enter_teaching_mode()
    teach = partial(TaughtSamples, samples, teacher, of=TERMS.gradient_of, rows=BATCH)
    goal = partial(matching, teacher, IMAGES)
    kinds = {
        "igam": partial(epoch, teach(), card, goal),
        "igam, teacher anew": partial(epoch, samples, card, goal),
        "as published": partial(epoch, samples, card, partial(MeanLoss, "classes", as_published)),
        "ours": partial(epoch, samples, card, partial(training_objective, ATTACK)),
    }
    return kinds, teach


def main() -> int:
    """Compare an epoch, with its share of the teacher's gradients, to both baselines."""
    torch.set_num_threads(1)
    kinds, teach = kinds_of_training()
    seconds = alternate({**kinds, "teacher's gradients": teach}, repeats=REPEATS)
    igam = seconds["igam"] + seconds["teacher's gradients"] / EPOCHS
    anew = seconds["igam, teacher anew"]
    return report(
        [
            at_most(
                f"IGAM, an epoch of {IMAGES} images: time beside PGD-7 training {name}",
                igam / seconds[name],
                most,
                times=f"{igam:.3f} s, PGD-7 {seconds[name]:.3f} s, teacher anew {anew:.3f} s",
            )
            for name, most in MOST.items()
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
