from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from advtransfer.cache import Cache
from advtransfer.host.plugin import plugins_of
from advtransfer.node import Node
from advtransfer.types import Tensors
from advtransfer.worker.context import WorkerContext

REFERENCE = Node("source", "vision/trained")
TEST = Node("test", "host/test")
RESULT = Node("result", "alignment/alignment", inputs={"reference": REFERENCE, "test": TEST})


CPU = torch.device("cpu")


def code_of(node: Node, code: Mapping[str, str]) -> Mapping[str, str]:
    return {name: code[name] for name in plugins_of(node) & code.keys()}


@pytest.fixture
def asked(tmp_path: Path) -> Callable[..., float]:
    """Remember a number below a node; what comes back is the number that was built first."""
    cache = Cache(tmp_path, line="cpu-1-float32")

    def remember(
        node: Node,
        built: float,
        *,
        of: tuple[str, ...] | None,
        code: Mapping[str, str] | None = None,
    ) -> float:
        made_with = {} if code is None else code
        context = WorkerContext(
            node,
            (),
            CPU,
            cache,
            tmp_path,
            lambda _: None,
            "a node",
            lambda node: code_of(node, made_with),
        )
        found: Tensors = context.remember(
            "examples", {"eps": 0.1}, lambda: {"value": torch.tensor(built)}, of=of
        )
        return found["value"].item()

    return remember


def test_nodes_with_equal_named_inputs_share_cached_tensors(
    asked: Callable[..., float],
) -> None:
    other = replace(RESULT, version=2, inputs={**RESULT.inputs, "source": REFERENCE})

    assert 1.0 == asked(RESULT, 1.0, of=("reference", "test"))
    assert 1.0 == asked(other, 2.0, of=("test", "reference"))


def test_other_inputs_have_separate_cached_tensors(asked: Callable[..., float]) -> None:
    other = replace(
        RESULT, inputs={"reference": replace(REFERENCE, options={"seed": 1}), "test": TEST}
    )
    without = replace(RESULT, inputs={"test": TEST})
    asked(RESULT, 1.0, of=("reference", "test"))

    assert 2.0 == asked(other, 2.0, of=("reference", "test"))
    assert 3.0 == asked(without, 3.0, of=("reference", "test"))


def test_plugins_do_not_share_cached_tensors(asked: Callable[..., float]) -> None:
    asked(RESULT, 1.0, of=("test",))

    assert 2.0 == asked(replace(RESULT, use="third/alignment"), 2.0, of=("test",))


def test_tensors_cached_without_inputs_belong_to_the_node(asked: Callable[..., float]) -> None:
    asked(RESULT, 1.0, of=None)

    assert 2.0 == asked(replace(RESULT, version=2), 2.0, of=None)


def test_tensors_of_other_code_are_built_again(asked: Callable[..., float]) -> None:
    of = ("reference", "test")
    before = {"vision": "old", "alignment": "old", "third": "old"}
    asked(RESULT, 1.0, of=of, code=before)

    assert 1.0 == asked(RESULT, 2.0, of=of, code=before | {"third": "new"})
    assert 2.0 == asked(RESULT, 2.0, of=of, code=before | {"vision": "new"})
    assert 3.0 == asked(RESULT, 3.0, of=of, code=before | {"alignment": "new"})
    assert 4.0 == asked(RESULT, 4.0, of=("test",), code=before)
    assert 4.0 == asked(RESULT, 5.0, of=("test",), code=before | {"vision": "new"})
    asked(RESULT, 6.0, of=None, code=before)
    assert 7.0 == asked(RESULT, 7.0, of=None, code=before | {"vision": "new"})


@pytest.mark.parametrize(
    ("code", "trusted", "continued"),
    [
        ({"vision": "old"}, False, True),
        ({"vision": "new"}, False, False),
        ({"vision": "new"}, True, True),
    ],
)
def test_checkpoint_of_other_code_is_not_continued(
    tmp_path: Path, code: Mapping[str, str], trusted: bool, continued: bool
) -> None:
    cache = Cache(tmp_path, line="cpu-1-float32")

    def context(code: Mapping[str, str], trusted: bool) -> WorkerContext:
        given = (
            CPU,
            cache,
            tmp_path,
            lambda _: None,
            "a node",
            lambda node: code_of(node, code),
            trusted,
        )
        return WorkerContext(REFERENCE, (), *given)

    state = {"epoch": torch.tensor(3)}
    context({"vision": "old"}, False).save(state)
    found = context(code, trusted).saved()

    assert (state if continued else None) == found
    cache.save_checkpoint(REFERENCE.id, state)  # as an earlier release saved it
    assert state == context(code, trusted).saved()
