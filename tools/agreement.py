"""AutoAttack of this project beside the original on the same networks and images, with what each costs.

    ADVTRANSFER_DATA=FOLDER python tools/agreement.py [ROW ...] [--images COUNT] [--networks FOLDER]

Needs the extra ``autoattack``. Without rows, all but the ResNet are measured; `--networks` keeps trained networks for
the next call. Each row is a network, a ball and three attacks: ``pyautoattack`` (its standard version with at most nine
targets), our ``standard`` and our ``fast``. The exit code is 1 where ``standard`` leaves more than 2 of 500
samples (1 of 200) more than ``pyautoattack``, or ``fast`` more than that over ``standard``; or where ``fast`` takes
more than a quarter of pyautoattack's gradients or a sixth of its time. All networks have ten classes.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from advtransfer.files import file_sha256
from advtransfer.testing.agreement import (
    Agreement,
    AttackResult,
    PyAutoAttack,
    run_evaluation,
    run_other,
)
from advtransfer.testing.canaries.honest_models import Subject
from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.adversary import Adversary
from advtransfer.toolkit.datasets import SampleSubset
from advtransfer.toolkit.model_modes import freeze_weights
from advtransfer.toolkit.pgd import pgd_perturb
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.toolkit.training import train
from advtransfer.toolkit.training_config import Adam, Schedule
from advtransfer.types import Dataset, File
from advtransfer.worker.verification import ThreatModel
from advtransfer_foolbox.components.autoattack import autoattack
from advtransfer_vision.components.datasets import digits, npz, torchvision
from advtransfer_vision.networks import SizedNetwork, build_network

MOST_MORE_OF_500 = 2
MOST_GRADIENTS, MOST_TIME = 1 / 4, 1 / 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How a network is trained: on the first images of a set, naturally or against an adversary."""

    data: str
    network: SizedNetwork
    images: int
    epochs: int
    adversary: Adversary | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A network, the ball in which it is attacked, and the largest number of test images."""

    training: Training
    threat: ThreatModel
    images: int = 500


_digits = partial(
    Training,
    data="digits",
    network=SizedNetwork(name="small_cnn", width=16),
    images=1297,
    epochs=12,
)
_mnist = partial(
    Training, data="mnist", network=SizedNetwork(name="small_cnn", width=8), images=4000, epochs=4
)

ROWS: dict[str, Row] = {
    "digits-natural-linf": Row(_digits(), ThreatModel("linf", 0.05)),
    "digits-natural-l2": Row(_digits(), ThreatModel("l2", 0.4)),
    "digits-linf": Row(
        _digits(adversary=Adversary(norm="linf", eps=0.1)), ThreatModel("linf", 0.1)
    ),
    "digits-l2": Row(_digits(adversary=Adversary(norm="l2", eps=0.5)), ThreatModel("l2", 0.5)),
    "digits-natural-l1": Row(_digits(), ThreatModel("l1", 1.5)),
    "digits-l2-l1": Row(_digits(adversary=Adversary(norm="l2", eps=0.5)), ThreatModel("l1", 2.5)),
    "mnist-natural-linf": Row(_mnist(), ThreatModel("linf", 0.05)),
    "mnist-natural-l2": Row(_mnist(), ThreatModel("l2", 0.7)),
    "mnist-linf": Row(
        _mnist(adversary=Adversary(norm="linf", eps=0.1, steps=5)), ThreatModel("linf", 0.1)
    ),
    "mnist-l2": Row(
        _mnist(adversary=Adversary(norm="l2", eps=1.0, steps=5)), ThreatModel("l2", 1.0)
    ),
    "cifar-linf": Row(
        Training(
            data="cifar",
            network=SizedNetwork(name="resnet18", width=16),
            images=10_000,
            epochs=4,
            adversary=Adversary(norm="linf", eps=4 / 255, steps=3),
        ),
        ThreatModel("linf", 4 / 255),
        200,
    ),
}
OMITTED = "cifar-linf"


def read_dataset(name: str) -> Dataset:
    """Return scikit-learn's digits (all ten), MNIST, or the subset of CIFAR-10."""
    if name == "mnist":
        return torchvision(name="MNIST")
    if name == "cifar":
        file = Path(os.environ["ADVTRANSFER_DATA"]) / "CIFAR10_subset/cifar10_10k_2k.npz"
        return npz(file=File(file, file_sha256(file)))
    return digits()


