"""A third party's plugin that prints wherever it can, and one that exits: real distributions, real processes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from advtransfer.testing.command import Command

LOUD = '''\
"""Prints whenever it is called: from Python and from C, in the driver and in workers."""

import atexit
import ctypes
import subprocess
import sys

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Evaluation, Measurement, component


def shout(where):
    print("LOUD", where)
    print("LOUD", where, file=sys.__stdout__)
    ctypes.CDLL(None).puts(b"LOUD in C")
    subprocess.run(["echo", "LOUD child"])
    ctypes.CDLL(None).fflush(None)


shout("import")
atexit.register(shout, "exit")


class Loud:
    def measure(self, given, *, context):
        shout("measure")
        return Measurement(metrics={"ok": 1.0})


@component(needs=[])
def loud(*, of: int = 1) -> Evaluation:
    """Loud."""
    shout("factory")
    return Loud()


@hookimpl
def register_evaluations():
    shout("register")
    return [loud]


@hookimpl
def trial_finished(trial, metrics):
    shout("trial_finished")
'''
LEAVING = "import sys\nsys.exit(3)\n"
# The misspelt hook name is on purpose.
MISSPELT = """\
from advtransfer.hookspecs import hookimpl
@hookimpl
def register_evaluationz():
    return []
"""
SUITE = """\
version: 1
datasets: {d: {use: vision/digits, classes: [0, 1]}}
sources: {s: {use: vision/random_init, data: d}}
targets: {t: {data: d, n: [20], seeds: 1, test: 20}}
transfers: {probe: {use: finetune/linear_probe}}
evaluations: {loud: {use: loud/loud}}
"""


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., Command]:
    """The command line beside plugins that are installed by a text each."""

    def installed(**plugins: str) -> Command:
        for name, text in plugins.items():
            info = tmp_path / "plugins" / f"third_party_{name}-0.1.dist-info"
            info.mkdir(parents=True)
            (info / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: third-party-{name}\nVersion: 0.1\n"
            )
            (info / "entry_points.txt").write_text(f"[advtransfer]\n{name} = third_party_{name}\n")
            (tmp_path / "plugins" / f"third_party_{name}.py").write_text(text)
        (tmp_path / "loud.yaml").write_text(SUITE)
        path = f"{tmp_path / 'plugins'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        return Command(
            tmp_path, {**os.environ, "PYTHONPATH": path, "XDG_CACHE_HOME": str(tmp_path / "cache")}
        )

    return installed


def test_output_of_plugins_is_never_part_of_the_product(command: Callable[..., Command]) -> None:
    here = command(loud=LOUD)
    ways = [
        ["list", "--json"],
        ["schema"],
        ["show", "loud/loud", "--json"],
        ["run", "loud.yaml", "--json", "--plugin", "loud", "--jobs", "1"],
        ["plan", "loud.yaml", "--json"],
        ["status", "runs/loud", "--json"],
    ]
    for arguments in ways:
        result = here(*arguments)
        product = json.loads(result.stdout)

        assert arguments[0] == "status" or "LOUD import" in result.stderr
        if arguments[0] == "run":
            assert 1 == product["done"]
            assert {"LOUD measure", "LOUD trial_finished", "LOUD in C", "LOUD child"} <= set(
                result.stderr.splitlines()
            )


def test_broken_plugins_are_named_and_the_others_are_listed(
    command: Callable[..., Command],
) -> None:
    here = command(leaving=LEAVING, loud=LOUD, misspelt=MISSPELT)
    listed = here("list", "--json", exit_code=1)
    schema = here("schema", exit_code=1)

    assert {"loud/loud", "foolbox/pgd", "vision/digits"} <= {
        one["name"] for one in json.loads(listed.stdout)
    }
    assert "loud.loud" in json.loads(schema.stdout)["$defs"]
    for done in (listed, schema):
        reports = [line for line in done.stderr.splitlines() if line.startswith("plugin ")]
        place = here.folder / "plugins" / "third_party_leaving.py"
        assert [
            f"plugin 'leaving': fails to import: SystemExit: 3 ({place}:2)",
            "plugin 'misspelt': implements the unknown hook 'register_evaluationz'; did you mean register_evaluations?",
        ] == reports
    assert "1 trial" in here("plan", "loud.yaml").stdout
    assert "SystemExit: 3" in here("show", "leaving/x", exit_code=1).stderr
