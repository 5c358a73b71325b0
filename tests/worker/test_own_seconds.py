"""The seconds of a fit that are its own: without what other fits share, unless it continued a killed one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from advtransfer.cache import Cache
from advtransfer.node import Node
from advtransfer.types import Tensors
from advtransfer.worker import context as context_module
from advtransfer.worker.context import WorkerContext
from advtransfer.worker.fit import OWN_SECONDS, _own_seconds

SOURCE = Node("source", "third/source", 1, {}, {})
FIT = Node("fit", "third/transfer", 1, {}, {"source": SOURCE})


class Clock:
    """A clock that moves when it is told to."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(context_module, "time", clock)
    return clock


@pytest.fixture
def make_context(tmp_path: Path) -> Callable[[], WorkerContext]:
    cache = Cache(tmp_path, line="cpu-1-float32")
    return lambda: WorkerContext(
        FIT, ("fit",), torch.device("cpu"), cache, tmp_path, lambda _: None, "a fit"
    )


def build_in(clock: Clock, seconds: float) -> Callable[[], Tensors]:
    def build() -> Tensors:
        clock.now += seconds
        return {"value": torch.zeros(1)}

    return build


def test_what_fits_share_is_not_their_own(
    clock: Clock, make_context: Callable[[], WorkerContext]
) -> None:
    context = make_context()
    context.remember("teacher", {}, build_in(clock, 5), of=("source",))
    context.remember("own", {}, build_in(clock, 2))

    def outer() -> Tensors:
        clock.now += 1
        return context.remember("inner", {}, build_in(clock, 3), of=("source",))

    context.remember("outer", {}, outer, of=("source",))

    # 5, and 1 + 3 once although one is inside the other.
    assert context.shared_time.seconds == 9
    assert _own_seconds(20.0, context.shared_time) == {OWN_SECONDS: 11.0}
    # Nothing is built a second time.
    again = make_context()
    again.remember("teacher", {}, build_in(clock, 5), of=("source",))
    assert _own_seconds(11.0, again.shared_time) == {OWN_SECONDS: 11.0}


def test_a_fit_that_continues_a_killed_one_has_no_seconds_of_its_own(
    make_context: Callable[[], WorkerContext],
) -> None:
    killed = make_context()
    assert killed.saved() is None
    killed.save({"student/epoch": torch.tensor(1)})
    # A second training in the same call reads the state that the first has saved.
    assert killed.saved() is not None
    assert OWN_SECONDS in _own_seconds(1.0, killed.shared_time)

    resumed = make_context()
    assert resumed.saved() is not None
    assert _own_seconds(1.0, resumed.shared_time) == {}
