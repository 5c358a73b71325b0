"""What the alignment of five sources with a reference costs beside the published loop over samples.

    python tests/performance/alignment_batch.py [SAMPLES]

The baseline has the shape of the released code of Liang et al. (2021): a call for each source, batch size 1, PGD with
50 steps on both models with weight gradients built in every step, eight forward passes for the deviations, alpha_1 and
the outer products of alpha_2 added up in Python; from the same random starts. It gives 6 numbers, ours those and all
others of alignment/alignment. It is timed on a few samples of one source, and the time multiplied; the numbers are
compared on those.
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import replace
from typing import cast

import torch
from side_by_side.claims import Claim, at_least, at_most, report
from side_by_side.timing import alternate
from torch import Tensor, nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples, SampleSubset
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.types import DataCard, EvaluationInputs, Tensors
from advtransfer_alignment.attacks import random_starts
from advtransfer_alignment.components import alignment
from advtransfer_alignment.options import LabelFreePgd
from advtransfer_vision.networks import NetworkName, build_network, sized_network

ATTACK = LabelFreePgd(eps=0.1)
NETWORKS: tuple[NetworkName, ...] = ("lenet5", "fcnet")
SOURCES, SAMPLES, ALONE, REPEATS = 5, 128, 8, 2
LEAST, MOST_GAP = 10, 1e-3


def problem(name: NetworkName, count: int) -> list[EvaluationInputs]:
    """Untrained sources and a reference, and images with the classes that the reference gives them."""
    card = DataCard((1, 28, 28), (0.0, 1.0), "classes", 10, tuple("0123456789"), "")

    def drawn(*role: str | int) -> BlockNetwork:
        return build_initialized(
            lambda: build_network(sized_network(name, width=16), data=card), stream_generator(*role)
        ).eval()

    reference, images = (
        drawn("reference"),
        torch.rand((count, 1, 28, 28), generator=stream_generator("images")),
    )
    with torch.no_grad():
        labels = reference(images).argmax(1)
    test = ArraySamples(card=card, inputs=images, labels=labels)
    return [
        EvaluationInputs(test=test, source=drawn("source", number), reference=reference)
        for number in range(SOURCES)
    ]


def ours(cells: list[EvaluationInputs]) -> list[dict[str, float]]:
    """Every number of the evaluation for each source; what hangs on the reference alone is remembered, as in a run."""
    found, kept = [], dict[tuple[str, str], Tensors]()
    for given in cells:
        context = InMemoryContext()
        context.built |= kept
        found.append(dict(alignment(attack=ATTACK).measure(given, context=context).metrics))
        kept = {
            place: tensors
            for place, tensors in context.built.items()
            if place[0].startswith("reference")
        }
    return found


def published(given: EvaluationInputs) -> dict[str, float]:
    """alpha_1, alpha_2 and joint, both ways, one sample at a time."""
    models = {"s": cast(nn.Module, given.source), "t": cast(nn.Module, given.reference)}
    shares: dict[str, list[float]] = {"st": [], "ts": []}
    outer: dict[str, Tensor | float] = dict.fromkeys(
        ("alpha_2_st", "alpha_2_ts", "joint_st", "joint_ts"), 0.0
    )
    for position in range(len(given.test)):
        x, y = (
            given.test.inputs(torch.tensor([position])),
            given.test.labels(torch.tensor([position])),
        )
        if models["t"](x).argmax(1) != y:
            continue
        start = random_starts(
            [given.test.keys[position]],
            given.test.card.shape,
            norm="linf",
            context=InMemoryContext(),
        )
        moved = {name: attacked(model, x, start) for name, model in models.items()}
        with torch.no_grad():
            found = {
                at + to: (models[to](moved[at]) - models[to](x)).flatten()
                for at in models
                for to in models
            }
        for at, to in ("st", "ts"):
            own, other, white_box = found[at + at], found[at + to], found[to + to]
            share = float(other.norm() / white_box.norm())
            product = torch.outer(own / own.norm(), other / other.norm())
            shares[at + to].append(share)
            outer[f"alpha_2_{at}{to}"] += product
            outer[f"joint_{at}{to}"] += share * product
    count = len(shares["st"])
    means = {f"alpha_1_{way}": statistics.fmean(values) for way, values in shares.items()}
    return means | {
        name: float(torch.as_tensor(total).norm()) / count for name, total in outer.items()
    }


def attacked(model: nn.Module, x: Tensor, start: Tensor) -> Tensor:
    """PGD on the cross-entropy against the model's own class; `backward` builds weight gradients, too."""
    own = model(x).argmax(1).detach()
    moved = (x + ATTACK.eps * start).clamp(0, 1)
    for _ in range(ATTACK.steps):
        moved.requires_grad_()
        model.zero_grad()
        loss = nn.functional.cross_entropy(model(moved), own)
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward
        slope = cast(Tensor, moved.grad).sign()
        moved = x + (moved.detach() + ATTACK.ascent_config.step_size * slope - x).clamp(
            -ATTACK.eps, ATTACK.eps
        )
        moved = moved.clamp(0, 1)
    return moved


def compare(name: NetworkName, count: int) -> list[Claim]:
    """Return how many times faster the evaluation is, and the largest difference of a number."""
    cells = problem(name, count)
    few = replace(cells[0], test=SampleSubset(cells[0].test, torch.arange(ALONE)))
    expected, found = published(few), ours([few])[0]
    gap = max(abs(found[key] - value) for key, value in expected.items())
    seconds = alternate(
        {"ours": lambda: ours(cells), "published": lambda: published(few)}, repeats=REPEATS
    )
    looped = seconds["published"] * SOURCES * count / ALONE
    what = f"alignment of {SOURCES} sources on {count} samples, {name}"
    return [
        at_least(
            f"{what}: times faster than the published loop",
            looped / seconds["ours"],
            LEAST,
            times=f"{seconds['ours']:.2f} s, loop {looped:.2f} s, multiplied from {ALONE} samples "
            "of one source",
        ),
        at_most(
            f"{what}: largest difference of a number from the loop's",
            gap,
            MOST_GAP,
            times=f"{len(expected)} numbers of {ALONE} samples",
        ),
    ]


def main() -> int:
    """Compare on each network."""
    torch.set_num_threads(1)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else SAMPLES
    return report([claim for name in NETWORKS for claim in compare(name, count)])


if __name__ == "__main__":
    sys.exit(main())
