"""The default battery against the attack it verifies, `foolbox/autoattack: fast`, on the same networks and images.

    ADVTRANSFER_DATA=FOLDER python tests/performance/battery.py [--quick] [--before CHECKOUT]

A battery is as strong as that attack, so what is claimed is its share of the attack's time: what a check adds to an
evaluation that is worth checking. Plain Foolbox PGD-20, which is weaker than both, is timed too, without a claim. With
a checkout of another commit, its battery runs beside ours on the same models: ours is claimed to take at most .6 of the
seconds that the one of commit 0f5519c takes; what only one of them breaks is counted. Networks are as the quickstart's,
for digits, and small ones for 1,000 images of MNIST, natural and robust. What is attacked on the way to a battery, the
source, is timed apart: it is done once for all its trials. Seconds are those of the processor, the least of
alternating runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from foolbox.attacks.projected_gradient_descent import LinfProjectedGradientDescentAttack
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor, nn

from advtransfer.testing.canaries import honest_network
from advtransfer.testing.canaries.honest_models import digits_dataset
from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.adversary import Adversary
from advtransfer.toolkit.datasets import SampleSubset
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.pgd import pgd_perturb
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.toolkit.training import train
from advtransfer.toolkit.training_config import Adam, Schedule
from advtransfer.types import Dataset, EvaluationInputs, Outcome, Samples
from advtransfer.worker.verification import ThreatModel, run_battery
from advtransfer.worker.verification.battery import examples_from_source
from advtransfer.worker.verification.config import BATTERY_SIZES
from advtransfer_foolbox.components.autoattack import autoattack
from advtransfer_vision.components.datasets import torchvision
from advtransfer_vision.networks import SizedNetwork, build_network

QUICK = "--quick" in sys.argv
IMAGES, TRAINED_ON = (100, 500) if QUICK else (1000, 4000)
THREAT, STEPS = ThreatModel("linf", 0.1), 20
BATTERY, CPU = BATTERY_SIZES["small"], torch.device("cpu")
OF_ATTACK, OF_BEFORE = 0.8, 0.6
Case = tuple[str, nn.Module, Samples, nn.Module, int]


def trained(digits: Dataset, *, seed: int, robust: bool) -> BlockNetwork:
    """A small network on MNIST; a robust one begins as the natural one, which takes fewer epochs."""
    model = build_initialized(
        partial(build_network, SizedNetwork(name="small_cnn", width=8), data=digits.card()),
        stream_generator("network", seed),
    )
    for perturb in (None, pgd_perturb(Adversary(norm="linf", eps=THREAT.eps, steps=5)))[
        : 1 + robust
    ]:
        train(
            model,
            SampleSubset(digits.part("train"), torch.arange(TRAINED_ON)),
            epochs=1 if QUICK else 4,
            batch_size=64,
            optimiser=Adam(lr=3e-3),
            schedule=Schedule(),
            context=InMemoryContext(seed),
            perturb=perturb,
        )
    return model.eval().requires_grad_(False)


def cases() -> Iterator[Case]:
    """The name of each case, its model, test images and source, and how often it is timed."""
    for robust in (False, True):
        name = f"digits, {'robust' if robust else 'natural'}"
        model, source = honest_network(0, robust=robust), honest_network(1)
        yield name, model, digits_dataset().part("test"), source, 3
    if not os.environ.get("ADVTRANSFER_DATA"):
        sys.stdout.write("not measured: MNIST; set ADVTRANSFER_DATA to its folder\n")
        return
    mnist = torchvision(name="MNIST")
    test = SampleSubset(mnist.part("test"), torch.arange(IMAGES))
    source = trained(mnist, seed=1, robust=False)
    yield "MNIST, natural", trained(mnist, seed=0, robust=False), test, source, 2
    yield "MNIST, robust", trained(mnist, seed=0, robust=True), test, source, 1


def plain(model: nn.Module, test: Samples) -> None:
    """Foolbox's own attack on all images at once."""
    positions = torch.arange(len(test))
    attack = LinfProjectedGradientDescentAttack(abs_stepsize=THREAT.eps / 8, steps=STEPS)
    foolbox = PyTorchModel(model, bounds=(0, 1), device="cpu")
    attack(foolbox, test.inputs(positions), test.labels(positions), epsilons=THREAT.eps)


def attack(model: nn.Module, test: Samples) -> None:
    """The evaluation that a battery of the same ball verifies."""
    evaluation = autoattack(norm=THREAT.norm, eps=THREAT.eps, version="fast")
    evaluation.measure(EvaluationInputs(test=test, model=model), context=InMemoryContext())


