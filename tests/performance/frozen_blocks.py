"""The last 3 blocks of a ResNet-50 fine-tuned with frozen batch normalisation: frozen blocks once or in every epoch.

    python tests/performance/frozen_blocks.py [--quick]

Both are `finetune/blocks`, with ``activations: once`` and ``every_epoch``: the same weights, images, order and thread.
The forward pass of the frozen blocks counts for both; nothing is in a cache before.
"""

from __future__ import annotations

import statistics
import sys
import time
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.prediction import predict
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.toolkit.training_config import Sgd
from advtransfer.types import Dataset
from advtransfer_finetune.components import blocks
from advtransfer_vision.networks import SizedNetwork, build_network

SHAPE, CLASSES, IMAGES, BATCH, EPOCHS, REPEATS = (3, 32, 32), 10, 128, 64, 15, 5
NETWORK = SizedNetwork(name="resnet50", width=16)
LEAST, GAP = 2.0, 1e-3
"""How many times faster it must be, and the most that a logit may differ, relative to the largest."""


def tuned(
    source: BlockNetwork, data: Dataset, epochs: int, activations: Literal["once", "every_epoch"]
) -> tuple[float, Tensor]:
    """The seconds that a fit takes, and the logits ``(N, K)`` of the test images after it."""
    transfer = blocks(
        blocks=3, epochs=epochs, batch_size=BATCH, optimiser=Sgd(lr=1e-3), activations=activations
    )
    model = transfer.model(source=source, adapter=None, target=data.card())
    train, context = data.part("train"), InMemoryContext()
    began = time.perf_counter()
    transfer.fit(model, source=source, adapter=None, train=train, validation=None, context=context)
    taken = time.perf_counter() - began
    return taken, predict(model, data.part("test"), device=torch.device("cpu"))[0]


def main() -> None:
    """Print both times, the median of several alternating runs, and their ratio; fail where a claim does."""
    torch.set_num_threads(1)
    epochs, repeats = (6, 1) if "--quick" in sys.argv else (EPOCHS, REPEATS)
    data = toy(classes=CLASSES, shape=SHAPE, noise=0.5, train=IMAGES, test=64)
    source = build_initialized(
        partial(build_network, NETWORK, data=data.card()), stream_generator("resnet50")
    ).eval()
    once, anew, gap = [], [], 0.0
    for number in range(repeats + 1):
        quick, found = tuned(source, data, epochs if number else 1, "once")
        slow, expected = tuned(source, data, epochs if number else 1, "every_epoch")
        gap = max(gap, ((found - expected).abs().max() / expected.abs().max()).item())
        if number:  # the first is for warming up
            once.append(quick)
            anew.append(slow)
    quick, slow = statistics.median(once), statistics.median(anew)
    sys.stdout.write(f"{NETWORK} on {IMAGES} images {SHAPE}, {epochs} epochs, one thread: ")
    sys.stdout.write(
        f"frozen blocks once {quick:.1f} s, in every epoch {slow:.1f} s, ratio {slow / quick:.2f} "
    )
    sys.stdout.write(f"(median of {repeats}, alternating); logits within {gap:.1e}\n")
    if gap > GAP:
        raise SystemExit(f"the logits differ by {gap:.1e} of the largest; expected at most {GAP:g}")
    if slow / quick < LEAST and "--quick" not in sys.argv:
        raise SystemExit(f"expected to be at least {LEAST:g} times faster")


if __name__ == "__main__":
    main()
