from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from advtransfer.cache import Cache
from advtransfer.node import Node
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.types import Context, Json, Samples
from advtransfer.worker.context import WorkerContext

DATA = Node("data", "vision/digits")
SUBSET = Node("subset", "host/subset", options={"n": 20, "seed": 0}, inputs={"data": DATA})
FIT = Node(
    "fit",
    "finetune/linear_probe",
    inputs={"source": Node("source", "vision/trained"), "subset": SUBSET},
)
OF = ("source", "adapter", "subset.data")
SAMPLES = toy(train=10).part("train")


def asked(
    context: Context, value: float, *, key: Json = "all", samples: Samples = SAMPLES
) -> float:
    """Ask for rows that are all `value`; what comes back is what was computed first."""

    def compute(inputs: Tensor) -> Tensor:
        return torch.full((len(inputs), 2), value)

    found = context.rows("features", {"key": key}, samples, compute, of=OF)
    assert (len(samples), 2) == found.shape
    assert found.eq(found[0, 0]).all()
    return float(found[0, 0])


@pytest.fixture
def of(tmp_path: Path) -> Callable[[Node], Context]:
    """The context of a node; all share one cache."""
    cache = Cache(tmp_path, line="cpu-1-float32")
    return lambda node: WorkerContext(
        node, (), torch.device("cpu"), cache, tmp_path, lambda _: None, "a node"
    )


def test_fits_of_one_source_adapter_and_data_set_share_rows(of: Callable[[Node], Context]) -> None:
    other = replace(
        FIT,
        use="finetune/blocks",
        inputs={**FIT.inputs, "subset": replace(SUBSET, options={"n": 50})},
    )

    assert 1.0 == asked(of(FIT), 1.0)
    assert 1.0 == asked(of(other), 2.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"source": Node("source", "vision/trained", options={"seed": 1})},
        {"adapter": Node("adapter", "adapters/resize")},
        {"subset": replace(SUBSET, inputs={"data": replace(DATA, options={"classes": [1, 2]})})},
    ],
)
def test_other_source_adapter_or_data_set_has_separate_rows(
    of: Callable[[Node], Context], changes: dict[str, Node]
) -> None:
    asked(of(FIT), 1.0)

    assert 2.0 == asked(of(replace(FIT, inputs={**FIT.inputs, **changes})), 2.0)
    assert 1.0 == asked(of(FIT), 3.0)


def test_plugins_do_not_share_rows(of: Callable[[Node], Context]) -> None:
    asked(of(FIT), 1.0)

    assert 2.0 == asked(of(replace(FIT, use="third/probe")), 2.0)


def test_other_key_or_content_has_separate_rows(of: Callable[[Node], Context]) -> None:
    for context in (of(FIT), InMemoryContext()):
        asked(context, 1.0)

        assert 2.0 == asked(context, 2.0, key="others")
        assert 3.0 == asked(context, 3.0, samples=toy(train=10, noise=0.5).part("train"))
        assert 1.0 == asked(context, 4.0)


def test_rows_count_towards_the_size_of_the_cache(tmp_path: Path) -> None:
    cache = Cache(tmp_path, line="cpu-1-float32", max_bytes=1)
    cache.put("ab" * 32, {"x": torch.zeros(10)}, {})
    context = WorkerContext(FIT, (), torch.device("cpu"), cache, tmp_path, lambda _: None, "a node")
    asked(context, 1.0)

    assert [("features", "finetune/linear_probe")] == [
        (entry.kind, entry.use) for entry in cache.list_entries()
    ]
