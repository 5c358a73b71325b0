"""One epoch of IGAM against one epoch of adversarial training: the same network, images, batches and thread.

    python tests/performance/igam_epoch.py [--quick]

Two baselines: PGD-7 adversarial training as the papers' code runs it, which builds the gradients of the weights in
every step of the attack, too; and that of `toolkit.attack`, which does not. The teacher has the student's architecture.
Its gradients stay the same from epoch to epoch, so `igam/igam` computes them once; an epoch is charged its share of
that. Shown beside it, without a claim: IGAM that asks the teacher anew in every epoch, as it must with augmentation.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial

import torch
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

SHAPE, CLASSES, IMAGES, BATCH, EPOCHS = (3, 32, 32), 10, 640, 32, 30
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


def epoch(samples: Samples, card: DataCard, minimised: Callable[[], Objective]) -> float:
    """The seconds of one epoch of training; what comes before and after it is not counted."""
    model, goal = network(card), minimised()
    began = time.perf_counter()
    train(
        model,
        samples,
        epochs=1,
        batch_size=BATCH,
        optimiser=RECIPE,
        schedule=Schedule(),
        context=InMemoryContext(),
        objective=goal,
    )
    return time.perf_counter() - began


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


def timed(images: int) -> Mapping[str, Callable[[], float]]:
    """The seconds of an epoch of each kind, by its name."""
    data = toy(shape=SHAPE, classes=CLASSES, train=images, test=CLASSES)
    card, samples = data.card(), data.part("train")
    teacher = Teacher(
        network(card), None, card, generator=stream_generator("logits"), batch_norm="running"
    )
    teacher.requires_grad_(False).enter_teaching_mode()
    began = time.perf_counter()
    lessons = TaughtSamples(samples, teacher, of=TERMS.gradient_of, rows=BATCH)
    share = (time.perf_counter() - began) / EPOCHS
    goal = partial(matching, teacher, images)
    return {
        "igam": lambda: epoch(lessons, card, goal) + share,
        "igam, teacher anew": lambda: epoch(samples, card, goal),
        "as published": lambda: epoch(samples, card, lambda: MeanLoss("classes", as_published)),
        "ours": lambda: epoch(samples, card, lambda: training_objective(ATTACK)),
    }


def main() -> None:
    """Print the median times of alternating epochs and their ratios; fail where a claim does not hold."""
    quick = "--quick" in sys.argv
    torch.set_num_threads(1)
    kinds = timed(2 * BATCH if quick else IMAGES)
    for kind in kinds.values():
        kind()
    rounds = [{name: kind() for name, kind in kinds.items()} for _ in range(3 if quick else 7)]
    median = {name: statistics.median(one[name] for one in rounds) for name in kinds}
    sys.stdout.write(
        f"{NETWORK}, inputs {SHAPE}, batches of {BATCH}; median of {len(rounds)}, alternating\n"
    )
    for name, seconds in median.items():
        sys.stdout.write(f"{name:>20}: {seconds:.3f} s an epoch\n")
    broken = []
    for name, most in MOST.items():
        ratio, anew = (median[kind] / median[name] for kind in ("igam", "igam, teacher anew"))
        sys.stdout.write(
            f"against PGD-7 {name}: {ratio:.2f} (at most {most}); teacher anew {anew:.2f}\n"
        )
        broken += [name] * (ratio > most)
    if broken:
        raise SystemExit(f"claims that do not hold: {', '.join(broken)}")


if __name__ == "__main__":
    main()
