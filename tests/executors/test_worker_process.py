"""Workers in C code that holds the GIL end with their driver, by the kernel or by a guard."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from advtransfer.executors.worker_process import WorkerProcess

SPINNING = """
import ctypes, os
from advtransfer.executors import worker_process

def serve(wire, driver):
    if os.environ["GUARDED"] == "":
        worker_process.begin_worker(driver)
    wire.send_bytes(str(os.getpid()).encode())
    ctypes.PyDLL(None).sleep(600)  # Holds the GIL.
"""
ANSWERING = """
import os
from advtransfer.executors import worker_process

def serve(wire, driver):
    worker_process.begin_worker(driver)
    wire.send_bytes(str(os.getpid()).encode())
    wire.send_bytes(wire.recv_bytes())
"""
LEAVES_A_CHILD = """
import os, signal, subprocess, sys
from advtransfer.executors import worker_process

def serve(wire, driver):
    worker_process.begin_worker(driver)
    child = subprocess.Popen(["sleep", "600"])
    wire.send_bytes(f"{os.getpid()} {child.pid}".encode())
    os.kill(os.getpid(), signal.SIGKILL)
"""
DRIVER = """
import os, sys, time
from advtransfer.executors import worker_process
from spinning import serve

worker_process.KERNEL_KILLS_ORPHANS = os.environ["GUARDED"] == ""
worker = worker_process.WorkerProcess.start(serve, threads=1)
print(worker.wire.recv_bytes().decode(), worker.guard.pid, flush=True)
if sys.argv[1] == "hang up":
    worker.hang_up(grace=0)
    print("hung up", flush=True)
time.sleep(600)
"""


def is_alive(pid: int) -> bool:
    state = subprocess.run(
        ["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout
    return state.strip()[:1] not in ("", "Z")


def ends(pid: int, *, seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_alive(pid)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "spinning.py").write_text(SPINNING)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def start(site: Path, what: str, *, guarded: bool) -> subprocess.Popen[str]:

    path = os.pathsep.join([str(site), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, what],
        env={**os.environ, "PYTHONPATH": path, "GUARDED": "1" if guarded else ""},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    "guarded",
    [
        pytest.param(
            False,
            marks=pytest.mark.skipif(
                sys.platform != "linux", reason="[fork] only Linux kills orphans by itself"
            ),
        ),
        True,
    ],
    ids=["by the kernel", "by a guard"],
)
def test_a_worker_in_c_code_that_holds_the_gil_ends_with_its_driver(
    site: Path, guarded: bool
) -> None:
    with start(site, "spin", guarded=guarded) as driver:
        assert driver.stdout is not None
        worker, guard = map(int, driver.stdout.readline().split())
        was_alive = is_alive(worker)
        driver.send_signal(signal.SIGKILL)

    assert was_alive
    assert ends(worker)
    assert ends(guard)


def test_a_guard_ends_with_its_worker(site: Path) -> None:
    with start(site, "hang up", guarded=True) as driver:
        assert driver.stdout is not None
        worker, guard = map(int, driver.stdout.readline().split())
        driver.stdout.readline()
        left = [pid for pid in (worker, guard) if is_alive(pid)]
        driver.kill()

    assert [] == left


@pytest.mark.parametrize("how", ["with its driver", "hung up"])
def test_what_a_dead_worker_has_started_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    (tmp_path / "leaving.py").write_text(LEAVES_A_CHILD)
    monkeypatch.syspath_prepend(tmp_path)
    text = DRIVER.replace("from spinning", "from leaving").replace(
        "worker.wire.recv_bytes().decode(), worker.guard.pid",
        "worker.wire.recv_bytes().decode(), worker.process.wait()",
    )
    what = "hang up" if how == "hung up" else "die"
    path = os.pathsep.join([str(tmp_path), *sys.path])
    with subprocess.Popen(
        [sys.executable, "-c", text, what],
        env={**os.environ, "PYTHONPATH": path, "GUARDED": ""},
        stdout=subprocess.PIPE,
        text=True,
    ) as driver:
        assert driver.stdout is not None
        _, child, _ = map(int, driver.stdout.readline().split())
        was_alive = is_alive(child) or how == "hung up"
        if how == "hung up":
            driver.stdout.readline()
            left = is_alive(child)
        driver.kill()

    assert was_alive
    assert not (how == "hung up" and left)
    assert ends(child)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_signals_of_a_terminal_leave_a_worker_to_its_driver(
    site: Path, number: signal.Signals
) -> None:
    (site / "answering.py").write_text(ANSWERING)
    worker = WorkerProcess.start(importlib.import_module("answering").serve, threads=1)
    pid = int(worker.wire.recv_bytes())
    os.kill(pid, number)
    worker.wire.send_bytes(b"still there?")
    answer = worker.wire.recv_bytes()
    worker.hang_up(grace=5)

    assert b"still there?" == answer
    assert 0 == worker.process.returncode
