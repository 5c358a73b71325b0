"""PGD-20 beside Foolbox's own PGD on the same weights and images: its time, and that both break the same images.

    ADVTRANSFER_DATA=FOLDER python tests/performance/pgd_accuracy.py

The baseline is Foolbox at its best batch, the largest of which is all images at once. Times are those of random starts,
as users have them, on networks of some size whose weights need gradients, as after a training. The starts of both are
other draws, so agreement is measured without them: both begin at the images and take the same steps, and the last
iterate is judged. Then outcomes may differ only where rounding turns the sign of a gradient. What is wrong without
attack stays wrong for us, and may be turned right by Foolbox, so only the other images are compared. Our default, which
judges every iterate, breaks more.
"""

from __future__ import annotations

import os
import sys
from functools import partial

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import torch
from side_by_side.claims import NEEDS_MNIST, Claim, at_most, report
from side_by_side.mnist import first_test_images, tensors_of, trained_network
from side_by_side.plain_foolbox import BATCHES, linf_pgd
from side_by_side.timing import alternate, fastest
from torch import Tensor, nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.types import Evaluation, EvaluationInputs, Outcome, Samples
from advtransfer_foolbox.components.gradient import pgd

IMAGES, STEPS, REPEATS, EPS = 512, 20, 2, 0.15
STEP_SIZE = EPS / 8
MOST_TIME = {"natural": 0.2, "robust": 0.45}
MOST_DIFFERENT = 0.2
"""Percent of the images whose outcome may differ at equal starts."""


def broken_by(evaluation: Evaluation, model: nn.Module, test: Samples) -> Tensor:
    """Return True for each image that is misclassified under the attack, ``(N,)``."""
    inputs = EvaluationInputs(test=test, model=model)
    outcomes = evaluation.measure(inputs, context=InMemoryContext()).outcomes
    (metric,) = (name for name in outcomes if name.endswith(f"@{EPS:g}"))
    return outcomes[metric] != Outcome.ROBUST


def agreement(name: str, model: nn.Module, test: Samples) -> list[Claim]:
    """Return the share of images on which both disagree at equal starts, and that Foolbox alone breaks."""
    ball = partial(pgd, norm="linf", eps=EPS, steps=STEPS, step_size=STEP_SIZE, random_start=False)
    last, every = (broken_by(ball(examples=which), model, test) for which in ("last", "any"))
    images, labels = tensors_of(test)
    with torch.no_grad():
        right = model(images).argmax(1) == labels
    foolbox = linf_pgd(
        model,
        images,
        labels,
        eps=EPS,
        steps=STEPS,
        step_size=STEP_SIZE,
        batch=min(BATCHES),
        random_start=False,
    )
    different, missed = (int(mask[right].sum()) for mask in (last ^ foolbox, foolbox & ~every))
    counts = f"Foolbox breaks {int(foolbox[right].sum())} of {int(right.sum())} images"
    return [
        at_most(
            f"PGD-{STEPS} on MNIST, {name} network: outcomes unlike Foolbox's at equal starts",
            100 * different / int(right.sum()),
            MOST_DIFFERENT,
            times=f"{counts}, ours {int(last[right].sum())}; {different} differ",
            unit="%",
        ),
        at_most(
            f"PGD-{STEPS} on MNIST, {name} network: broken by Foolbox, not by any of our iterates",
            100 * missed / int(right.sum()),
            MOST_DIFFERENT,
            times=f"{counts}, ours {int(every[right].sum())}; {missed} by Foolbox alone",
            unit="%",
        ),
    ]


def time_beside_foolbox(name: str, model: nn.Module, test: Samples) -> Claim:
    """Return our CPU seconds as a share of Foolbox's at its best batch."""
    evaluation = pgd(norm="linf", eps=EPS, steps=STEPS, step_size=STEP_SIZE)
    attack = partial(linf_pgd, model, *tensors_of(test), eps=EPS, steps=STEPS, step_size=STEP_SIZE)
    foolbox = {f"Foolbox, batch {batch},": partial(attack, batch=batch) for batch in BATCHES}
    ours = {"ours": partial(broken_by, evaluation, model, test)}
    seconds = alternate(ours | foolbox, repeats=REPEATS)
    best = fastest(seconds, foolbox)
    return at_most(
        f"PGD-{STEPS} on {len(test)} MNIST images, {name} network: time beside Foolbox",
        seconds["ours"] / seconds[best],
        MOST_TIME[name],
        times=f"{seconds['ours']:.2f} s, {best} {seconds[best]:.2f} s",
    )


def main() -> int:
    """Compare on both networks."""
    if not os.environ.get("ADVTRANSFER_DATA"):
        return report([], not_measured=[NEEDS_MNIST])
    torch.set_num_threads(1)
    torch.default_generator.manual_seed(0)
    test = first_test_images(IMAGES)
    claims = []
    for name in MOST_TIME:
        model = trained_network(robust=name == "robust")
        claims += [time_beside_foolbox(name, model, test), *agreement(name, model, test)]
    return report(claims)


if __name__ == "__main__":
    sys.exit(main())
