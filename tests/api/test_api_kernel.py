"""Ctrl-C in a notebook's cell is Ctrl-C in a shell: a real kernel, a real interrupt, a real shell after it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from advtransfer.testing.command import Command

pytestmark = pytest.mark.filterwarnings("default")  # Jupyter's own

SUITE = """\
version: 1
datasets:
  high: {use: vision/digits, classes: [5, 6, 7]}
sources:
  random: {use: vision/random_init, data: high}
targets:
  digits: {data: high, n: [20, 30], seeds: 10, test: 60}
transfers:
  probe: {use: finetune/linear_probe}
evaluations:
  pgd: {use: foolbox/pgd, norm: linf, eps: 0.1, steps: 20, step_size: 0.02}
"""
Message = dict[str, Any]  # Any: Jupyter's messages are as varied as JSON


class Kernel:
    """A running Jupyter kernel, and the reply and output of each cell."""

    def __init__(self, folder: Path) -> None:
        start_new_kernel = pytest.importorskip("jupyter_client.manager").start_new_kernel
        path = os.pathsep.join(sys.path)
        environment = os.environ | {"PYTHONPATH": path, "IPYTHONDIR": str(folder / "ipython")}
        self.manager, self.client = start_new_kernel(
            kernel_name="python3", cwd=str(folder), env=environment
        )

    def begin_cell(self, code: str) -> str:
        return str(self.client.execute(code))

    def end_cell(self, identity: str) -> tuple[Message, str]:
        """Wait for a cell's end; return the reply's content and what it printed."""
        deadline = time.monotonic() + 120
        while True:
            reply = self.client.get_shell_msg(timeout=deadline - time.monotonic())
            if reply["parent_header"]["msg_id"] == identity:
                break
        texts = []
        while True:
            message = self.client.get_iopub_msg(timeout=deadline - time.monotonic())
            if message["parent_header"].get("msg_id") != identity:
                continue
            if message["msg_type"] == "stream":
                texts.append(message["content"]["text"])
            if message["content"].get("execution_state") == "idle":
                return reply["content"], "".join(texts)

    def children(self) -> list[str]:
        """Return the commands of the processes that the kernel started and that still run."""
        import psutil

        kernel = psutil.Process(self.manager.provisioner.pid)
        return [" ".join(child.cmdline()) for child in kernel.children(recursive=True)]


@pytest.fixture
def kernel(own_folder: Path) -> Iterator[Kernel]:
    pytest.importorskip("ipykernel", reason="[notebook] ipykernel is not installed")
    running = Kernel(own_folder)
    yield running
    running.client.stop_channels()
    running.manager.shutdown_kernel(now=True)


def wait_for_event(log: Path, name: str) -> None:
    deadline = time.monotonic() + 120
    while not log.is_file() or f'"event": "{name}"' not in log.read_text():
        assert time.monotonic() < deadline, f"no event {name}"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interrupted_cell_ends_in_order_and_its_run_goes_on_in_a_shell(
    jobs: int, kernel: Kernel, own_folder: Path
) -> None:
    (own_folder / "tiny.yaml").write_text(SUITE)
    run = own_folder / "runs" / "tiny"
    cell = kernel.begin_cell(
        f"import advtransfer as at\nat.run('tiny.yaml', jobs={jobs}, battery='none')"
    )
    wait_for_event(run / "events.jsonl", "trial_finished")
    kernel.manager.interrupt_kernel()
    interrupted, printed = kernel.end_cell(cell)
    alive, said = kernel.end_cell(
        kernel.begin_cell(
            "rows = at.open('runs/tiny').rows()\n"
            "print(len(rows) > 0, issubclass(at.run.__globals__['Interrupted'], KeyboardInterrupt))"
        )
    )
    children = kernel.children()
    shell = Command(own_folder, os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    before = json.loads(shell("status", "runs/tiny", "--json").stdout)
    kept = {path: path.stat().st_mtime_ns for path in run.glob("records/*/*.json")}
    arguments = ["run", "tiny.yaml", "--battery", "none", "--jobs", str(jobs), "--json"]
    after = json.loads(shell(*arguments).stdout)

    assert "Interrupted" == interrupted["ename"]  # A KeyboardInterrupt.
    assert "0 failed" in interrupted["evalue"]
    assert "interrupted: run the same command again to continue" in interrupted["evalue"]
    assert "[ 1/20] random -> digits" in printed
    assert "Traceback" not in printed
    assert ("ok", "True True\n") == (alive["status"], said)
    assert [] == children
    assert (0, 0) == (before["failed"], len(before["damaged"]))
    assert before["done"] > 0 < before["todo"]
    assert 20 == before["done"] + before["todo"]
    assert (20, 0, 0) == (after["done"], after["failed"], after["todo"])
    assert kept == {path: path.stat().st_mtime_ns for path in kept}, "what was done is kept"
    assert not list(run.glob("attempts/*/*.json"))
