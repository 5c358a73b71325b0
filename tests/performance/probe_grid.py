"""A grid of linear probes, 10 n x 20 seeds, against the papers' way: a head trained on features made anew every epoch.

    python tests/performance/probe_grid.py

Ours is `finetune/linear_probe` with the cache on a disk, empty at first. The papers' is the loop of Utrera et al.
(2021): SGD, a tenth of the rate after each third, the frozen network's forward pass in every step, without its
gradients. It stands on standardised features, as ours does, so that both solve one problem; what these are is known to
it beforehand. It would take too long for 20 seeds: it is run for one seed of each n, and its time is multiplied.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from side_by_side.claims import at_least, at_most, report
from side_by_side.timing import alternate
from threadpoolctl import threadpool_limits
from torch import nn
from torch.nn import functional

from advtransfer.cache import Cache
from advtransfer.node import Node
from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import SampleSubset, all_positions
from advtransfer.toolkit.model_modes import freeze_weights
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.prediction import compute_rows, measure_accuracy
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.toolkit.subset import draw_subset
from advtransfer.toolkit.training import train
from advtransfer.toolkit.training_config import Adam, Schedule
from advtransfer.toolkit.views import view_dataset
from advtransfer.types import Context, Dataset, Samples
from advtransfer.worker.context import WorkerContext
from advtransfer_finetune.components import linear_probe
from advtransfer_finetune.regression import FeatureScaling
from advtransfer_vision.components.datasets import digits
from advtransfer_vision.networks import SizedNetwork, build_network

SIZES, SEEDS, EPOCHS, BATCH, REPEATS = (
    (20, 30, 50, 70, 100, 150, 200, 300, 400, 500),
    20,
    100,
    128,
    1,
)
NETWORK = SizedNetwork(name="small_cnn")
CPU = torch.device("cpu")
SOURCE_EPOCHS = 5
LEAST, MOST_GAP = 50.0, 0.05
"""How many times faster it must be, and the most that the mean accuracies over the sizes may differ."""


class Frozen(nn.Module):
    """The source's standardised features and a new head, N(0, 1) with zero biases."""

    def __init__(self, source: BlockNetwork, scaling: FeatureScaling, classes: int) -> None:
        super().__init__()
        self.source = source
        self.mean, self.scale = (
            torch.from_numpy(array).float() for array in (scaling.mean, scaling.scale)
        )
        self.head = nn.Linear(len(self.mean), classes)
        nn.init.normal_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """``(B, C, H, W)`` to ``(B, K)``."""
        with torch.no_grad():
            features = self.source.features(images)
        logits: torch.Tensor = self.head((features - self.mean) / self.scale)
        return logits


def trained(data: Dataset) -> BlockNetwork:
    """A source that has seen other classes."""
    network = build_initialized(
        partial(build_network, NETWORK, data=data.card()), stream_generator("source")
    )
    train(
        network,
        data.part("train"),
        epochs=SOURCE_EPOCHS,
        batch_size=32,
        optimiser=Adam(lr=3e-3),
        schedule=Schedule(),
        context=InMemoryContext(),
    )
    freeze_weights(network.eval())
    return network


def subset(data: Dataset, n: int, seed: int) -> Samples:
    """The same images for both."""
    part = data.part("train")
    drawn = draw_subset(
        part.labels(all_positions(part)), n=n, validation=0.0, seed_parts=["probe grid", seed]
    )
    return SampleSubset(part, drawn.train)


def ours(source: BlockNetwork, data: Dataset, samples: Samples, context: Context) -> nn.Module:
    """A probe as a trial fits it."""
    transfer = linear_probe()
    model = transfer.model(source=source, adapter=None, target=data.card())
    transfer.fit(
        model, source=source, adapter=None, train=samples, validation=None, context=context
    )
    return model


def theirs(
    source: BlockNetwork, scaling: FeatureScaling, samples: Samples, classes: int
) -> nn.Module:
    """The papers' loop."""
    model = build_initialized(
        partial(Frozen, source, scaling, classes), stream_generator("head", len(samples))
    ).eval()
    optimiser = torch.optim.SGD(model.head.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, EPOCHS // 3, gamma=0.1)
    shuffle = stream_generator("order", len(samples))
    for _ in range(EPOCHS):
        for batch in torch.split(torch.randperm(len(samples), generator=shuffle), BATCH):
            optimiser.zero_grad()
            functional.cross_entropy(model(samples.inputs(batch)), samples.labels(batch)).backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward
            optimiser.step()
        schedule.step()
    return model


def loop(source: BlockNetwork, data: Dataset, n: int) -> Callable[[], nn.Module]:
    """The papers' loop for one n, ready to begin."""
    samples = subset(data, n, 0)
    scaling = FeatureScaling.from_features(
        compute_rows(samples, source.features, device=CPU).double().numpy()
    )
    return partial(theirs, source, scaling, samples, data.card().outputs)


def on_disk(folder: Path) -> Context:
    """What the host lends to a fit, its cache in an empty folder."""
    inputs = {
        "source": Node("source", "vision/trained"),
        "subset": Node("subset", "host/subset", inputs={"data": Node("data", "vision/digits")}),
    }
    node, cache = (
        Node("fit", "finetune/linear_probe", inputs=inputs),
        Cache(folder, line="cpu-1-float32"),
    )
    return WorkerContext(node, ("fit",), CPU, cache, folder, lambda _: None, "a probe")


def grid(source: BlockNetwork, data: Dataset) -> list[nn.Module]:
    """Every probe of the grid; those of the first seed."""
    with tempfile.TemporaryDirectory() as folder:
        cells = [(seed, n) for seed in range(SEEDS) for n in SIZES]
        context = on_disk(Path(folder))
        models = [ours(source, data, subset(data, n, seed), context) for seed, n in cells]
    return models[: len(SIZES)]


def mean_accuracy(models: list[nn.Module], data: Dataset) -> float:
    """The mean accuracy on the test part."""
    return statistics.fmean(
        measure_accuracy(model, data.part("test"), device=CPU) for model in models
    )


def main() -> int:
    """Compare accuracies and times."""
    torch.set_num_threads(1)
    low, data = (
        view_dataset(digits(), classes=classes, channels=3, size=32)
        for classes in ([0, 1, 2, 3, 4], [5, 6, 7, 8, 9])
    )
    source = trained(low)
    papers = [loop(source, data, n) for n in SIZES]
    models: dict[str, list[nn.Module]] = {}

    def fit_ours() -> None:
        models["ours"] = grid(source, data)

    def fit_theirs() -> None:
        models["theirs"] = [fit() for fit in papers]

    with threadpool_limits(1):
        seconds = alternate({"ours": fit_ours, "theirs": fit_theirs}, repeats=REPEATS)
    looped = seconds["theirs"] * SEEDS
    own, other = (mean_accuracy(models[way], data) for way in ("ours", "theirs"))
    what = f"linear probes, {len(SIZES)} n ({SIZES[0]} to {SIZES[-1]}) x {SEEDS} seeds"
    return report(
        [
            at_least(
                f"{what}: times faster than the papers' loop",
                looped / seconds["ours"],
                LEAST,
                times=f"{seconds['ours']:.1f} s, loop {looped:.0f} s, multiplied from one seed",
            ),
            at_most(
                f"{what}: difference of the mean accuracies of the first seed",
                abs(own - other),
                MOST_GAP,
                times=f"{own:.3f}, loop {other:.3f}",
            ),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
