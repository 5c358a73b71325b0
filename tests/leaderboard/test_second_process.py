"""A large page by two processes: the same page, and a value also where the second process ends without one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from advtransfer.leaderboard import make_page
from advtransfer.leaderboard.second_process import LARGE_TRIALS, compute_beside
from advtransfer.types import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.leaderboard.conftest import Bench

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2,
    reason="one processor, or no fork [fork]",
)


@pytest.fixture(autouse=True)
def _without_other_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker of pytest-xdist has threads of its own, which wait for messages."""
    present = threading.active_count()
    monkeypatch.setattr(threading, "active_count", lambda: count() - present + 1)


count = threading.active_count


def test_a_large_run_is_computed_in_another_process() -> None:
    assert os.getpid() != compute_beside(os.getpid, trials=LARGE_TRIALS)()


def test_a_small_run_and_one_beside_threads_are_computed_here() -> None:
    assert os.getpid() == compute_beside(os.getpid, trials=LARGE_TRIALS - 1)()
    finish = threading.Event()
    other = threading.Thread(target=finish.wait)
    other.start()
    try:
        assert os.getpid() == compute_beside(os.getpid, trials=LARGE_TRIALS)()
    finally:
        finish.set()
        other.join()


def test_it_begins_at_once_and_sees_what_was_read_before() -> None:
    values = ["read before"]
    wait_for_value = compute_beside(lambda: tuple(values), trials=LARGE_TRIALS)
    values.append("read later")
    assert ("read before",) == wait_for_value()


def test_a_second_process_that_is_killed_leaves_the_work_to_the_first() -> None:
    first = os.getpid()

    def end_unless_first() -> int:
        if os.getpid() != first:
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()

    assert first == compute_beside(end_unless_first, trials=LARGE_TRIALS)()


def test_one_that_is_killed_while_it_sends_does_so_too() -> None:
    first = os.getpid()
    wait_for_value = compute_beside(lambda: [os.getpid(), bytes(2**24)], trials=LARGE_TRIALS)
    time.sleep(0.5)  # By now it waits for somebody to read: a pipe holds 64 KiB.
    for process in multiprocessing.active_children():
        process.kill()

    assert [first, bytes(2**24)] == wait_for_value()


def test_an_error_is_raised_in_the_first_process(capfd: pytest.CaptureFixture[str]) -> None:
    def divide_by_zero() -> float:
        return 1 / 0

    wait_for_value = compute_beside(divide_by_zero, trials=LARGE_TRIALS)
    with pytest.raises(ZeroDivisionError):
        wait_for_value()
    assert ("", "") == capfd.readouterr()


def test_two_processes_make_the_same_page(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for source in ("natural", "robust"):
        for seed in range(3):
            trial = bench.trial(source, seed, 0.5 + 0.1 * seed, 0.2 + 0.1 * seed, n=20 + 80 * seed)
            if source == "robust":
                bench.checked(
                    trial, [Outcome.BROKEN] * 600 + [Outcome.ROBUST] * 400, range(500, 620)
                )
    alone = make_page(bench.run())
    beside: list[int] = []

    def counted(function: Callable[[], object], *, trials: int) -> Callable[[], object]:
        beside.append(trials)
        return compute_beside(function, trials=LARGE_TRIALS)

    monkeypatch.setattr("advtransfer.leaderboard.page.compute_beside", counted)
    monkeypatch.setattr("advtransfer.leaderboard.result_folding.compute_beside", counted)
    page = make_page(bench.run())
    assert [6, 6] == beside
    assert (alone.markdown, alone.figures) == (page.markdown, page.figures)
