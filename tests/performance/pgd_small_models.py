"""PGD-20 on small robust models: its time beside Foolbox's own, whole and outside the model's forward and backward.

    ADVTRANSFER_DATA=FOLDER python tests/performance/pgd_small_models.py

On 4,000 images of MNIST, by one thread, on weights that need no gradients, at the radius where three quarters of the
samples stay robust. Foolbox runs at its best batch of 64, 256 and 1,024. At most 1.0 of its time on a linear model and
0.8 on two convolutions of 8 and 16 channels; outside the model, at most half of Foolbox's own seconds on the linear
model, and 15 % of all seconds on the convolutions. Seconds are those of the processor; the least of several
alternating runs counts.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import torch
from torch import Tensor, nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import SampleSubset, all_positions
from advtransfer.types import EvaluationInputs, Outcome, Samples
from advtransfer_foolbox.components.gradient import pgd
from advtransfer_vision.components.datasets import torchvision

warnings.filterwarnings(
    "ignore", message="Please import `gaussian_filter`", category=DeprecationWarning
)

IMAGES, STEPS, REPEATS, BATCHES = 4000, 20, 5, (64, 256, 1024)
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

        return min(cpu_seconds(calls) for _ in range(REPEATS)) / repeats


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the processor's seconds of one call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def ours(model: nn.Module, test: Samples, eps: float) -> float:
    """Return the robust accuracy that the evaluation finds."""
    evaluation = pgd(norm="linf", eps=eps, steps=STEPS, step_size=eps / 8)
    given = EvaluationInputs(test=test, model=model)
    outcomes = evaluation.measure(given, context=InMemoryContext()).outcomes
    return (outcomes[f"robust_accuracy@{eps:g}"] == Outcome.ROBUST).double().mean().item()


def plain(model: nn.Module, test: Samples, eps: float, batch: int) -> float:
    """Return the robust accuracy that Foolbox finds, used as its guide shows."""
    from foolbox.attacks import LinfPGD
    from foolbox.models.pytorch import PyTorchModel

    attacked = PyTorchModel(model, bounds=(0, 1), device="cpu")
    attack, robust = LinfPGD(abs_stepsize=eps / 8, steps=STEPS), 0
    for positions in torch.split(all_positions(test), batch):
        images, labels = test.inputs(positions), test.labels(positions)
        _, _, broken = attack(attacked, images, labels, epsilons=eps)
        robust += int((~broken).sum())
    return robust / len(test)


def radius(model: nn.Module, test: Samples) -> float:
    """Return the radius at which `ROBUST_SHARE` of the first 1,000 images stay robust, by bisection."""
    some = SampleSubset(test, torch.arange(1000))
    low, high = 0.0, 0.3
    for _ in range(9):
        middle = (low + high) / 2
        is_robust = ours(model, some, middle) >= ROBUST_SHARE
        low, high = (middle, high) if is_robust else (low, middle)
    return low


def compare(name: str, model: nn.Module, test: Samples) -> bool:
    """Print the times of both; return whether they are as claimed."""
    eps = radius(model, test)
    mine = partial(ours, model, test, eps)
    theirs = {batch: partial(plain, model, test, eps, batch) for batch in BATCHES}
    accuracy, others = mine(), theirs[BATCHES[0]]()
    rounds = [
        (cpu_seconds(mine), {batch: cpu_seconds(run) for batch, run in theirs.items()})
        for _ in range(REPEATS)
    ]
    seconds = min(own for own, _ in rounds)
    by_batch = {batch: min(times[batch] for _, times in rounds) for batch in BATCHES}
    best = min(by_batch, key=by_batch.__getitem__)
    watched = Watched(model, test.inputs(torch.arange(1)))
    outside = seconds - watched.seconds(mine)
    their_outside = by_batch[best] - watched.seconds(theirs[best])
    whole = their_outside if name == "linear" else seconds
    sys.stdout.write(
        f"{name}: PGD-{STEPS} on {len(test)} images at eps {eps:.3f}: {seconds:.2f} s, accuracy {accuracy:.4f}; "
        f"Foolbox {', '.join(f'{time:.2f} s at {batch}' for batch, time in by_batch.items())}, {others:.4f}; "
        f"ratio {seconds / by_batch[best]:.2f}, at most {MOST_TIME[name]}; outside the model {outside:.2f} s, "
        f"Foolbox {their_outside:.2f} s: {outside / whole:.2f}, at most {MOST_OUTSIDE[name]}\n"
    )
    return seconds <= MOST_TIME[name] * by_batch[best] and outside <= MOST_OUTSIDE[name] * whole


def main() -> None:
    """Compare on both models; fail where one takes longer than claimed."""
    if not os.environ.get("ADVTRANSFER_DATA"):
        sys.stdout.write(
            "not measured: all of it, which needs MNIST; set ADVTRANSFER_DATA to its folder\n"
        )
        return
    torch.set_num_threads(1)
    torch.default_generator.manual_seed(0)
    mnist = torchvision(name="MNIST")
    test = SampleSubset(mnist.part("test"), torch.arange(IMAGES))
    results = []
    for name, model in networks().items():
        fit(model, SampleSubset(mnist.part("train"), torch.arange(6000)))
        results.append(compare(name, model, test))
    if not all(results):
        raise SystemExit("PGD on a small model takes longer than claimed")


if __name__ == "__main__":
    main()
