"""Sources as options of a transfer: fits draw untrained ones, and trained ones are cached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from advtransfer.cache import Cache
from advtransfer.host import Host
from advtransfer.jobs import Job
from advtransfer.node import Node
from advtransfer.result import Run
from advtransfer.types import Json
from advtransfer.worker.context import UntrainedSource
from advtransfer.worker.object_builder import CachedSource, ObjectBuilder
from advtransfer_finetune.tuning import ScratchTraining

DATA = Node("data", "vision/digits", options={"classes": [0, 1, 2]})


def random_init(seed: int = 0) -> Node:
    return Node("source", "vision/random_init", options={"seed": seed}, inputs={"data": DATA})


def scratch(network: Node) -> Node:
    return Node("fit", "finetune/scratch", version=3, inputs={"network": network})


@pytest.fixture
def shop(tmp_path: Path) -> ObjectBuilder:
    node = scratch(random_init())
    run, cache = Run(tmp_path), Cache(tmp_path, line="cpu-1-float32")
    job = Job(node.id, {}, tmp_path, tmp_path, run.write_environment({}), {}, "cpu", 1)
    return ObjectBuilder(
        job, run, cache, torch.device("cpu"), tmp_path, lambda _: None, Host.discover()
    )


@pytest.fixture
def start(shop: ObjectBuilder) -> Callable[[int, int], Tensor]:
    """The first weights of a network drawn by a subset of some seed."""

    def drawn(subset: int, seed: int) -> Tensor:
        node = scratch(random_init(seed))
        transfer = shop.build_object(node)
        assert isinstance(transfer, ScratchTraining)
        weights = transfer.network.weights(
            shop.make_context(node, "fit", f"subset {subset}", name="a fit")
        )
        return weights.tensors["head.weight"]

    return drawn


def test_untrained_weights_depend_on_subset_and_seed(
    start: Callable[[int, int], Tensor],
) -> None:
    first = start(0, 0)

    assert first.equal(start(0, 0))
    assert not first.equal(start(1, 0))
    assert not first.equal(start(0, 1))


def test_only_fits_draw_an_untrained_source(shop: ObjectBuilder) -> None:
    transfer = shop.build_object(scratch(random_init()))
    assert isinstance(transfer, ScratchTraining)
    assert isinstance(transfer.network, UntrainedSource)
    assert (1, 8, 8) == transfer.network.card().shape

    perturbed = Node(
        "source",
        "vision/perturbed",
        options={"scale": 0.1},
        inputs={"source": random_init(), "data": DATA},
    )
    transfer = shop.build_object(scratch(perturbed))
    assert isinstance(transfer, ScratchTraining)
    assert isinstance(transfer.network, CachedSource)


@pytest.mark.parametrize("use", ["vision/random_init", "vision/trained"])
def test_reference_and_source_start_from_different_weights(shop: ObjectBuilder, use: str) -> None:
    options: dict[str, Json] = {"seed": 0, **({"epochs": 1} if use == "vision/trained" else {})}
    source = Node("source", use, options=options, inputs={"data": DATA})
    version = shop.host.component(use).metadata.version
    source, other = (
        replace(node, version=version)
        for node in (source, replace(source, options=options | {"seed": 1}))
    )
    reference = replace(source, options={**source.options, "start": "own"})
    heads = [
        shop.load_source(one).artifact.tensors["head.weight"] for one in (source, other, reference)
    ]

    assert not any(heads[place].equal(heads[place - 1]) for place in range(3))


def test_only_learned_adapters_have_trainable_weights(shop: ObjectBuilder) -> None:
    learned = Node("adapter", "adapters/transposed_convolution")
    trained = shop.build_adapter(learned, target=(1, 8, 8), source=(1, 16, 16))
    fixed = shop.build_adapter(
        Node("adapter", "adapters/resize", version=2), target=(1, 8, 8), source=(1, 16, 16)
    )
    assert trained is not None
    assert fixed is not None

    assert all(parameter.requires_grad for parameter in trained.parameters())
    assert not any(parameter.requires_grad for parameter in fixed.parameters())
