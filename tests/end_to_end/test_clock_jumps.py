"""Clocks that jump by hours, back and forth, change nothing but what was observed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from advtransfer.testing.command import Command

Records = Callable[[Path], dict[str, str]]
SUITE = """\
version: 1
datasets: {d: {use: vision/digits, classes: [0, 1, 2]}}
sources: {s: {use: vision/trained, data: d, network: small_cnn, width: 4, epochs: 1}}
targets: {t: {data: d, n: [20], seeds: 2, test: 40}}
transfers: {probe: {use: finetune/linear_probe}}
evaluations: {clean: {use: foolbox/clean_accuracy}}
"""
JUMPS = """\
import itertools, time
real, jumps = time.time, itertools.cycle([0, 7200, -7200, 90_000, -90_000])
time.time = lambda: real() + next(jumps)
"""


@pytest.mark.slow
def test_clock_that_jumps_changes_no_record(
    command_in: Callable[[str], Command], records_of: Records, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(JUMPS)
    steady, jumping = command_in("steady"), command_in("jumping")
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    for command in (steady, jumping):
        (command.folder / "clock.yaml").write_text(SUITE)
    steady("run", "clock.yaml", "--quiet", "--jobs", "2")
    first = jumping("run", "clock.yaml", "--jobs", "2", "--limit", "1", PYTHONPATH=path)
    ended = json.loads(
        jumping("run", "clock.yaml", "--json", "--jobs", "2", PYTHONPATH=path).stdout
    )

    assert (2, 0) == (ended["done"], ended["failed"])
    assert "Traceback" not in first.stderr
    assert "taken over" not in first.stderr
    runs = [command.folder / "runs" / "clock" for command in (steady, jumping)]
    assert records_of(runs[0]) == records_of(runs[1])
    assert [] == list(runs[1].glob("attempts/*/*"))
