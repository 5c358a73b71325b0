"""How long the largest shipped suite takes to plan without its data, as a user meets `advtransfer plan`.

    python tests/performance/full_scale_plan.py

The command is timed with its start and imports. It runs once untimed, so that the digests of the
files that are here are cached. CPU seconds are printed as well, since they hold on a busy machine.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from side_by_side.claims import at_most, report
from side_by_side.commands import measure_command

SUITE, MOST_SECONDS, REPEATS = "robust-transfer", 5.0, 3


def main() -> int:
    """Compare the time of the command to its limit."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arguments = ("plan", SUITE, "--without-data", "--runs", str(folder / "runs"))
        measure_command(folder, *arguments)
        costs = [measure_command(folder, *arguments) for _ in range(REPEATS)]
    best = min(costs, key=lambda cost: cost.seconds)
    return report(
        [
            at_most(
                f"plan {SUITE} --without-data, digests cached: time of the command",
                best.seconds,
                MOST_SECONDS,
                unit="s",
                times=f"of which {best.cpu_seconds:.2f} s of CPU",
            )
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
