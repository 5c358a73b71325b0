"""The last 3 blocks of a ResNet-50 fine-tuned with frozen batch normalisation: frozen blocks once or in every epoch.

    python tests/performance/frozen_blocks.py

Both are `finetune/blocks`, with ``activations: once`` and ``every_epoch``: the same weights, images, order and thread.
The forward pass of the frozen blocks counts for both; nothing is in a cache before.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Literal

import torch
from side_by_side.claims import at_least, at_most, report
from side_by_side.timing import alternate
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

SHAPE, CLASSES, IMAGES, BATCH, EPOCHS, REPEATS = (3, 32, 32), 10, 128, 64, 15, 2
NETWORK = SizedNetwork(name="resnet50", width=16)
LEAST, MOST_GAP = 2.0, 1e-3
"""How many times faster it must be, and the most that a logit may differ, relative to the largest."""


def tuned(
    source: BlockNetwork, data: Dataset, activations: Literal["once", "every_epoch"]
) -> Tensor:
    """Return the logits ``(N, K)`` of the test images after a fit."""
    transfer = blocks(
        blocks=3, epochs=EPOCHS, batch_size=BATCH, optimiser=Sgd(lr=1e-3), activations=activations
    )
    model = transfer.model(source=source, adapter=None, target=data.card())
    train, context = data.part("train"), InMemoryContext()
    transfer.fit(model, source=source, adapter=None, train=train, validation=None, context=context)
    return predict(model, data.part("test"), device=torch.device("cpu"))[0]


def main() -> int:
    """Compare logits and times."""
    torch.set_num_threads(1)
    data = toy(classes=CLASSES, shape=SHAPE, noise=0.5, train=IMAGES, test=64)
    source = build_initialized(
        partial(build_network, NETWORK, data=data.card()), stream_generator("resnet50")
    ).eval()
    logits: dict[str, Tensor] = {}

    def fit(activations: Literal["once", "every_epoch"]) -> None:
        logits[activations] = tuned(source, data, activations)

    seconds = alternate(
        {"once": partial(fit, "once"), "every_epoch": partial(fit, "every_epoch")}, repeats=REPEATS
    )
    once, anew = logits["once"], logits["every_epoch"]
    gap = ((once - anew).abs().max() / anew.abs().max()).item()
    what = f"3 blocks of a {NETWORK.name} on {IMAGES} images, {EPOCHS} epochs"
    return report(
        [
            at_least(
                f"{what}: times faster with the frozen blocks computed once",
                seconds["every_epoch"] / seconds["once"],
                LEAST,
                times=f"{seconds['once']:.2f} s, in every epoch {seconds['every_epoch']:.2f} s",
            ),
            at_most(
                f"{what}: largest difference of a logit, relative to the largest logit",
                gap,
                MOST_GAP,
                times=f"{len(anew)} test images",
            ),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
