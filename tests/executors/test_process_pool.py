"""The pool and workers that end in every way: each job is answered, and a worker's end is that of its own job alone."""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from advtransfer.executors import in_process, process_pool
from advtransfer.executors.in_process import InlineExecutor
from advtransfer.executors.process_pool import ProcessPool
from advtransfer.jobs import Job, Report

WORKER = '''\
"""A worker that ends as its jobs say, without torch."""
import json
import os
import pathlib
import signal
import sys
import time


def work(wire, driver):
    start = os.environ.get("WORKER_STARTS", "")
    if start:
        exec(start)
    while True:
        try:
            job = wire.recv()
        except EOFError:
            return
        news = {"event": "job_started", "id": job.id, "worker": os.getpid()}
        wire.send_bytes(json.dumps({"news": news}).encode())
        retire = None
        exec(job.asked["does"])
        retire = locals().get("unfit")
        report = {"id": job.id, "status": "done", "records": [], "reason": str(os.getpid()), "retire_worker": retire}
        wire.send_bytes(json.dumps({"report": report}).encode())
'''
FORKS = """
if os.fork() == 0:
    time.sleep(20)
    os._exit(0)
os._exit(0)
"""


@pytest.fixture(autouse=True)
def light_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of the module above, which a spawned process finds on this one's path."""
    (tmp_path / "light_worker.py").write_text(WORKER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(
        process_pool, "serve_jobs", importlib.reload(importlib.import_module("light_worker")).work
    )


@pytest.fixture
def pool() -> Iterator[ProcessPool]:
    with ProcessPool(jobs=2, threads=1).start() as pool:
        yield pool


def job(id: str, does: str = "pass", *, seconds: float | None = None) -> Job:
    return Job(id, {"does": does}, Path(), Path(), "", {}, "cpu", 1, seconds=seconds)


def reports(pool: ProcessPool, *jobs: Job) -> list[Report]:
    asked: list[Future[Report]] = [pool.submit(one) for one in jobs]
    return [one.result(timeout=60) for one in asked]


def test_texts_hash_alike_in_every_worker_whatever_the_shell_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    told = tmp_path / "told.txt"
    hashed = "sys.flags.hash_randomization, hash('a text'), {'a', 'b', 'c', 'd'}"
    # Each worker retires, so that the next job finds another.
    says = f"print({hashed}, file=open({str(told)!r}, 'a')); unfit = 'told'"
    with ProcessPool(jobs=1, threads=1).start() as pool:
        first, second = (reports(pool, job(name, says))[0].reason for name in ("one", "two"))

    assert first != second
    lines = told.read_text().splitlines()
    assert [lines[0]] * 2 == lines
    assert lines[0].startswith("0 ")


@pytest.mark.parametrize(
    ("does", "words"),
    [
        ("os._exit(0)", "exit code 0"),
        ("os._exit(9)", "exit code 9"),
        ("sys.exit(3)", "exit code 3"),
        ("raise KeyboardInterrupt", "exit code 130"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL: out of memory, or killed"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("os.closerange(3, 99); time.sleep(60)", "hung up"),
        (FORKS, "exit code 0"),
    ],
    ids=[
        "exit 0",
        "exit 9",
        "sys.exit",
        "interrupt",
        "killed",
        "crashed",
        "hung up",
        "leaves a child",
    ],
)
def test_a_job_whose_worker_ends_is_lost_after_three_tries_and_the_others_are_done(
    pool: ProcessPool, does: str, words: str
) -> None:
    others = [job(f"other {number}") for number in range(4)]
    lost, *done = reports(pool, job("bad", does), *others)

    assert ("bad", "lost") == (lost.id, lost.status)
    assert "its worker died 3 times" in str(lost.reason)
    assert words in str(lost.reason)
    assert ["done"] * 4 == [one.status for one in done]


def test_a_worker_killed_once_is_replaced_and_its_job_done(
    pool: ProcessPool, tmp_path: Path
) -> None:
    marker = tmp_path / "died"
    does = f"""
marker = pathlib.Path({str(marker)!r})
if not marker.exists():
    marker.touch()
    os._exit(0)
"""

    assert ["done"] == [one.status for one in reports(pool, job("bad", does))]


def test_workers_that_die_before_their_first_job_lose_jobs_and_end_nothing(
    pool: ProcessPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKER_STARTS", "os._exit(4)")
    lost = reports(pool, job("first"), job("second"))
    monkeypatch.delenv("WORKER_STARTS")

    assert ["lost", "lost"] == [one.status for one in lost]
    assert "exit code 4" in str(lost[0].reason)
    assert ["done"] == [one.status for one in reports(pool, job("third"))]


def test_an_unfit_worker_is_replaced_before_another_job() -> None:
    with ProcessPool(jobs=1, threads=1).start() as pool:
        before, unfit, after = reports(
            pool, job("before"), job("unfit", "unfit = 'a hook was left'"), job("after")
        )
        news = [one for one in pool.news() if one["event"] == "worker_replaced"]

    assert before.reason == unfit.reason  # their process, as the worker above tells
    assert after.reason != unfit.reason
    assert (unfit.status, unfit.retire_worker) == ("done", None)
    assert [{"event": "worker_replaced", "id": "unfit", "reason": "a hook was left"}] == news


def test_a_job_is_given_up_after_its_seconds(pool: ProcessPool) -> None:
    (late,) = reports(pool, job("late", "time.sleep(60)", seconds=0.5))

    assert ("lost", "it took more than 0.5 s") == (late.status, late.reason)


def test_stopping_kills_what_runs_and_answers_what_waits() -> None:
    with ProcessPool(jobs=1, threads=1).start() as pool:
        asked = [
            pool.submit(job(name, "time.sleep(60)")) for name in ("runs", "waits", "waits too")
        ]
        pool.stop(grace=0.2)
        late = pool.submit(job("after"))

    assert {("lost", "the run was stopped")} == {
        (one.result(1).status, one.result(1).reason) for one in (*asked, late)
    }


def test_in_this_process_an_unfit_one_leaves_every_further_job_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = {
        "unfit": Report("unfit", "done", (), None, "a hook was left"),
        "before": Report("before", "done", (), None),
    }
    monkeypatch.setattr(in_process, "perform_job", lambda job, tell: done[job.id])
    with InlineExecutor(jobs=1, threads=1).start() as engine:
        told = [engine.submit(job(name)).result() for name in ("before", "unfit", "after")]

    assert ["done", "done", "busy"] == [one.status for one in told]
    assert [None, "a hook was left", "a hook was left"] == [one.retire_worker for one in told]


def test_in_this_process_only_the_user_interrupts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(
        in_process, "perform_job", lambda job, tell: os.kill(os.getpid(), signal.SIGINT)
    )
    try:
        with (
            pytest.raises(KeyboardInterrupt) as raised,
            InlineExecutor(jobs=1, threads=1).start() as engine,
        ):
            engine.submit(job("any"))

        assert "Interrupted" == raised.type.__name__
        assert signal.default_int_handler is signal.getsignal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
