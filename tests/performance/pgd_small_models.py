"""PGD-20 on small robust models: its time beside Foolbox's own, whole and outside the model's forward and backward.

    ADVTRANSFER_DATA=FOLDER python tests/performance/pgd_small_models.py

On 4,000 images of MNIST, by one thread, on weights that need no gradients, at the radius where three quarters of the
samples stay robust. Foolbox runs at its best batch. At most 1.0 of its time on a linear model and 0.8 on two
convolutions of 8 and 16 channels; outside the model, at most half of Foolbox's own seconds on the linear model, and
15 % of our seconds on the convolutions.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import torch
from side_by_side.claims import NEEDS_MNIST, Claim, at_most, report
from side_by_side.mnist import first_test_images, tensors_of
from side_by_side.plain_foolbox import BATCHES, linf_pgd
from side_by_side.timing import alternate, fastest
from torch import Tensor, nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import SampleSubset, all_positions
from advtransfer.types import EvaluationInputs, Outcome, Samples
from advtransfer_foolbox.components.gradient import pgd
from advtransfer_vision.components.datasets import torchvision

IMAGES, STEPS, REPEATS = 4000, 20, 2
ROBUST_SHARE = 0.75
MOST_TIME = {"linear": 1.0, "convolutions": 0.8}
MOST_OUTSIDE = {"linear": 0.5, "convolutions": 0.15}
"""Of Foolbox's seconds outside the model, and of all of our own."""


def networks() -> dict[str, nn.Module]:
    """The untrained models."""
    return {
        "linear": nn.Sequential(nn.Flatten(), nn.Linear(784, 10)),
        "convolutions": nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(784, 10),
        ),
    }


def fit(model: nn.Module, samples: Samples) -> None:
    """Train the model for an epoch, and freeze it."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.002)
    for positions in torch.split(all_positions(samples), 100):
        optimizer.zero_grad()
        logits = model(samples.inputs(positions))
        loss = nn.functional.cross_entropy(logits, samples.labels(positions))
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        optimizer.step()
    model.eval().requires_grad_(False)


@dataclass
class Watched:
    """The seconds inside a model, computed from how often it saw how many rows."""

    model: nn.Module
    images: Tensor

    def seconds(self, work: Callable[[], object]) -> float:
        """Return the seconds that the model's forwards and backwards in a call take by themselves."""
        calls: Counter[tuple[int, bool]] = Counter()

        def count(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            calls[len(inputs[0]), inputs[0].requires_grad] += 1

        handle = self.model.register_forward_pre_hook(count)
        work()
        handle.remove()
        return sum(times * self._one_call(*kind) for kind, times in calls.items())

    def _one_call(self, rows: int, with_gradient: bool) -> float:
        points = self.images[:1].expand(rows, *self.images.shape[1:]).clone()
        points.requires_grad_(with_gradient)
        repeats = max(1, 2000 // rows)

        def calls() -> None:
            for _ in range(repeats):
                logits = self.model(points)
                if with_gradient:
                    torch.autograd.grad(logits.sum(), points)

        return alternate({"calls": calls}, repeats=REPEATS)["calls"] / repeats


def ours(model: nn.Module, test: Samples, eps: float) -> float:
    """Return the robust accuracy that the evaluation finds."""
    evaluation = pgd(norm="linf", eps=eps, steps=STEPS, step_size=eps / 8)
    given = EvaluationInputs(test=test, model=model)
    outcomes = evaluation.measure(given, context=InMemoryContext()).outcomes
    return (outcomes[f"robust_accuracy@{eps:g}"] == Outcome.ROBUST).double().mean().item()


def radius(model: nn.Module, test: Samples) -> float:
    """Return the radius at which `ROBUST_SHARE` of the first 1,000 images stay robust, by bisection."""
    some = SampleSubset(test, torch.arange(1000))
    low, high = 0.0, 0.3
    for _ in range(9):
        middle = (low + high) / 2
        is_robust = ours(model, some, middle) >= ROBUST_SHARE
        low, high = (middle, high) if is_robust else (low, middle)
    return low


def compare(name: str, model: nn.Module, test: Samples) -> list[Claim]:
    """Return our time as a share of Foolbox's at its best batch, whole and outside the model."""
    eps = radius(model, test)
    attack = partial(linf_pgd, model, *tensors_of(test), eps=eps, steps=STEPS, step_size=eps / 8)
    foolbox = {f"Foolbox, batch {batch},": partial(attack, batch=batch) for batch in BATCHES}
    own = partial(ours, model, test, eps)
    seconds = alternate({"ours": own, **foolbox}, repeats=REPEATS)
    best = fastest(seconds, foolbox)
    watched = Watched(model, test.inputs(torch.arange(1)))
    outside = seconds["ours"] - watched.seconds(own)
    other_outside = seconds[best] - watched.seconds(foolbox[best])
    beside, whole = (
        ("Foolbox's", other_outside) if name == "linear" else ("the whole", seconds["ours"])
    )
    what = f"PGD-{STEPS} on {len(test)} MNIST images, {name}, eps {eps:.3f}"
    times = f"{seconds['ours']:.2f} s, {best} {seconds[best]:.2f} s"
    return [
        at_most(
            f"{what}: time beside Foolbox",
            seconds["ours"] / seconds[best],
            MOST_TIME[name],
            times=times,
        ),
        at_most(
            f"{what}: time outside the model beside {beside}",
            outside / whole,
            MOST_OUTSIDE[name],
            times=f"{outside:.2f} s, Foolbox {other_outside:.2f} s; whole {times}",
        ),
    ]


def main() -> int:
    """Compare on both models."""
    if not os.environ.get("ADVTRANSFER_DATA"):
        return report([], not_measured=[NEEDS_MNIST])
    torch.set_num_threads(1)
    torch.default_generator.manual_seed(0)
    mnist = torchvision(name="MNIST")
    test = first_test_images(IMAGES)
    claims = []
    for name, model in networks().items():
        fit(model, SampleSubset(mnist.part("train"), torch.arange(6000)))
        claims += compare(name, model, test)
    return report(claims)


if __name__ == "__main__":
    sys.exit(main())
