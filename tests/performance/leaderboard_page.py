"""How long the page of 14,400 trials with 6 evaluations each takes, and how much memory.

    python tests/performance/leaderboard_page.py [--trials 14400] [--images 1000]

The records are made one by one as the page reads them, as those of a published run are parsed line by line: what
making them alone takes is measured first, and taken off. The claim is at most 20 s and 1 GiB. Time is that of the
clock, so nothing else may run; memory is that of both processes that make the page, memory that they share counted
once (Linux).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from side_by_side.claims import at_most, report

from advtransfer.leaderboard import RunRecords, make_page
from advtransfer.result.record import pack_outcomes, robust_share
from advtransfer.result.verdict import BATTERY_CHECKS, REQUIRED_CHECKS
from advtransfer.types import Outcome

JsonObject: TypeAlias = dict[str, Any]  # Any: JSON
BoolArray: TypeAlias = npt.NDArray[np.bool_]
OutcomeArray: TypeAlias = npt.NDArray[np.int64]

TRIALS, IMAGES = 14_400, 1_000
MOST_SECONDS, MOST_MIB = 20, 1024
SOURCES, REPLICATES, TRANSFERS, SEEDS, COUNTS = 12, 3, 4, 5, (10, 20, 50, 100, 500)
"""With 4 targets, these are 14,400 trials: 20 tables of 48 rows, each row of 15 trials."""
BALLS = {"linf": 0.1, "l2": 1.0}
ATTACKS = {"fgsm": "linf", "pgd": "linf", "auto": "linf", "pgd_l2": "l2", "auto_l2": "l2"}
VARIANTS = 50
"""Different outcomes, each used by many records: packing them anew would measure the packing."""


def id_of(*parts: object) -> str:
    """Return an id as records have them."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def planned(trials: int) -> JsonObject:
    """Return a plan of about this many trials."""
    sources: JsonObject = {}
    rows: list[Any] = []
    targets = max(1, round(trials / (SOURCES * REPLICATES * TRANSFERS * SEEDS * len(COUNTS))))
    axes = (range(targets), COUNTS, range(SOURCES), range(REPLICATES), range(TRANSFERS))
    for target, n, source, replicate, transfer in product(*axes):
        label = f"source {source}[seed={replicate}]"
        build = id_of("source", label)
        sources[build] = label
        for seed in range(SEEDS):
            fit = id_of(target, n, label, transfer, seed)
            evaluations: JsonObject = {name: [id_of(fit, name)] for name in ("clean", *ATTACKS)}
            rows.append(
                {
                    "id": fit,
                    "source": label,
                    "row": f"source {source}",
                    "replicate": replicate,
                    "adapter": None,
                    "target": f"target {target}",
                    "n": n,
                    "seed": seed,
                    "transfer": f"transfer {transfer}",
                    "builds": [build],
                    "evaluations": evaluations,
                    "skipped": None,
                }
            )
    columns = [
        "clean.accuracy",
        *(f"{name}.robust_accuracy@{BALLS[ATTACKS[name]]:g}" for name in ATTACKS),
    ]
    leaderboard: JsonObject = {
        "baseline": "source 0",
        "rank_by": "auto.robust_accuracy@0.1",
        "columns": [*columns],
        "figures": [{"kind": "accuracy_vs_n", "metric": "clean.accuracy"}],
    }
    return {
        "suite": "large",
        "title": "How long does a page take?",
        "leaderboard": leaderboard,
        "sources": sources,
        "trials": rows,
    }


