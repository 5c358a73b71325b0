"""How far `advtransfer plan --estimate` is from what shipped suites then take.

    python tests/performance/estimate.py [--jobs 2] [--suites interpret_digits quickstart]

Each suite is estimated in a folder and with a cache of its own, which tries some of its trials, and the rest is run.
The claim is a factor of at most 1.5 either way between the estimated and the measured time from begin to end. Time is
that of the clock, so nothing else may run. The quickstart takes some minutes and is left out by default.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from side_by_side.claims import at_most, report

MOST_FACTOR = 1.5


def command(folder: Path, *arguments: str) -> Any:  # noqa: ANN401  # Any: JSON
    """What a command prints as JSON."""
    environment = {**os.environ, "ADVTRANSFER_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "advtransfer", *arguments, "--json"],
        cwd=folder,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    return json.loads(done.stdout)


def main() -> int:
    """Compare estimate and measurement of each suite."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", default="2")
    parser.add_argument("--suites", nargs="+", default=["interpret_digits"])
    options = parser.parse_args()
    claims = []
    for suite in options.suites:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            planned = command(folder, "plan", suite, "--estimate", "--jobs", options.jobs)
            estimate = planned["estimate"]
            run = command(folder, "run", suite, "--jobs", options.jobs)
        ratio = run["seconds"] / estimate["wall_seconds"]
        claims.append(
            at_most(
                f"plan --estimate of {suite}, {estimate['trials']} trials: factor from the run, either way",
                max(ratio, 1 / ratio),
                MOST_FACTOR,
                times=f"estimated {estimate['wall_seconds']:.0f} s, took {run['seconds']:.0f} s",
            )
        )
    return report(claims)


if __name__ == "__main__":
    sys.exit(main())
