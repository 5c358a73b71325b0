"""Evaluations that hang or take all memory: stopped and named, and no other record is another one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from advtransfer.executors import process_tree

if TYPE_CHECKING:
    from advtransfer.testing.command import Command

SUITE = """\
version: 1
datasets: {d: {use: vision/digits, classes: [0, 1]}}
sources: {s: {use: vision/random_init, data: d, network: small_cnn, width: 2}}
targets: {t: {data: d, n: [20], seeds: 1, test: 20}}
transfers:
  probe: {use: finetune/linear_probe}
evaluations:
  clean: {use: foolbox/clean_accuracy}
  HANGS
  pgd: {use: foolbox/pgd, norm: linf, eps: 0.1, steps: 2, step_size: 0.05}
"""
HANGS = """
  sleeps: {use: hanging/evaluation, how: sleeps, timeout: 2s}
  spins: {use: hanging/evaluation, how: holds the GIL, timeout: 1s}
  stops: {use: hanging/evaluation, how: stops, timeout: 2s}
  grows: {use: hanging/evaluation, how: allocates}
"""
PLUGIN = '''\
"""Evaluations that do not end."""
import ctypes, os, signal, time
from dataclasses import dataclass
from pathlib import Path
from advtransfer.hookspecs import hookimpl
from advtransfer.types import Evaluation, component

@dataclass
class Hangs:
    how: str

    def measure(self, given, *, context):
        if Path(os.environ.get("HEALED", "nowhere")).exists():
            raise RuntimeError("tried again")
        match self.how:
            case "sleeps": time.sleep(600)
            case "holds the GIL": ctypes.PyDLL(None).sleep(600)
            case "stops": os.kill(os.getpid(), signal.SIGSTOP)
            case "allocates": kept = [bytearray(2**26) for _ in range(160)]  # 10 GiB
        raise RuntimeError("not stopped")

@component(needs=["model"])
def evaluation(*, how: str) -> Evaluation:
    """Does not end."""
    return Hangs(how)

@hookimpl
def register_evaluations():
    return [evaluation]
'''


@pytest.fixture
def hanging(install_plugin: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    site = install_plugin("hanging", PLUGIN)
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)


@pytest.mark.slow
@pytest.mark.skipif(not process_tree.HAS_PROC, reason="[proc] this system has no /proc")
@pytest.mark.usefixtures("hanging")
def test_plugins_that_hang_or_grow_are_stopped_named_and_tried_again(
    command_in: Callable[[str], Command], bare_records_of: Callable[[Path], dict[str, object]]
) -> None:
    quiet, command = command_in("undisturbed"), command_in("limited")
    (quiet.folder / "limits.yaml").write_text(SUITE.replace("HANGS", ""))
    quiet("run", "limits.yaml", "--quiet", "--jobs", "1")
    (command.folder / "limits.yaml").write_text(SUITE.replace("HANGS", HANGS.strip()))
    flags = ("run", "limits.yaml", "--json", "--jobs", "1", "--memory", "2GiB", "--timeout", "5m")
    ended = json.loads(command(*flags, exit_code=1).stdout)
    run = command.folder / "runs" / "limits"
    status = json.loads(command("status", "runs/limits", "--json").stdout)
    (failure,) = status["failures"]
    reasons = failure["evaluations"]

    assert (0, 1, 0) == (ended["done"], ended["failed"], ended["todo"])
    assert {"sleeps", "spins", "stops", "grows"} == set(reasons)
    assert "stopped in measure (hanging/hanging_plugin.py:" in reasons["sleeps"]
    assert "at its time limit of 2s" in reasons["sleeps"]
    assert "at its time limit of 1s" in reasons["spins"]
    assert "limit of 2s; a signal had stopped its worker" in reasons["stops"]
    assert reasons["grows"].startswith("stopped in hanging/evaluation: its worker used 2.")
    assert "of memory, more than the limit of 2.1 GB" in reasons["grows"]
    kept, undisturbed = (
        bare_records_of(folder) for folder in (run, quiet.folder / "runs" / "limits")
    )
    assert undisturbed == kept
    assert [] == [path.name for path in run.glob(".overdue*")]

    healed = command.folder / "healed"
    healed.touch()
    again = command(*flags, exit_code=1, HEALED=str(healed))
    status = json.loads(command("status", "runs/limits", "--json").stdout)

    assert 1 == json.loads(again.stdout)["failed"]
    assert {"RuntimeError: tried again"} == set(status["failures"][0]["evaluations"].values())
