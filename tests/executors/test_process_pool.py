"""The pool and workers that end in every way: each job is answered, and a worker's end is that of its own job alone."""

from __future__ import annotations

import importlib
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from advtransfer.errors import BadInput
from advtransfer.executors import in_process, job_watch, process_pool, process_tree
from advtransfer.executors.in_process import InlineExecutor
from advtransfer.executors.process_pool import ProcessPool
from advtransfer.jobs import Job, Report
from advtransfer.process_id import process_start

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
        step = {"event": "step_started", "id": job.id, "step": job.id, "use": "light/worker"}
        wire.send_bytes(json.dumps({"news": step}).encode())
        retire = None
        exec(job.asked["does"])
        retire = locals().get("unfit")
        report = {"id": job.id, "status": "done", "records": [], "reason": str(os.getpid()), "retire_worker": retire}
        wire.send_bytes(json.dumps({"report": report}).encode())
'''
STOPS = "os.kill(os.getpid(), signal.SIGSTOP)"
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
        ("os.kill(os.getpid(), signal.SIGTERM)", "SIGTERM: it crashed, or was killed"),
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
        "terminated",
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


def test_a_worker_that_ignores_its_own_alarm_is_killed_after_a_while(
    pool: ProcessPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_watch, "SILENT_GRACE", 0.5)
    (late,) = reports(pool, job("late", "time.sleep(60)", seconds=0.5))

    assert ("lost", True) == (late.status, late.broke_limit)
    assert "stopped in light/worker at its time limit of 0.5s" == late.reason


def test_a_stopped_worker_is_killed_at_its_limit_and_told_as_such(pool: ProcessPool) -> None:
    began = time.monotonic()
    (late,) = reports(pool, job("late", STOPS, seconds=0.5))

    assert "lost" == late.status
    assert "time limit of 0.5s; a signal had stopped its worker" in str(late.reason)
    assert time.monotonic() - began < 20


def test_a_stopped_worker_without_a_limit_is_told_and_goes_on_when_it_is_continued(
    pool: ProcessPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_watch, "STOPPED_CHECK_SECONDS", 0.2)
    monkeypatch.setattr(job_watch, "STOPPED_TOLD_SECONDS", 0.4)
    future = pool.submit(job("silent", STOPS))
    warnings: list[str] = []
    while not warnings:
        warnings = [str(one["text"]) for one in pool.news() if one["event"] == "warning"]
        time.sleep(0.05)
    pid = int(warnings[0].split("worker ")[1].split()[0])
    os.kill(pid, signal.SIGCONT)

    assert f"`kill -CONT {pid}` lets it go on" in warnings[0]
    assert "in light/worker (silent)" in warnings[0]
    assert ("done", str(pid)) == (future.result(30).status, future.result().reason)


GROWS = "kept = [bytearray(2**20) for _ in range(600)]; time.sleep(60)"
IN_A_CHILD = f"""
if os.fork() == 0:
    {GROWS}
time.sleep(60)
"""


@pytest.mark.skipif(not process_tree.HAS_PROC, reason="[proc] this system has no /proc")
@pytest.mark.parametrize("does", [GROWS, IN_A_CHILD], ids=["itself", "a child"])
def test_a_job_above_the_memory_limit_is_stopped_with_its_children(does: str) -> None:
    before = set(process_tree.descendants(os.getpid()))
    with ProcessPool(jobs=1, threads=1, memory_limit=200 * 2**20).start() as pool:
        future = pool.submit(job("grows", does))
        report = future.result(timeout=60)
        (pid,) = {one["worker"] for one in pool.news() if one["event"] == "job_started"}
        (after,) = reports(pool, job("after"))

    assert "lost" == report.status
    assert re.fullmatch(
        r"stopped in light/worker: its worker used \d+\.\d MB of memory, more than the limit of 209\.7 MB",
        str(report.reason),
    )
    assert process_start(int(str(pid))) is None
    assert "done" == after.status
    assert before.issuperset(process_tree.descendants(os.getpid()))


@pytest.mark.skipif(not process_tree.HAS_PROC, reason="[proc] this system has no /proc")
@pytest.mark.parametrize("retires", [True, False], ids=["that retires", "at the end"])
def test_processes_that_a_job_has_left_end_with_their_worker(retires: bool, tmp_path: Path) -> None:
    note = tmp_path / "child"
    does = f"""
child = os.fork()
if child == 0:
    time.sleep(60)
    os._exit(0)
pathlib.Path({str(note)!r}).write_text(str(child))
unfit = {"it forked" if retires else None!r}
"""
    with ProcessPool(jobs=1, threads=1).start() as pool:
        (report,) = reports(pool, job("forks", does))

    assert "done" == report.status
    deadline = time.monotonic() + 10  # a killed process takes a moment to end
    while process_start(int(note.read_text())) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.skipif(not process_tree.HAS_PROC, reason="[proc] this system has no /proc")
def test_memory_that_earlier_jobs_have_left_is_not_held_against_a_job() -> None:
    leaves = "import builtins; builtins.left = bytearray(120 * 2**20)"
    takes = "kept = bytearray(120 * 2**20); time.sleep(0.5)"
    with ProcessPool(jobs=1, threads=1, memory_limit=200 * 2**20).start() as pool:
        told = reports(pool, job("leaves", leaves), job("takes", takes))

    assert ["done", "done"] == [one.status for one in told]


def test_forked_memory_is_counted_once() -> None:
    if not process_tree.HAS_PROC:
        pytest.skip("[proc] this system has no /proc")
    code = """
import os, sys
kept = bytearray(b"x") * (100 * 2**20)
children = [os.fork() for _ in range(3)]
if all(children):
    print("ready", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        used = process_tree.memory_in_use(process.pid, limit=2**20)
        naive = process_tree.memory_in_use(process.pid, limit=2**40)
        process_tree.kill_descendants(process.pid)
        process.kill()

    assert used < 200 * 2**20 < naive


def test_a_system_that_hides_the_memory_of_processes_refuses_a_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process_tree, "HAS_PROC", False)
    with pytest.raises(BadInput, match="found --memory on a system without /proc"):
        ProcessPool(jobs=1, threads=1, memory_limit=2**30)


def test_workers_take_the_devices_in_turn() -> None:
    holds = "time.sleep(1); unfit = job.device"
    with ProcessPool(jobs=4, threads=1, devices=["cuda:0", "cuda:1"]).start() as pool:
        reports(pool, *(job(str(number), holds) for number in range(8)))
        taken = Counter(one["reason"] for one in pool.news() if one["event"] == "worker_replaced")

    assert {"cuda:0", "cuda:1"} == set(taken)
    assert 8 == taken.total()


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
