from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from advtransfer.cache import Cache
from advtransfer.node import Node
from advtransfer.trial.context import WorkerContext
from advtransfer.types import Tensors

REFERENCE = Node("source", "vision/trained")
TEST = Node("test", "host/test")
RESULT = Node("result", "alignment/alignment", inputs={"reference": REFERENCE, "test": TEST})


@pytest.fixture
def asked(tmp_path: Path) -> Callable[..., float]:
    """Remember a number below a node; what comes back is the number that was built first."""
    cache = Cache(tmp_path, line="cpu-1-float32")

    def remember(node: Node, built: float, *, of: tuple[str, ...] | None) -> float:
        context = WorkerContext(node, (), torch.device("cpu"), cache, tmp_path, lambda _: None, "a node")
        found: Tensors = context.remember("examples", {"eps": 0.1}, lambda: {"value": torch.tensor(built)}, of=of)
        return found["value"].item()

    return remember


def test_nodes_that_share_the_named_inputs_share_what_is_remembered(asked: Callable[..., float]) -> None:
    other = replace(RESULT, version=2, inputs={**RESULT.inputs, "source": REFERENCE})

    assert 1.0 == asked(RESULT, 1.0, of=("reference", "test"))
    assert 1.0 == asked(other, 2.0, of=("test", "reference"))


def test_another_input_is_another_thing_to_remember(asked: Callable[..., float]) -> None:
    other = replace(RESULT, inputs={"reference": replace(REFERENCE, options={"seed": 1}), "test": TEST})
    without = replace(RESULT, inputs={"test": TEST})
    asked(RESULT, 1.0, of=("reference", "test"))

    assert 2.0 == asked(other, 2.0, of=("reference", "test"))
    assert 3.0 == asked(without, 3.0, of=("reference", "test"))


def test_plugins_do_not_share_what_they_remember(asked: Callable[..., float]) -> None:
    asked(RESULT, 1.0, of=("test",))

    assert 2.0 == asked(replace(RESULT, use="third/alignment"), 2.0, of=("test",))


def test_what_is_remembered_without_inputs_is_the_nodes_own(asked: Callable[..., float]) -> None:
    asked(RESULT, 1.0, of=None)

    assert 2.0 == asked(replace(RESULT, version=2), 2.0, of=None)
