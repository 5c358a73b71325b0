"""Sharing of the frozen layers' activations among fits, with the same bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from advtransfer.cache import Cache
from advtransfer.node import Node
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.datasets import SampleSubset
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.types import Context, Samples, Tensors, Transfer
from advtransfer.worker.context import WorkerContext
from advtransfer_finetune import target_model
from advtransfer_finetune.components import blocks, linear_probe, logit_affine

DATA = toy(noise=0.9, train=200, test=60)
METHODS: dict[str, Callable[..., Transfer]] = {
    "probe": linear_probe,
    "sgd": lambda **how: linear_probe(solver="sgd", epochs=2, **how),
    "affine": logit_affine,
    "head": lambda **how: blocks(blocks=0, epochs=2, **how),
    "one": lambda **how: blocks(blocks=1, epochs=2, **how),
    "two": lambda **how: blocks(blocks=2, epochs=2, **how),
}


def subset(*, count: int, seed: int) -> Samples:
    chosen = torch.randperm(200, generator=torch.Generator().manual_seed(seed))[:count]
    return SampleSubset(DATA.part("train"), chosen)


def fit(
    transfer: Transfer,
    source: BlockNetwork,
    context: Context,
    *,
    train: Samples,
    seen: list[int] | None = None,
) -> dict[str, Tensor]:
    """Return the fitted state; `seen` collects the sizes of the first block's batches."""
    model = transfer.model(source=source, adapter=None, target=DATA.card())
    if seen is not None:
        first = model.get_submodule("network.body.low")
        first.register_forward_pre_hook(
            lambda _, inputs: seen.append(len(inputs[0])) if len(inputs[0]) > 1 else None
        )
    transfer.fit(model, source=source, adapter=None, train=train, validation=None, context=context)
    if isinstance(context, WorkerContext):  # what the host does when a fit is over
        context.cache.delete_checkpoint(context.node.id)
    return model.state_dict()


class Forgetful(InMemoryContext):
    """Return a context for consecutive fits, which stores rows but no training state."""

    def save(self, state: Tensors) -> None:
        """Store nothing."""


@pytest.fixture
def context(tmp_path: Path) -> Context:
    inputs = {
        "source": Node("source", "vision/trained"),
        "subset": Node("subset", "host/subset", inputs={"data": Node("data", "vision/digits")}),
    }
    node, cache = (
        Node("fit", "finetune/linear_probe", inputs=inputs),
        Cache(tmp_path, line="cpu-1-float32"),
    )
    return WorkerContext(
        node, ("fit",), torch.device("cpu"), cache, tmp_path, lambda _: None, "a fit"
    )


@pytest.mark.parametrize("name", METHODS)
def test_sharing_changes_no_bit(source: BlockNetwork, context: Context, name: str) -> None:
    # Other fits have filled the cache before, in another order.
    fit(METHODS[name](), source, context, train=subset(count=150, seed=0))
    train = subset(count=70, seed=1)
    shared = fit(METHODS[name](), source, context, train=train)
    alone = fit(METHODS[name](cached=False), source, context, train=train)

    assert all(tensor.equal(alone[name]) for name, tensor in shared.items())


@pytest.mark.parametrize("name", METHODS)
def test_cached_images_need_no_forward_pass(
    source: BlockNetwork, context: Context, name: str
) -> None:
    seen: list[int] = []
    fit(METHODS[name](), source, context, train=subset(count=100, seed=0))
    fit(METHODS[name](), source, context, train=subset(count=50, seed=0), seen=seen)
    assert [] == seen

    fit(METHODS[name](cached=False), source, context, train=subset(count=50, seed=0), seen=seen)
    assert seen


def test_methods_that_read_the_same_layer_share(source: BlockNetwork, context: Context) -> None:
    seen: list[int] = []
    train = subset(count=100, seed=0)
    fit(METHODS["probe"](), source, context, train=train)
    for name in ("sgd", "head"):
        fit(METHODS[name](), source, context, train=train, seen=seen)
    assert [] == seen

    fit(METHODS["affine"](), source, context, train=train, seen=seen)
    assert seen


def test_large_activations_are_not_shared(
    source: BlockNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An image has 6 x 4 x 4 activations after each of the first two blocks, and then 20.
    monkeypatch.setattr(target_model, "MAX_SHARED_BYTES", 4 * 6 * 4 * 4 - 1)
    context = Forgetful()
    for name in ("two", "one"):
        fit(METHODS[name](), source, context, train=subset(count=50, seed=0))
    assert {} == context.stored

    fit(METHODS["head"](), source, context, train=subset(count=50, seed=0))
    assert [50] == [len(rows) for rows in context.stored.values()]


def test_changing_activations_are_not_shared(source: BlockNetwork) -> None:
    context = Forgetful()
    for transfer in (
        blocks(blocks=1, epochs=1, batch_norm="adapt"),
        blocks(blocks=1, epochs=1, augment=("flip",)),
        blocks(blocks=3, epochs=1),
        blocks(blocks=1, epochs=1, activations="every_epoch"),
    ):
        fit(transfer, source, context, train=subset(count=50, seed=0))

    assert {} == context.stored


def test_blocks_have_separate_cache_entries(source: BlockNetwork) -> None:
    context = Forgetful()
    for count in (0, 1, 2):
        fit(blocks(blocks=count, epochs=1), source, context, train=subset(count=50, seed=0))
    shapes = [tuple(next(iter(rows.values())).shape) for rows in context.stored.values()]

    assert [(20,), (6, 4, 4), (6, 4, 4)] == shapes


class Twice(nn.Module):
    """A fixed adapter."""

    def forward(self, images: Tensor) -> Tensor:
        return 2 * images


def test_features_are_those_behind_the_adapter(source: BlockNetwork) -> None:
    context, transfer = Forgetful(), linear_probe()
    model = transfer.model(source=source, adapter=Twice(), target=DATA.card())
    train = subset(count=30, seed=0)
    transfer.fit(
        model, source=source, adapter=Twice(), train=train, validation=None, context=context
    )
    (rows,) = context.stored.values()
    with torch.no_grad():
        expected = source.features(2 * train.inputs(torch.arange(30)))

    torch.testing.assert_close(expected, torch.stack([rows[key] for key in train.keys]))
