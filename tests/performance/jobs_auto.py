"""How long `--jobs auto` takes beside a process that holds one core, compared with `--jobs 1`.

    python tests/performance/jobs_auto.py [--repeats 2]

The process counts for as long as both run. The claim is at most 1.05 times as long. Time is that of the clock, so
nothing else may run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from side_by_side.claims import at_most, report
from side_by_side.timing import alternate

MOST_RATIO = 1.05
SUITE = """
version: 1
title: Fits and attacks of some seconds
datasets:
  high: {use: vision/digits, classes: [5, 6, 7, 8, 9]}
sources:
  random: {use: vision/random_init, data: high, network: small_cnn, seeds: 4}
targets:
  digits: {data: high, n: [100], validation: 0, seeds: 4, test: all}
transfers:
  probe: {use: finetune/linear_probe}
evaluations:
  pgd: {use: foolbox/pgd, norm: linf, eps: 0.1, steps: 100, step_size: 0.01}
"""


def run_suite(jobs: str) -> None:
    """Run in a folder and with a cache of its own."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "grid.yaml").write_text(SUITE)
        environment = {**os.environ, "ADVTRANSFER_CACHE": f"{folder}/cache"}
        command = [sys.executable, "-m", "advtransfer", "run", "grid.yaml", "--quiet"]
        subprocess.run(
            [*command, "--jobs", jobs],
            cwd=folder,
            env=environment,
            check=True,
            capture_output=True,
        )


def main() -> int:
    """Compare both while another process computes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=2)
    repeats = parser.parse_args().repeats
    ways = {"auto": partial(run_suite, "auto"), "1": partial(run_suite, "1")}
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            seconds = alternate(ways, repeats=repeats, clock=time.perf_counter)
        finally:
            busy.kill()
    return report(
        [
            at_most(
                "--jobs auto beside a process that holds one core: time beside --jobs 1",
                seconds["auto"] / seconds["1"],
                MOST_RATIO,
                times=f"{seconds['auto']:.1f} s, --jobs 1 {seconds['1']:.1f} s",
            )
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
