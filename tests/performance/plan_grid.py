"""How long a grid of 14,400 fits with 6 evaluations each takes to plan, and what a fit's id costs beside plain hashing.

    python tests/performance/plan_grid.py

The baseline hashes as many texts of the same size with hashlib alone: what remains when nothing but ids is made.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from functools import partial
from pathlib import Path

from side_by_side.claims import at_most, report
from side_by_side.timing import alternate

from advtransfer.host import Host
from advtransfer.planning import make_plan
from advtransfer.suite import load

SUITE = """
version: 1
title: The size of the largest paper's grid
datasets:
  low: {use: vision/digits, classes: [0, 1, 2, 3, 4]}
  high: {use: vision/digits, classes: [5, 6, 7, 8, 9]}
sources:
  s: {use: vision/trained, data: low, sweep: {epochs: [1, 2, 3, 4]}}
targets:
TARGETS
transfers:
  probe: {use: finetune/linear_probe}
  block: {use: finetune/blocks, blocks: 1, epochs: 10, sweep: {blocks: [0, 1]}}
evaluations:
  clean: {use: foolbox/clean_accuracy}
  fgsm: {use: foolbox/fgsm, norm: linf, eps: 0.1}
  pgd: {use: foolbox/pgd, norm: linf, eps: 0.1, step_size: 0.01, steps: 10, sweep: {steps: [10, 20, 40, 80]}}
"""
TARGET = "  t{}: {{data: {{use: vision/digits, classes: [{}, 9]}}, n: [{}], seeds: 20}}"
FITS, RESULTS, REPEATS = 14_400, 86_400, 5
MOST = 6


def planned(path: Path, host: Host) -> tuple[int, int]:
    """The number of trials and results of the suite."""
    plan = make_plan(load(str(path), host), host)
    return len(plan.trials), plan.count_results()


def hashed() -> None:
    """As many sha256 of texts of the same size."""
    for number in range(FITS + RESULTS):
        hashlib.sha256(f"{number:0500d}".encode()).hexdigest()


def main() -> int:
    """Compare planning and hashing."""
    sizes = ", ".join(str(20 + 10 * k) for k in range(10))
    targets = "\n".join(TARGET.format(k, k, sizes) for k in range(6))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "grid.yaml"
        path.write_text(SUITE.replace("TARGETS", targets))
        host = Host.discover()
        if (found := planned(path, host)) != (FITS, RESULTS):
            raise SystemExit(f"planned {found}; expected {(FITS, RESULTS)}")
        seconds = alternate(
            {"planned": partial(planned, path, host), "hashed": hashed}, repeats=REPEATS
        )
    return report(
        [
            at_most(
                f"plan of {FITS:,} fits with {RESULTS:,} results: time beside hashing alone",
                seconds["planned"] / seconds["hashed"],
                MOST,
                times=f"{seconds['planned']:.2f} s, hashing {seconds['hashed']:.2f} s",
            )
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
