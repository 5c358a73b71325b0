"""What end-to-end tests share: a small suite on real digits, and the command as a user types it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from advtransfer.cli import main
from advtransfer.testing.command import Command
from advtransfer.worker.object_builder import installed_host

SUITE = """\
version: 1
title: Twelve small trials
datasets:
  low: {use: vision/digits, classes: [0, 1, 2]}
  high: {use: vision/digits, classes: [5, 6, 7]}
sources:
  natural: {use: vision/trained, data: low, epochs: 2}
  random: {use: vision/random_init, data: low}
targets:
  digits: {data: high, n: [20, 30], seeds: 3, test: 60}
transfers:
  probe: {use: finetune/linear_probe}
evaluations:
  clean: {use: foolbox/clean_accuracy}
  pgd: {use: foolbox/pgd, norm: linf, eps: 0.1, steps: 3, step_size: 0.05}
leaderboard:
  baseline: natural
  rank_by: clean.accuracy
  columns: [clean.accuracy, pgd.robust_accuracy]
  figures: [{kind: accuracy_vs_n, metric: clean.accuracy}]
"""

FAULTY = '''\
"""Transfers that go wrong, each in its own way."""

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Transfer, component


def _probe():
    from advtransfer_finetune import linear_probe

    return linear_probe()


class _Faulty:
    def __init__(self, fault):
        self.fault, self.probe = fault, _probe()

    def model(self, **given):
        return self.probe.model(**given)

    def fit(self, model, *, train, context, **given):
        self.fault(train, context)
        return self.probe.fit(model, train=train, context=context, **given)


@component(needs=["source"])
def raises(*, message: str = "no luck") -> Transfer:
    """Raises on the subsets of 20 images."""

    def fault(train, context):
        if len(train) == 20:
            raise RuntimeError(message)

    return _Faulty(fault)


@component(needs=["source"])
def diverges() -> Transfer:
    """Diverges."""
    from advtransfer.errors import Diverged

    def fault(train, context):
        raise Diverged(3, float("inf"))

    return _Faulty(fault)


@component(needs=["source"])
def refuses() -> Transfer:
    """Says that the cell makes no sense."""
    from advtransfer.errors import Inapplicable

    def fault(train, context):
        raise Inapplicable("this source has no blocks")

    return _Faulty(fault)


@component(needs=["source"])
def dies(*, always: bool = True, marker: str = "") -> Transfer:
    """Kills its own worker; only the first time unless `always`."""
    import os
    import pathlib
    import signal

    def fault(train, context):
        first = not pathlib.Path(marker).exists()
        pathlib.Path(marker).touch()
        if always or first:
            os.kill(os.getpid(), signal.SIGKILL)

    return _Faulty(fault)


@component(needs=["source"])
def lingers(*, seconds: float = 60.0) -> Transfer:
    """Takes its time."""
    import time

    def fault(train, context):
        time.sleep(seconds)

    return _Faulty(fault)


@hookimpl
def register_transfers():
    return [raises, diverges, refuses, dies, lingers]
'''


@pytest.fixture
def command_in(tmp_path: Path) -> Callable[[str], Command]:
    """A command for a fresh folder (and cache) of the given name, with the small suite in it as ``small.yaml``."""

    def make(name: str) -> Command:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "small.yaml").write_text(SUITE)
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("ADVTRANSFER", "COV_"))
        }
        return Command(folder, kept | {"ADVTRANSFER_CACHE": str(folder / "cache"), "NO_COLOR": "1"})

    return make


@pytest.fixture
def command(command_in: Callable[[str], Command]) -> Command:
    """A command in a fresh folder."""
    return command_in("here")


@pytest.fixture
def inline(command: Command, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The same command in this process, which loads torch once: for tests to which its processes do not matter."""
    monkeypatch.chdir(command.folder)
    monkeypatch.setenv("ADVTRANSFER_CACHE", command.environment["ADVTRANSFER_CACHE"])

    def run(*arguments: str, exit_code: int = 0) -> Result:
        executor = ["--executor", "local/inline"] if arguments[0] == "run" else []
        ended = CliRunner().invoke(main, [*arguments, *executor])
        assert ended.exit_code == exit_code, ended.output
        return ended

    return run


@pytest.fixture
def faulty(
    install_plugin: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The plugin `faulty`, installed for this test and its subprocesses; where it lies."""
    site = install_plugin("faulty", FAULTY)
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
    monkeypatch.syspath_prepend(site)
    modules = set(sys.modules)
    installed_host.cache_clear()
    yield site
    installed_host.cache_clear()
    for name in set(sys.modules) - modules:
        if name.endswith("_plugin"):
            del sys.modules[name]


def records(run: Path) -> dict[str, str]:
    """Every record of a run without what was observed, as text, by id."""
    found = {}
    for path in run.glob("records/*/*.json"):
        record = json.loads(path.read_text())
        del record["observed"]
        found[path.stem] = json.dumps(record, sort_keys=True)
    return found


@pytest.fixture
def records_of() -> Callable[[Path], dict[str, str]]:
    """The function `records`, since test files do not import one another."""
    return records


@pytest.fixture
def bare_records_of() -> Callable[[Path], dict[str, Any]]:
    """Records with their environment but for the plugins that a suite uses, by id."""

    def bare(run: Path) -> dict[str, Any]:  # Any: JSON
        found = {name: json.loads(text) for name, text in records(run).items()}
        for record in found.values():
            digest = record["provenance"]["environment"]
            environment = json.loads((run / "environments" / f"{digest}.json").read_text())
            environment.pop("plugins", None)
            record["provenance"]["environment"] = environment
        return found

    return bare
