"""How far `advtransfer plan --estimate` is from what shipped suites then take.

    python tests/performance/estimate.py [--jobs 2] [--suites quickstart interpret_digits]

Each suite is estimated in a folder and with a cache of its own, which tries some of its trials, and the rest is run.
The claim is a factor of at most 1.5 either way between the estimated and the measured time from begin to end; the
script fails beyond. Time is that of the clock, so nothing else may run.
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
    """Print estimate, measurement and their ratio for each suite; 1 where a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", default="2")
    parser.add_argument("--suites", nargs="+", default=["quickstart", "interpret_digits"])
    options = parser.parse_args()
    failed = False
    for suite in options.suites:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            planned = command(folder, "plan", suite, "--estimate", "--jobs", options.jobs)
            estimate = planned["estimate"]
            run = command(folder, "run", suite, "--jobs", options.jobs)
        ratio = run["seconds"] / estimate["wall_seconds"]
        failed |= not 1 / MOST_FACTOR <= ratio <= MOST_FACTOR
        sys.stdout.write(
            f"{suite}: {estimate['trials']} trials estimated at {estimate['wall_seconds']:.0f} s, "
            f"took {run['seconds']:.0f} s; ratio {ratio:.2f}\n"
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
