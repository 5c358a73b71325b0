"""The default battery beside the attack that it verifies, `foolbox/autoattack: fast`: its time, and what it leaves.

    ADVTRANSFER_DATA=FOLDER python tests/performance/battery.py [--images N] [--before CHECKOUT]

Networks are as the quickstart's, for digits, natural and robust, and a small robust one for the first N images of
MNIST, by default 100; the ball is in l_inf. With a checkout of another commit, its battery runs beside ours on the same
models: ours is claimed to take at most .6 of the seconds that the one of commit 0f5519c takes; what only one of them
breaks is counted. The examples against the source are made before the clock starts, since all of its trials share them.
"""

from __future__ import annotations

import argparse
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

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import torch
from side_by_side.claims import Claim, at_most, report
from side_by_side.mnist import EPS, first_test_images, trained_network
from side_by_side.timing import alternate
from torch import Tensor, nn

from advtransfer.testing.canaries import honest_network
from advtransfer.testing.canaries.honest_models import Subject, digits_dataset
from advtransfer.testing.context import InMemoryContext
from advtransfer.types import EvaluationInputs, Outcome, Samples
from advtransfer.worker.verification import ThreatModel, run_battery
from advtransfer.worker.verification.battery import examples_from_source
from advtransfer.worker.verification.config import BATTERY_SIZES
from advtransfer_foolbox.components.autoattack import autoattack

HERE = Path(__file__).resolve().parents[2]
IMAGES, REPEATS = 100, 1
THREAT, BATTERY, CPU = ThreatModel("linf", EPS), BATTERY_SIZES["small"], torch.device("cpu")
MOST_TIME, MOST_TIME_OF_BEFORE, MOST_MISSED = 0.8, 0.6, 1.0
"""Shares of the other's seconds, and percent of the images that the battery may leave and the attack breaks."""


def subjects(images: int) -> Iterator[tuple[str, Subject]]:
    """The models by name, with their test images, so many of MNIST, and sources."""
    digits, source = digits_dataset().part("test"), honest_network(1)
    for robust, name in ((False, "natural"), (True, "robust")):
        yield f"digits, {name}", Subject(honest_network(0, robust=robust), digits, source)
    if not os.environ.get("ADVTRANSFER_DATA"):
        return
    mnist, other = first_test_images(images), trained_network(robust=False, seed=1)
    yield "MNIST, robust", Subject(trained_network(robust=True).requires_grad_(False), mnist, other)


def broken_by_attack(model: nn.Module, test: Samples) -> list[int]:
    """The positions that the evaluation breaks, which a battery of the same ball verifies."""
    evaluation = autoattack(norm=THREAT.norm, eps=THREAT.eps, version="fast")
    inputs = EvaluationInputs(test=test, model=model)
    outcomes = evaluation.measure(inputs, context=InMemoryContext()).outcomes
    is_broken = outcomes[f"robust_accuracy@{THREAT.eps:g}"] == Outcome.BROKEN
    positions: list[int] = is_broken.nonzero().flatten().tolist()
    return positions


def broken_by_battery(model: nn.Module, test: Samples, examples: Tensor) -> list[int]:
    """The positions that a battery breaks; it tries all of them, since they are at most 1,000."""
    found = run_battery(model, test, THREAT, BATTERY, device=CPU, transferred=examples)
    broken = torch.stack([values == Outcome.BROKEN for values in found.outcomes.values()]).any(0)
    positions: list[int] = found.positions[broken].tolist()
    return positions


def with_gradients(
    attack: Callable[[], list[int]], model: nn.Module, images: int
) -> tuple[set[int], float]:
    """What one call breaks, and how many gradients it takes for each image, counted at the model's outputs."""
    rows = 0

    def count(gradient: Tensor) -> None:
        nonlocal rows
        rows += len(gradient)

    def watch(_: nn.Module, __: object, outputs: Tensor) -> None:
        if outputs.requires_grad:
            outputs.register_hook(count)  # type: ignore[no-untyped-call]  # torch's own is untyped

    handle = model.register_forward_hook(watch)
    broken = set(attack())
    handle.remove()
    return broken, rows / images