class Maker:
    """Makes the records of a plan."""

    def __init__(self, plan: JsonObject, images: int) -> None:
        self.plan, self.images = plan, images
        draws = np.random.default_rng(0)
        shares = draws.uniform(0.3, 0.95, VARIANTS)
        drawn = [draws.random(images) < share for share in shares]
        self.clean = [np.where(right, Outcome.ROBUST, Outcome.WRONG) for right in drawn]
        self.attacked = [self.broken_by_attacks(right, draws) for right in drawn]
        values = [*self.clean, *(each for of in self.attacked for each in of.values())]
        self.packed = {
            id(each): (pack_outcomes(each.tolist()), robust_share(each.tolist())) for each in values
        }

    @staticmethod
    def broken_by_attacks(right: BoolArray, draws: np.random.Generator) -> dict[str, OutcomeArray]:
        """Return what attacks and batteries leave of the images that a model is right on.

        They break 3 in 10 of them, and each misses a few of its own: a battery that found many more
        would make the results suspicious, and suspicious rows are not ranked.
        """
        weak = right & (draws.random(right.size) < 0.3)
        attacked: dict[str, OutcomeArray] = {}
        for name in (*ATTACKS, *BALLS):
            broken = weak & (draws.random(right.size) < 0.98)
            attacked[name] = np.where(
                broken, Outcome.BROKEN, np.where(right, Outcome.ROBUST, Outcome.WRONG)
            )
        return attacked

    def records(self) -> Iterator[JsonObject]:
        """Yield every record of the plan."""
        for build in self.plan["sources"]:
            card = {
                "architecture": "small",
                "data": "low",
                "constraint": "none",
                "clean_accuracy": None,
            }
            yield self.record("source", build, "vision/trained", {}, {}) | {
                "card": card,
                "probe": None,
            }
        for number, trial in enumerate(self.plan["trials"]):
            variant = (number // SEEDS * 7 + number % SEEDS) % VARIANTS
            yield self.record("fit", trial["id"], "finetune/linear_probe", {}, {}) | {"facts": {}}
            inputs = {"model": trial["id"], "test": id_of(trial["target"])}
            for norm, eps in BALLS.items():
                yield self.battery(trial, variant, norm, eps, inputs)
            for name, (result,) in trial["evaluations"].items():
                yield self.result(name, result, trial, variant, inputs)

    def result(
        self, name: str, id_: str, trial: JsonObject, variant: int, inputs: JsonObject
    ) -> JsonObject:
        """Return the record of one evaluation of a trial."""
        norm = ATTACKS.get(name)
        values = self.clean[variant] if norm is None else self.attacked[variant][name]
        packed, share = self.packed[id(values)]
        metric = "accuracy" if norm is None else f"robust_accuracy@{BALLS[norm]:g}"
        options = {} if norm is None else {"norm": norm, "eps": BALLS[norm]}
        checks = [] if norm is None else [{**check, "name": each} for each in REQUIRED_CHECKS]
        return self.record("result", id_, f"foolbox/{name}", options, inputs) | {
            "metrics": {metric: share},
            "outcomes": {metric: packed},
            "checks": checks,
            "battery": None if norm is None else id_of("battery", trial["id"], norm),
            "labels": {"largest_class": 0.1, "one_class": False},
        }

    def battery(
        self, trial: JsonObject, variant: int, norm: str, eps: float, inputs: JsonObject
    ) -> JsonObject:
        """Return the record of a battery of a trial's model."""
        outcomes = {
            name: self.packed[id(self.attacked[variant][norm])][0] for name in ("ascent", "noise")
        }
        options = {"norm": norm, "eps": eps, "size": "full"}
        record = self.record(
            "battery", id_of("battery", trial["id"], norm), "host/battery", options, inputs
        )
        record["asked"]["version"] = 3
        return record | {
            "of": self.images,
            "positions": None,
            "outcomes": outcomes,
            "checks": [
                {**check, "name": name} for name in REQUIRED_CHECKS if name in BATTERY_CHECKS
            ],
        }

    def record(
        self, kind: str, id_: str, use: str, options: JsonObject, inputs: JsonObject
    ) -> JsonObject:
        """Return the fields that every record has."""
        return {
            "format": 1,
            "kind": kind,
            "id": id_,
            "asked": {"use": use, "version": 1, "options": options, "inputs": inputs},
            "provenance": {
                "environment": "e" * 64,
                "device": "cpu",
                "threads": 1,
                "precision": "float32",
            },
            "observed": {"seconds": {"load": 0.1, "fit": 1.0, "measure": 2.0}, "started": 1.8e9},
        }


check = {"grade": "pass", "value": 0, "limit": 0.05, "samples": 200, "text": "missed"}


SAMPLER = """
import pathlib, sys, time
folder, own, peak = pathlib.Path("/proc", sys.argv[1]), sys.argv[2], 0
def proportional_bytes(pid):
    try:
        lines = pathlib.Path("/proc", pid, "smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
while not pathlib.Path(own).exists():
    children = (folder / "task" / sys.argv[1] / "children").read_text().split()
    sizes = map(proportional_bytes, (sys.argv[1], *children[1:]))
    peak = max(peak, sum(sizes))
    time.sleep(0.2)
print(peak)
"""
"""Samples the memory of a process and its children but the first, the sampler itself, until a file exists."""


@contextmanager
def measured_memory() -> Iterator[Callable[[], int]]:
    """Measure memory while the body runs; yield a function that returns the peak in bytes after it.

    In a process of its own: the page is made by two processes only where this one has a single thread.
    """
    with tempfile.TemporaryDirectory() as folder:
        end = Path(folder, "end")
        command = [sys.executable, "-c", SAMPLER, str(os.getpid()), str(end)]
        sampler = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            yield lambda: int(output)
        finally:
            end.touch()
            output = sampler.communicate()[0]


def main() -> int:
    """Compare seconds and peak memory to their limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--images", type=int, default=IMAGES)
    options = parser.parse_args()
    plan = planned(options.trials)
    maker = Maker(plan, options.images)
    began = time.perf_counter()
    count = sum(1 for _ in maker.records())
    making = time.perf_counter() - began
    with measured_memory() as peak_bytes:
        began = time.perf_counter()
        page = make_page(RunRecords(plan, maker.records()))
        seconds = time.perf_counter() - began - making
    what = f"the page of {len(plan['trials']):,} trials, {count:,} records of {options.images:,} images"
    size = f"{len(page.markdown):,} characters"
    return report(
        [
            at_most(
                f"{what}: time",
                seconds,
                MOST_SECONDS,
                unit="s",
                times=f"{size}; making the records took {making:.1f} s more",
            ),
            at_most(
                f"{what}: memory",
                peak_bytes() / 1024**2,
                MOST_MIB,
                unit="MiB",
                times="peak of both processes, shared memory counted once",
            ),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