def broken_positions(model: nn.Module, test: Samples, examples: Tensor) -> list[int]:
    """The positions that a battery breaks."""
    found = run_battery(model, test, THREAT, BATTERY, device=CPU, transferred=examples)
    broken = torch.stack([values == Outcome.BROKEN for values in found.outcomes.values()]).any(0)
    positions: list[int] = found.positions[broken].tolist()
    return positions


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes, in seconds of the processor."""
    began = time.process_time()
    work()
    return time.process_time() - began


def gradients(work: Callable[[], object], model: nn.Module, images: int) -> float:
    """How many gradients one call takes for each image, counted at the model's outputs."""
    rows = 0

    def count(gradient: Tensor) -> None:
        nonlocal rows
        rows += len(gradient)

    def watch(_: nn.Module, __: object, outputs: Tensor) -> None:
        if outputs.requires_grad:
            outputs.register_hook(count)  # type: ignore[no-untyped-call]  # torch's own is untyped

    handle = model.register_forward_hook(watch)
    work()
    handle.remove()
    return rows / images


@contextmanager
def other_battery(
    checkout: Path, model: nn.Module, test: Samples, examples: Tensor
) -> Iterator[Callable[[], tuple[float, list[int]]]]:
    """Give a function that runs the battery of another checkout: its seconds and the positions that it breaks."""
    with tempfile.TemporaryDirectory() as folder:
        case = Path(folder) / "case.pt"
        torch.save((model, test, examples), case)
        paths = os.pathsep.join(str(checkout / part) for part in ("benchmark", "plugins"))
        with subprocess.Popen(
            [sys.executable, __file__, "--serve", str(case)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": paths},
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            ask, answers = process.stdin, process.stdout

            def run() -> tuple[float, list[int]]:
                ask.write("run\n")
                ask.flush()
                taken, broken = json.loads(answers.readline())
                return taken, broken

            yield run
            ask.close()


def serve(case: str) -> None:
    """Run the battery once for each line that comes in, and answer with its seconds and what it breaks."""
    torch.set_num_threads(1)
    model, test, examples = torch.load(case, weights_only=False)
    for _ in sys.stdin:
        began = time.process_time()
        broken = broken_positions(model, test, examples)
        sys.stdout.write(json.dumps([time.process_time() - began, broken]) + "\n")
        sys.stdout.flush()


def measure(case: Case, checkout: Path | None) -> bool:
    """Print the figures of one case; return whether its claims hold."""
    name, model, test, source, repeats = case
    make = partial(examples_from_source, source, test, THREAT, BATTERY, device=CPU)
    examples = make()
    works: dict[str, Callable[[], object]] = {
        "battery": partial(broken_positions, model, test, examples),
        "autoattack fast": partial(attack, model, test),
        f"plain PGD-{STEPS}": partial(plain, model, test),
    }
    costs = {label: gradients(work, model, len(test)) for label, work in works.items()}
    runs = [[seconds(work) for work in works.values()] for _ in range(repeats)]
    # The least of several: what else the machine does only ever adds.
    least = {label: min(times) for label, times in zip(works, zip(*runs, strict=True), strict=True)}
    ratio = least["battery"] / least["autoattack fast"]
    figures = "; ".join(
        f"{label} {least[label]:.2f} s, {costs[label]:.1f} gradients an image" for label in works
    )
    sys.stdout.write(
        f"{name}, {len(test)} images: {figures}; the source's examples {seconds(make):.2f} s, once; battery / "
        f"autoattack fast {ratio:.2f}, claimed at most {OF_ATTACK}\n"
    )
    return (checkout is None or beside(checkout, case, examples)) and ratio <= OF_ATTACK


def beside(checkout: Path, case: Case, examples: Tensor) -> bool:
    """Print our battery's figures beside those of another checkout; return whether the claims hold."""
    _, model, test, _, repeats = case
    ours, theirs = [], []
    broken = set(broken_positions(model, test, examples))
    with other_battery(checkout, model, test, examples) as run:
        for _ in range(repeats):
            ours.append(seconds(partial(broken_positions, model, test, examples)))
            taken, positions = run()
            theirs.append(taken)
    ratio = min(ours) / min(theirs)
    sys.stdout.write(
        f"  battery {min(ours):.2f} s, before {min(theirs):.2f} s, ratio {ratio:.2f}, claimed at most {OF_BEFORE}; "
        f"broken {len(broken)}, before {len(positions)}, of these not now {len(set(positions) - broken)}, only now "
        f"{len(broken - set(positions))}\n"
    )
    return ratio <= OF_BEFORE


def main() -> None:
    """Print the figures of all cases; exit 1 where a claim fails."""
    torch.set_num_threads(1)
    checkout = Path(sys.argv[sys.argv.index("--before") + 1]) if "--before" in sys.argv else None
    held = [measure(case, checkout) for case in cases()]
    sys.exit(0 if QUICK or all(held) else 1)


if __name__ == "__main__":
    if "--serve" in sys.argv:
        serve(sys.argv[-1])
    else:
        main()
