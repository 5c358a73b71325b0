"""The accuracy under PGD-20 and its time beside Foolbox's own PGD on the same weights, samples and attack.

    ADVTRANSFER_DATA=FOLDER python tests/performance/pgd_accuracy.py

At most 0.2 of Foolbox's time on a naturally trained network, 0.7 on an adversarially trained one, and accuracies that
agree to 0.4 points: both start at random, from other draws. The images are MNIST's; the networks are trained first, on
4,000 of them.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import torch
from torch import nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.adversary import Adversary
from advtransfer.toolkit.datasets import SampleSubset
from advtransfer.toolkit.training_config import Adam
from advtransfer.types import Evaluation, EvaluationInputs, Outcome, Samples
from advtransfer_foolbox.components.gradient import pgd
from advtransfer_vision.components.datasets import torchvision
from advtransfer_vision.components.training import trained

warnings.filterwarnings(
    "ignore", message="Please import `gaussian_filter`", category=DeprecationWarning
)

IMAGES, STEPS, REPEATS = 512, 20, 5
MOST = {"natural": 0.2, "robust": 0.7}
APART = 0.004


def case(*, robust: bool) -> tuple[nn.Module, Samples, float]:
    """A trained network, the first test images, and the radius to attack with."""
    mnist = torchvision(name="MNIST")
    adversary = Adversary(norm="linf", eps=0.1, steps=5) if robust else None
    source = trained(
        data=mnist, adversary=adversary, epochs=6, images=4000, optimiser=Adam(lr=0.003)
    )
    network = source.network()
    assert isinstance(network, nn.Module)
    network.load_state_dict(dict(source.weights(InMemoryContext()).tensors))
    return network.eval(), SampleSubset(mnist.part("test"), torch.arange(IMAGES)), 0.15


def ours(evaluation: Evaluation, model: nn.Module, test: Samples, eps: float) -> float:
    """The robust accuracy that the evaluation finds."""
    measured = evaluation.measure(
        EvaluationInputs(test=test, model=model), context=InMemoryContext()
    )
    return (measured.outcomes[f"robust_accuracy@{eps:g}"] == Outcome.ROBUST).double().mean().item()


def plain(model: nn.Module, test: Samples, eps: float, batch: int = 64) -> float:
    """The robust accuracy that Foolbox finds, used as its guide shows."""
    from foolbox.attacks import LinfPGD
    from foolbox.models.pytorch import PyTorchModel

    attacked = PyTorchModel(model, bounds=(0, 1), device="cpu")
    attack, stood = LinfPGD(abs_stepsize=eps / 8, steps=STEPS), 0
    for positions in torch.split(torch.arange(len(test)), batch):
        images, labels = test.inputs(positions), test.labels(positions)
        _, _, fell = attack(attacked, images, labels, epsilons=eps)
        stood += int((~fell).sum())
    return stood / len(test)


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def compare(name: str) -> tuple[float, float]:
    """Print both times, the median of several alternating runs; return their ratio, and the accuracies' difference."""
    model, test, eps = case(robust=name == "robust")
    evaluation = pgd(norm="linf", eps=eps, steps=STEPS, step_size=eps / 8)
    torch.default_generator.manual_seed(0)
    found, expected = ours(evaluation, model, test, eps), plain(model, test, eps)
    pairs = [
        (
            seconds(lambda: ours(evaluation, model, test, eps)),
            seconds(lambda: plain(model, test, eps)),
        )
        for _ in range(REPEATS)
    ]
    fast, slow = (
        statistics.median(mine for mine, _ in pairs),
        statistics.median(theirs for _, theirs in pairs),
    )
    sys.stdout.write(
        f"{name}: PGD-{STEPS} on {len(test)} images of shape {test.card.shape}: {fast:.2f} s, "
    )
    sys.stdout.write(
        f"accuracy {found:.4f}; Foolbox {slow:.2f} s, {expected:.4f}, at most {APART} apart; "
    )
    sys.stdout.write(
        f"ratio {fast / slow:.2f}, at most {MOST[name]} (median of {REPEATS}, alternating)\n"
    )
    return fast / slow, abs(found - expected)


def main() -> None:
    """Compare on both networks; fail where a ratio is too large, or the accuracies disagree."""
    if not os.environ.get("ADVTRANSFER_DATA"):
        sys.stdout.write(
            "not measured: all of it, which needs MNIST; set ADVTRANSFER_DATA to its folder\n"
        )
        return
    torch.set_num_threads(1)
    found = {name: compare(name) for name in MOST}
    if any(apart > APART for _, apart in found.values()):
        raise SystemExit("the accuracies under PGD disagree by more than claimed")
    if any(found[name][0] > most for name, most in MOST.items()):
        raise SystemExit("the accuracy under PGD takes longer than claimed")


if __name__ == "__main__":
    main()
