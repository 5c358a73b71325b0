"""How long `--jobs auto` takes beside a process that holds one core, compared with `--jobs 1`.

    python tests/performance/jobs_auto.py [--repeats 3]

The process counts for as long as both run. The claim is at most 1.05 times as long; the script fails above. Time is
that of the clock, so nothing else may run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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


def seconds(jobs: str) -> float:
    """How long one run in a folder and with a cache of its own takes."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "grid.yaml").write_text(SUITE)
        environment = {**os.environ, "ADVTRANSFER_CACHE": f"{folder}/cache"}
        command = [sys.executable, "-m", "advtransfer", "run", "grid.yaml", "--quiet"]
        began = time.perf_counter()
        subprocess.run(
            [*command, "--jobs", jobs],
            cwd=folder,
            env=environment,
            check=True,
            capture_output=True,
        )
        return time.perf_counter() - began


def main() -> int:
    """Print both times, the median of alternating runs, and their ratio; 1 above the claim."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            pairs = [(seconds("auto"), seconds("1")) for _ in range(repeats)]
        finally:
            busy.kill()
    auto, one = (statistics.median(times) for times in zip(*pairs, strict=True))
    sys.stdout.write(
        f"beside a process that holds one core: --jobs auto {auto:.1f} s, --jobs 1 {one:.1f} s; "
        f"ratio {auto / one:.2f} (median of {repeats}, alternating)\n"
    )
    return 1 if auto > MOST_RATIO * one else 0


if __name__ == "__main__":
    sys.exit(main())
