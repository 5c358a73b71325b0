"""The default battery against plain Foolbox PGD-20, on the same natural and robust network, weights and 1,000 images.

    ADVTRANSFER_DATA=FOLDER python tests/performance/battery.py [--quick]

Foolbox runs as its documentation shows: one call of ``LinfPGD(abs_stepsize, steps)`` on all images, the weights as they
are. What is attacked on the way to a battery, the source, is timed beside it: it is done once for all its trials.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from foolbox.attacks.projected_gradient_descent import LinfProjectedGradientDescentAttack
from foolbox.models.pytorch import PyTorchModel

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.adversary import Adversary
from advtransfer.toolkit.datasets import SampleSubset
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.pgd import pgd_perturb
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.toolkit.training import train
from advtransfer.toolkit.training_config import Adam, Schedule
from advtransfer.types import Dataset, Samples
from advtransfer.worker.verification import ThreatModel, run_battery
from advtransfer.worker.verification.battery import examples_from_source
from advtransfer.worker.verification.config import BATTERY_SIZES
from advtransfer_vision.components.datasets import torchvision
from advtransfer_vision.networks import SizedNetwork, build_network

QUICK = "--quick" in sys.argv
IMAGES, TRAINED_ON, EPOCHS, REPEATS = (200, 500, 1, 1) if QUICK else (1000, 4000, 4, 5)
THREAT, STEPS = ThreatModel("linf", 0.1), 20
BATTERY, CPU = BATTERY_SIZES["small"], torch.device("cpu")
MOST = 0.5


def trained(digits: Dataset, *, seed: int, robust: bool) -> BlockNetwork:
    """A small network on MNIST, its weights ready for gradients, as a user has it."""
    model = build_initialized(
        partial(build_network, SizedNetwork(name="small_cnn"), data=digits.card()),
        stream_generator("network", seed),
    )
    train(
        model,
        SampleSubset(digits.part("train"), torch.arange(TRAINED_ON)),
        epochs=EPOCHS,
        batch_size=64,
        optimiser=Adam(lr=3e-3),
        schedule=Schedule(),
        context=InMemoryContext(seed),
        perturb=pgd_perturb(Adversary(norm="linf", eps=THREAT.eps, steps=5)) if robust else None,
    )
    return model


def plain(model: BlockNetwork, test: Samples) -> None:
    """Foolbox's own attack on all images at once."""
    positions = torch.arange(len(test))
    attack = LinfProjectedGradientDescentAttack(abs_stepsize=THREAT.eps / 8, steps=STEPS)
    foolbox = PyTorchModel(model, bounds=(0, 1), device="cpu")
    attack(foolbox, test.inputs(positions), test.labels(positions), epsilons=THREAT.eps)


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Print both times, the median of several alternating runs, and their ratio; exit 1 above the claim."""
    if not os.environ.get("ADVTRANSFER_DATA"):
        sys.stdout.write(
            "not measured: all of it, which needs MNIST; set ADVTRANSFER_DATA to its folder\n"
        )
        return
    torch.set_num_threads(1)
    digits = torchvision(name="MNIST")
    test = SampleSubset(digits.part("test"), torch.arange(IMAGES))
    source = trained(digits, seed=1, robust=False)
    ratios = []
    for name in ("natural", "robust"):
        model = trained(digits, seed=0, robust=name == "robust")
        examples = examples_from_source(source, test, THREAT, BATTERY, device=CPU)
        once = seconds(partial(examples_from_source, source, test, THREAT, BATTERY, device=CPU))
        battery = partial(
            run_battery, model, test, THREAT, BATTERY, device=CPU, transferred=examples
        )
        pairs = [(seconds(battery), seconds(partial(plain, model, test))) for _ in range(REPEATS)]
        ours, theirs = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratios.append(ours / theirs)
        sys.stdout.write(
            f"{name}: battery {ours:.2f} s (and {once:.2f} s once a source), plain PGD-{STEPS} on {IMAGES} images "
            f"{theirs:.2f} s; ratio {ours / theirs:.2f}, claimed at most {MOST} (median of {REPEATS}, alternating)\n"
        )
    sys.exit(0 if QUICK or max(ratios) <= MOST else 1)


if __name__ == "__main__":
    main()