def trained_network(training: Training, dataset: Dataset, folder: Path | None) -> nn.Module:
    """Return the network in eval mode and frozen, from the folder where it is there."""
    model = build_initialized(
        partial(build_network, training.network, data=dataset.card()),
        stream_generator("agreement", training.data),
    )
    file = None if folder is None else folder / f"{training.data}-{training.adversary}.pt"
    if file is not None and file.exists():
        model.load_state_dict(torch.load(file, weights_only=True))
    else:
        part = dataset.part("train")
        train(
            model,
            SampleSubset(part, torch.arange(min(training.images, len(part)))),
            epochs=training.epochs,
            batch_size=64,
            optimiser=Adam(lr=3e-3),
            schedule=Schedule(),
            context=InMemoryContext(0),
            perturb=None if training.adversary is None else pgd_perturb(training.adversary),
        )
        if file is not None:
            torch.save(model.state_dict(), file)
    freeze_weights(model.eval())
    return model


def measure_row(name: str, *, most_images: int, folder: Path | None) -> bool:
    """Print the row's three attacks and what they disagree on; return whether it keeps its claims."""
    row = ROWS[name]
    dataset = read_dataset(row.training.data)
    model = trained_network(row.training, dataset, folder)
    count = min(row.images, most_images, len(dataset.part("test")))
    subject = Subject(model, SampleSubset(dataset.part("test"), torch.arange(count)), model)
    threat = row.threat
    other = run_other(PyAutoAttack(), subject, threat)
    print_result(name, "pyautoattack", other)
    own = {}
    for version in ("standard", "fast"):
        evaluation = autoattack(norm=threat.norm, eps=threat.eps, version=version, counts=True)
        own[version] = run_evaluation(evaluation, subject, threat)
        print_result(name, version, own[version])
    standard = Agreement(name, own["standard"], other)
    fast = Agreement(name, own["fast"], own["standard"])
    print_difference("standard", "pyautoattack", standard)
    print_difference("fast", "standard", fast)
    print_difference("fast", "pyautoattack", Agreement(name, own["fast"], other))
    most_more = max(1, MOST_MORE_OF_500 * count // 500)
    gradients = (own["fast"].gradients or 0) / max(other.gradients or 0, 1)
    seconds = own["fast"].seconds / other.seconds
    keeps = {
        "standard as strong": more_left(standard) <= most_more,
        "fast as strong": more_left(fast) <= most_more,
        f"gradients {gradients:.3f}": gradients <= MOST_GRADIENTS,
        f"time {seconds:.3f}": seconds <= MOST_TIME,
    }
    for claim, kept in keeps.items():
        write(f"    {'kept' if kept else 'NOT KEPT'}: {claim}")
    return all(keeps.values())


def more_left(agreement: Agreement) -> int:
    """Return how many more samples the first attack leaves than the second."""
    return int(agreement.own.left.sum()) - int(agreement.other.left.sum())


def print_result(name: str, attack: str, result: AttackResult) -> None:
    """Print what an attack leaves, and its price for each image."""
    write(
        f"{name:20} {attack:13} {int(result.left.sum()):4} of {len(result.left)} left"
        f"  {result.gradients:7.1f} gradients  {result.forwards:7.1f} forwards"
        f"  {result.seconds:7.1f} s"
    )


def print_difference(first: str, second: str, agreement: Agreement) -> None:
    """Print the positions of the samples that only one of two attacks breaks."""
    write(f"    only {first} breaks {agreement.only_own}, only {second} {agreement.only_other}")


def write(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """Measure the rows; 1 where one does not keep its claims."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", choices=[*ROWS, []], default=[])
    parser.add_argument("--images", type=int, default=500, help="largest number of test images")
    parser.add_argument("--networks", type=Path, help="folder of trained networks")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if chosen.networks is not None:
        chosen.networks.mkdir(parents=True, exist_ok=True)
    rows = chosen.rows or [name for name in ROWS if name != OMITTED]
    kept = [measure_row(name, most_images=chosen.images, folder=chosen.networks) for name in rows]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
