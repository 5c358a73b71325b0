"""A ladder of eight radii beside eight runs of one radius each: its time, its gradients, and that it finds no less.

    ADVTRANSFER_DATA=FOLDER python tests/performance/eps_ladder.py

Two baselines: our own evaluation with one radius, eight times, and Foolbox's PGD at its best batch, eight times; the
largest batch is all images at once. The network is trained against an adversary, so that something stands on most
rungs.
"""

from __future__ import annotations

import os
import sys
from functools import partial

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import torch
from side_by_side.claims import NEEDS_MNIST, at_most, report
from side_by_side.mnist import EPS, first_test_images, tensors_of, trained_network
from side_by_side.plain_foolbox import BATCHES, linf_pgd
from side_by_side.timing import alternate, fastest
from torch import nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.types import EvaluationInputs, Outcome, Samples
from advtransfer_foolbox.components.gradient import pgd

IMAGES, STEPS, RUNGS, REPEATS = 256, 20, 8, 2
LADDER = tuple(2 * EPS * rung / RUNGS for rung in range(1, RUNGS + 1))
STEP_SIZE = max(LADDER) / 8


def attack(model: nn.Module, test: Samples, radii: tuple[float, ...]) -> tuple[list[float], float]:
    """Return the robust accuracy at each radius, and the gradients of one image."""
    evaluation = pgd(norm="linf", eps=radii, steps=STEPS, step_size=STEP_SIZE, counts=True)
    inputs = EvaluationInputs(test=test, model=model)
    measured = evaluation.measure(inputs, context=InMemoryContext())
    outcomes = [measured.outcomes[f"robust_accuracy@{eps:g}"] for eps in radii]
    shares = [(each == Outcome.ROBUST).double().mean().item() for each in outcomes]
    return shares, float(measured.metrics["mean_gradients"])


def separate_runs(model: nn.Module, test: Samples) -> tuple[list[float], float]:
    """Return the same of one evaluation for each radius."""
    runs = [attack(model, test, (eps,)) for eps in LADDER]
    return [share for (share,), _ in runs], sum(gradients for _, gradients in runs)


def foolbox_runs(model: nn.Module, test: Samples, *, batch: int) -> None:
    """Attack with Foolbox at each radius."""
    for eps in LADDER:
        linf_pgd(model, *tensors_of(test), eps=eps, steps=STEPS, step_size=STEP_SIZE, batch=batch)


def main() -> int:
    """Compare accuracies, gradients and times."""
    if not os.environ.get("ADVTRANSFER_DATA"):
        return report([], not_measured=[NEEDS_MNIST])
    torch.set_num_threads(1)
    model, test = trained_network(robust=True), first_test_images(IMAGES)
    together, gradients = attack(model, test, LADDER)
    alone, separate_gradients = separate_runs(model, test)
    for name, shares in {"ladder": together, "separate runs": alone}.items():
        listed = " ".join(f"{share:.3f}" for share in shares)
        sys.stdout.write(f"robust accuracy, {name}: {listed}\n")
    foolbox = {
        f"Foolbox, batch {batch},": partial(foolbox_runs, model, test, batch=batch)
        for batch in BATCHES
        if batch <= IMAGES
    }
    seconds = alternate(
        {
            "ladder": partial(attack, model, test, LADDER),
            "separate runs": partial(separate_runs, model, test),
            **foolbox,
        },
        repeats=REPEATS,
    )
    best = fastest(seconds, foolbox)
    what = f"PGD-{STEPS} at {RUNGS} radii on {IMAGES} MNIST images"
    ladder = f"{seconds['ladder']:.2f} s"
    return report(
        [
            at_most(
                f"{what}: robust accuracy above that of separate runs, at any radius",
                max(mine - theirs for mine, theirs in zip(together, alone, strict=True)),
                0,
                times=f"at the largest radius {together[-1]:.3f}, separate runs {alone[-1]:.3f}",
            ),
            at_most(
                f"{what}: gradients beside those of separate runs",
                gradients / separate_gradients,
                1,
                times=f"{gradients:.1f} an image, separate runs {separate_gradients:.1f}",
            ),
            at_most(
                f"{what}: time beside separate runs",
                seconds["ladder"] / seconds["separate runs"],
                1,
                times=f"{ladder}, separate runs {seconds['separate runs']:.2f} s",
            ),
            at_most(
                f"{what}: time beside Foolbox's separate runs",
                seconds["ladder"] / seconds[best],
                0.5,
                times=f"{ladder}, {best} {seconds[best]:.2f} s",
            ),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
