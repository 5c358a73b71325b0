"""How far the same trials differ between machines: the tolerances of `advtransfer verify --replay`.

    python tools/replay_tolerance.py measure FOLDER [--only PATTERN ...]
    python tools/replay_tolerance.py table RUN RUN ...

`measure` runs the trials of the quickstart that match twice, each with a cache of its own: as this processor computes,
and limited to the instructions of an old one (`OLD_PROCESSOR`). Runs with other releases of torch are made the same
way, in an environment of their own. `table` prints the largest difference of each metric between any two of the runs,
an entry of `comparisons` in `benchmark/advtransfer/publication/replay_tolerance.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

from advtransfer.result import Run

OLD_PROCESSOR = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OPENBLAS_CORETYPE": "Nehalem",
}
SUITE = "quickstart"


def measure_runs(folder: Path, only: list[str]) -> list[Path]:
    """Run the trials on both instruction sets; return the run folders."""
    runs: list[Path] = []
    patterns = [part for pattern in only for part in ("--only", pattern)]
    for name, variables in (("this", {}), ("old", OLD_PROCESSOR)):
        command = [sys.executable, "-m", "advtransfer", "run", SUITE, *patterns]
        environment = {
            **os.environ,
            **variables,
            "ADVTRANSFER_CACHE": str(folder / f"cache-{name}"),
        }
        subprocess.run([*command, "--runs", str(folder / name)], env=environment, check=True)
        runs.append(folder / name / SUITE)
    return runs


def tolerance_table(runs: list[Path]) -> dict[str, Any]:  # Any: JSON
    """Return the largest difference of each metric, without its radius, between any two runs."""
    records = [{str(each["id"]): each for each in Run(run).read_records()} for run in runs]
    largest: dict[str, float] = {}
    compared = 0
    for one, other in combinations(records, 2):
        for id in sorted(one.keys() & other.keys()):
            compared += one[id]["kind"] == "result"
            for metric, difference in _metric_differences(one[id], other[id]).items():
                stem = metric.partition("@")[0]
                largest[stem] = max(largest.get(stem, 0.0), difference)
    return {
        "command": f"python tools/replay_tolerance.py table {' '.join(run.parent.name for run in runs)}",
        "environments": [_environments(run) for run in runs],
        "results": compared,
        "metrics": {name: round(largest[name], 6) for name in sorted(largest)},
    }


def _metric_differences(
    one: dict[str, Any], other: dict[str, Any]
) -> dict[str, float]:  # Any: JSON
    if one["kind"] != "result":
        return {}
    shared = one["metrics"].keys() & other["metrics"].keys()
    return {
        name: abs(one["metrics"][name]["value"] - other["metrics"][name]["value"])
        for name in shared
    }


def _environments(run: Path) -> list[dict[str, Any]]:  # Any: JSON
    """Return processor, instructions and torch of a run's environments."""
    return [
        {
            "processor": environment["processor"],
            "torch": environment["libraries"]["torch"],  # type: ignore[index, call-overload]  # JSON
        }
        for environment in Run(run).read_environments().values()
    ]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    measure = commands.add_parser("measure")
    measure.add_argument("folder", type=Path)
    measure.add_argument("--only", action="append", default=[])
    table = commands.add_parser("table")
    table.add_argument("runs", type=Path, nargs="+")
    arguments = parser.parse_args()
    if arguments.command == "measure":
        sys.stdout.write(
            "".join(f"{run}\n" for run in measure_runs(arguments.folder, arguments.only))
        )
    else:
        sys.stdout.write(f"{json.dumps(tolerance_table(arguments.runs), indent=1)}\n")


if __name__ == "__main__":
    main()
