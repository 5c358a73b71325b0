"""A second submission to the quickstart's committed board: another source, and a transfer of a third party's plugin."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUITE = """\
extends: quickstart
title: A source of fewer epochs, and the nearest class mean
sources:
  short: {use: vision/trained, epochs: 10, seeds: 3}
transfers:
  nearest: {use: example/nearest_mean}
"""
PLUGIN = "example==0.1.0"


class Checkout:
    """A copy of the suites and the leaderboard, and the example plugin as an installed distribution."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "leaderboard", folder / "leaderboard")
        (folder / "narrow.yaml").write_text(SUITE)
        site = folder / "site"
        shutil.copytree(
            ROOT / "tests" / "example_plugin" / "advtransfer_example", site / "advtransfer_example"
        )
        information = site / "advtransfer_example-0.1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: advtransfer-example\nVersion: 0.1.0\n"
        )
        (information / "entry_points.txt").write_text(
            "[advtransfer]\nexample = advtransfer_example\n"
        )
        paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "ADVTRANSFER_CACHE": str(folder / "cache"),
        }

    def call(self, *arguments: str) -> str:
        """Run a command; return its stdout, and fail where its exit code is not 0."""
        done = subprocess.run(
            [sys.executable, "-m", "advtransfer", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.mark.nightly
def test_a_second_submission_joins_the_board_of_the_quickstart(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    who = ["--name", "narrow", "--who", "A. Second", "--licence", "MIT"]

    checkout.call("run", "narrow.yaml", "--quiet")
    checkout.call("publish", "runs/narrow", *who, "--citation", str(ROOT / "CITATION.cff"))
    bundle = "leaderboard/results/quickstart/narrow"
    told = checkout.call("verify", bundle, "--replay", "3", "--trust-plugins", PLUGIN)
    checkout.call("pages", "--check")
    page = (tmp_path / "leaderboard" / "quickstart" / "README.md").read_text()

    assert "verified: nothing is wrong" in told
    assert "0 beyond it" in told
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert any("short" in row and "nearest" in row and "narrow" in row for row in rows)
    assert any("linf 0.2" in row and "block1" in row and "advtransfer" in row for row in rows)
    assert "| narrow" in page