def compare(name: str, subject: Subject, checkout: Path | None) -> list[Claim]:
    """Return what is claimed of one model."""
    model, test = subject.model, subject.test
    examples = examples_from_source(subject.source, test, THREAT, BATTERY, device=CPU)
    battery = partial(broken_by_battery, model, test, examples)
    attack = partial(broken_by_attack, model, test)
    own, own_gradients = with_gradients(battery, model, len(test))
    other, other_gradients = with_gradients(attack, model, len(test))
    seconds = alternate({"battery": battery, "attack": attack}, repeats=REPEATS)
    what = f"battery, {name}, {len(test)} images"
    claims = [
        at_most(
            f"{what}: time beside autoattack fast",
            seconds["battery"] / seconds["attack"],
            MOST_TIME,
            times=f"{seconds['battery']:.2f} s and {own_gradients:.1f} gradients an image, autoattack fast "
            f"{seconds['attack']:.2f} s and {other_gradients:.1f}",
        ),
        at_most(
            f"{what}: broken by autoattack fast, not by the battery",
            100 * len(other - own) / len(test),
            MOST_MISSED,
            times=f"it breaks {len(own)}, autoattack fast {len(other)}; {len(other - own)} by that "
            f"alone, {len(own - other)} by the battery alone",
            unit="%",
        ),
    ]
    if checkout is not None:
        claims.append(beside(checkout, what, subject, examples))
    return claims


def beside(checkout: Path, what: str, subject: Subject, examples: Tensor) -> Claim:
    """Return our battery's time as a share of that of another checkout's; each runs in a process of its own."""
    case = (subject.model, subject.test, examples)
    with served_battery(HERE, *case) as ours, served_battery(checkout, *case) as theirs:
        # The first of each warms up.
        runs = [(ours(), theirs()) for _ in range(1 + REPEATS)][1:]
    own_seconds, other_seconds = (min(run[side][0] for run in runs) for side in (0, 1))
    own, other = (set(runs[0][side][1]) for side in (0, 1))
    return at_most(
        f"{what}: time beside the battery of the checkout",
        own_seconds / other_seconds,
        MOST_TIME_OF_BEFORE,
        times=f"{own_seconds:.2f} s, before {other_seconds:.2f} s; {len(other - own)} images are broken by that "
        f"alone, {len(own - other)} by ours alone",
    )


@contextmanager
def served_battery(
    checkout: Path, model: nn.Module, test: Samples, examples: Tensor
) -> Iterator[Callable[[], tuple[float, list[int]]]]:
    """Give a function that runs the battery of a checkout: its CPU seconds and the positions that it breaks."""
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
            requests, answers = process.stdin, process.stdout

            def run() -> tuple[float, list[int]]:
                requests.write("run\n")
                requests.flush()
                seconds, broken = json.loads(answers.readline())
                return seconds, broken

            yield run
            requests.close()


def serve(case: Path) -> None:
    """Run the battery once for each line that comes in, and answer with its seconds and what it breaks."""
    model, test, examples = torch.load(case, weights_only=False)
    for _ in sys.stdin:
        began = time.process_time()
        broken = broken_by_battery(model, test, examples)
        sys.stdout.write(json.dumps([time.process_time() - began, broken]) + "\n")
        sys.stdout.flush()


def main() -> int:
    """Compare on all models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=IMAGES, help="images of MNIST")
    parser.add_argument("--before", type=Path, help="a checkout of an earlier commit")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.serve is not None:
        serve(options.serve)
        return 0
    before = None if options.before is None else options.before.resolve()
    claims = [
        claim
        for name, subject in subjects(options.images)
        for claim in compare(name, subject, before)
    ]
    not_measured = (
        [] if os.environ.get("ADVTRANSFER_DATA") else ["MNIST; set ADVTRANSFER_DATA to its folder"]
    )
    if before is None:
        not_measured.append("the battery of another commit, which needs --before CHECKOUT")
    return report(claims, not_measured=not_measured)


if __name__ == "__main__":
    sys.exit(main())
