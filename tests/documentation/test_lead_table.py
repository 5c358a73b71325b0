"""What docs/papers.md shows of the lead of robust sources is what its command prints, from the published records."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = (
    "examples/lead_by_distance.py leaderboard/results/robust-transfer-mini-distance/advtransfer"
)


def test_the_page_shows_what_the_script_prints() -> None:
    pytest.importorskip("pandas", reason="[pandas] is not installed")
    page = (ROOT / "docs" / "papers.md").read_text("utf-8")
    shown = re.search(
        rf"^python {re.escape(COMMAND)}\n```\n\n```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL
    )
    assert shown is not None

    done = subprocess.run(
        [sys.executable, *COMMAND.split()],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == shown[1]
