"""Evaluations and fits that end their worker: counted, told and shown, and no other record is another one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from advtransfer.testing.command import Command

SUITE = """\
version: 1
datasets: {d: {use: vision/digits, classes: [0, 1]}}
sources: {s: {use: vision/random_init, data: d, network: small_cnn, width: 2}}
targets: {t: {data: d, n: [20], seeds: 1, test: 20}}
transfers:
  probe: {use: finetune/linear_probe}
  FIT
evaluations:
  clean: {use: foolbox/clean_accuracy}
  EVALUATION
  pgd: {use: foolbox/pgd, norm: linf, eps: 0.1, steps: 2, step_size: 0.05}
"""
PLUGIN = '''\
import os, signal, sys
from dataclasses import dataclass
from advtransfer.hookspecs import hookimpl
from advtransfer.types import Evaluation, Measurement, Transfer, component

@dataclass
class Dies:
    how: str
    probe: object = None

    def die(self):
        match self.how:
            case "killed": os.kill(os.getpid(), signal.SIGKILL)
            case "exit 0": os._exit(0)
            case "exit 9": os._exit(9)
            case "sys.exit": sys.exit(0)

    def measure(self, given, *, context):
        self.die()

    def model(self, **given):
        return self.probe.model(**given)

    def fit(self, model, **given):
        self.die()

@component(needs=["model"])
def measuring(*, how: str) -> Evaluation:
    """Ends its process."""
    return Dies(how)

@component(needs=["source"])
def fitting(*, how: str) -> Transfer:
    """Ends its process."""
    from advtransfer_finetune import linear_probe
    return Dies(how, linear_probe())

@hookimpl
def register_transfers():
    return [fitting]

@hookimpl
def register_evaluations():
    return [measuring]
'''
DIES_AT_START = """\
import os, sys
if "process_pool import" in " ".join(sys.orig_argv):
    os._exit(0)
"""


@pytest.fixture
def dying(install_plugin: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The plugin above, installed for this test's subprocesses; where it lies."""
    site = install_plugin("dying", PLUGIN)
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
    return site


def write(command: Command, *, fit: str | None, evaluation: str | None) -> None:
    text = SUITE.replace("FIT", f"bad: {{use: dying/fitting, how: {fit}}}" if fit else "")
    text = text.replace(
        "EVALUATION", f"bad: {{use: dying/measuring, how: {evaluation}}}" if evaluation else ""
    )
    (command.folder / "dying.yaml").write_text(text)


@pytest.mark.slow
@pytest.mark.usefixtures("dying")
@pytest.mark.parametrize(
    ("fit", "evaluation"),
    [
        (None, "killed"),
        ("exit 0", "killed"),
        ("killed", "exit 0"),
        ("sys.exit", "exit 9"),
        ("exit 9", "sys.exit"),
    ],
)
def test_a_worker_that_ends_fails_its_step_alone(
    command_in: Callable[[str], Command],
    bare_records_of: Callable[[Path], dict[str, object]],
    fit: str | None,
    evaluation: str,
) -> None:
    quiet, command = command_in("undisturbed"), command_in("disturbed")
    write(quiet, fit=None, evaluation=None)
    quiet("run", "dying.yaml", "--quiet", "--executor", "local/inline")
    write(command, fit=fit, evaluation=evaluation)
    ended = json.loads(command("run", "dying.yaml", "--json", "--jobs", "2", exit_code=1).stdout)
    run = command.folder / "runs" / "dying"
    status = json.loads(command("status", "runs/dying", "--json").stdout)
    page = (run / "leaderboard.md").read_text()
    reasons = {one["evaluation"]: one["reason"] for one in status["failures"]}

    assert (0, 2 if fit else 1, 0) == (ended["done"], ended["failed"], ended["todo"])
    assert ended["failed"] == status["failed"]
    assert ({None, "bad"} if fit else {"bad"}) == set(reasons)
    assert f"planned, 0 done, {ended['failed']} failed" in page
    assert "| failed |      1 | bad: " in page
    kept, undisturbed = (
        bare_records_of(folder) for folder in (run, quiet.folder / "runs" / "dying")
    )
    assert undisturbed == kept


def test_workers_that_die_before_their_first_job_fail_every_trial(
    command: Command, tmp_path: Path
) -> None:
    site = tmp_path / "start"
    site.mkdir()
    (site / "sitecustomize.py").write_text(DIES_AT_START)
    write(command, fit=None, evaluation=None)
    ended = command(
        "run",
        "dying.yaml",
        exit_code=1,
        PYTHONPATH=os.pathsep.join([str(site), command.environment.get("PYTHONPATH", "")]),
    )

    assert "source s: lost: its worker died 3 times (exit code 0" in ended.stderr
    assert "1 trial: 0 done, 1 failed" in ended.stdout
    assert "Traceback" not in ended.stderr
    assert "1 failed" in command("status", "runs/dying").stdout
