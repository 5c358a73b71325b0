"""What a run of thousands of fits with 6 evaluations each costs to plan, to look at, and to continue when complete.

    python tests/performance/large_run.py [--trials 14400] [--keep FOLDER]

By default a quarter of the largest paper's grid, so that it ends in time; the limits are those of the whole, 14,400
trials. They are, on a machine without other work: `plan` 1 s; with the records of the run, `plan`, `status` and a run
with nothing to do 2 s; 500 MiB. Each command is timed as a user meets it, with its start and imports. The first run
reads every record and makes the page, which takes more memory (`leaderboard_page.py`); what follows reads the index.
CPU seconds are printed as well, since they hold on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeAlias

from side_by_side.claims import Claim, at_most, report
from side_by_side.commands import measure_command

from advtransfer.host import Host
from advtransfer.node import Node
from advtransfer.planning import Plan, make_plan
from advtransfer.planning.nodes import SuiteIndex
from advtransfer.result import Run
from advtransfer.result.battery_index import battery_version
from advtransfer.result.record import pack_outcomes, robust_share
from advtransfer.result.verdict import BATTERY_CHECKS, REQUIRED_CHECKS
from advtransfer.suite import load
from advtransfer.worker.environment import describe_environment

JsonObject: TypeAlias = dict[str, Any]  # Any: JSON

TRIALS, IMAGES, REPEATS = 3_600, 1_000, 3
TRIALS_PER_SEED = 720
MOST_SECONDS = {"plan": 1.0, "plan with records": 2.0, "status": 2.0, "run": 2.0}
MOST_MIB = 500
VARIANTS = 50
"""Different outcomes, each used by many records: packing them anew would measure the packing."""


SUITE = """
version: 1
title: The size of the largest paper's grid
datasets:
  low: {use: vision/digits, classes: [0, 1, 2, 3, 4]}
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
TARGET = "  t{}: {{data: {{use: vision/digits, classes: [{}, 9]}}, n: [{}], seeds: {}}}"


def suite_text(trials: int) -> str:
    """Return a suite of about this many trials."""
    sizes = ", ".join(str(20 + 10 * k) for k in range(10))
    seeds = max(1, round(trials / TRIALS_PER_SEED))
    targets = "\n".join(TARGET.format(k, k, sizes, seeds) for k in range(6))
    return SUITE.replace("TARGETS", targets)


class Maker:
    """Makes valid records of every node of a plan."""

    def __init__(self, plan: Plan, cells: SuiteIndex, host: Host, environment: str) -> None:
        self.plan, self.cells, self.host = plan, cells, host
        self.provenance = {
            "environment": environment,
            "plugin": {"name": "foolbox", "distribution": "advtransfer", "version": "0"},
            "device": "cpu",
            "threads": 1,
            "data": {},
            "weights": {},
            "resolved": {},
            "precision": "float32",
        }
        check = {"grade": "pass", "value": 0, "limit": 0.05, "samples": 200, "text": "missed"}
        self.checks = [{**check, "name": name} for name in REQUIRED_CHECKS]
        self.code: dict[str, object] = {}
        packed = [self._outcomes(variant) for variant in range(VARIANTS)]
        self.shares = [robust_share(values) for values in packed]
        self.outcomes = [pack_outcomes(values) for values in packed]

    @staticmethod
    def _outcomes(variant: int) -> list[int]:
        return [(place * (variant + 3)) % 97 % 3 for place in range(IMAGES)]

    def records(self) -> Iterator[JsonObject]:
        """Yield the records of sources, fits, batteries and results."""
        weights = {"digest": "d" * 64}
        for node in self.cells.source_nodes.values():
            card = {"architecture": "small", "data": "low", "shape": [1, 8, 8], "outputs": 5}
            body = {"card": card | {"constraint": "none", "clean_accuracy": None}, "probe": None}
            yield self.record(node, body | {"curves": [], "facts": {}, "weights": weights})
        fit_body: JsonObject = {"curves": [], "chosen": {}, "facts": {}, "leakage": None}
        for number, trial in enumerate(self.plan.trials):
            fit = self.cells.trial_fit(trial)
            kept = {**weights, "kept": False}
            yield self.record(fit, {**fit_body, "weights": kept})
            results = self.cells.trial_results(trial)
            inputs = {"model": fit, "test": results[0].inputs["test"]}
            options: JsonObject = {"norm": "linf", "eps": 0.1, "size": "small"}
            battery = Node("battery", "host/battery", battery_version("linf"), options, inputs)
            yield self.record(battery, self.battery_body(number % VARIANTS))
            for node in results:
                attacked = "accuracy" not in node.use
                body = self.result_body(number % VARIANTS, battery.id if attacked else None)
                yield self.record(node, body)

    def battery_body(self, variant: int) -> JsonObject:
        """Return what a battery of a variant recorded."""
        outcomes = self.outcomes[variant]
        checks = [check for check in self.checks if check["name"] in BATTERY_CHECKS]
        body = {"of": IMAGES, "positions": None, "checks": checks}
        return body | {"outcomes": {"ascent": outcomes, "noise": outcomes}}

    def result_body(self, variant: int, battery: str | None) -> JsonObject:
        """Return what an evaluation of a variant recorded."""
        metric = "robust_accuracy@0.1" if battery else "accuracy"
        checked = {"value": "checked", "reason": f"{len(self.checks)} checks passed", "rules": 3}
        unchecked = {"value": "unchecked", "reason": "no evidence was asked for", "rules": 3}
        return {
            "metrics": {metric: self.shares[variant]},
            "outcomes": {metric: self.outcomes[variant]},
            "samples": None,
            "checks": self.checks if battery else [],
            "battery": battery,
            "verdict": checked if battery else unchecked,
            "files": {},
            "labels": {"largest_class": 0.1, "one_class": False},
        }

    def record(self, node: Node, body: JsonObject) -> JsonObject:
        """Return a record with the fields that every kind has."""
        if node.use not in self.code:
            self.code[node.use] = self.host.node_code(node)
        observed = {
            "asked_by": {"suite": "large", "plan": "p", "name": "a trial"},
            "code": self.code[node.use],
            "started": 1.8e9,
            "seconds": {"load": 0.1, "fit": 1.0},
            "attempt": 1,
            "peak_bytes": 10**9,
            "copied_from": None,
        }
        head = {"format": 1, "kind": node.kind, "id": node.id, "asked": node.id_fields()}
        return head | body | {"provenance": self.provenance, "observed": observed}


def make_run(folder: Path, trials: int) -> tuple[int, int]:
    """Write suite and records as a finished run leaves them; return the numbers of trials and records."""
    path = folder / "large.yaml"
    path.write_text(suite_text(trials))
    host = Host.discover()
    suite = load(str(path), host)
    plan = make_plan(suite, host)
    run = Run(folder / "runs" / "large")
    environment = run.write_environment(describe_environment(device="cpu", threads=1))
    count = 0
    for record in Maker(plan, SuiteIndex(suite), host, environment).records():
        # Without fsync, which a hundred thousand files need not have here.
        file = run.path / "records" / record["id"][:2] / f"{record['id']}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(record, sort_keys=True))
        count += 1
    return len(plan.trials), count


def main() -> int:
    """Compare the cost of each command to its limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument(
        "--keep", type=Path, help="a folder for the run, used again where it exists"
    )
    options = parser.parse_args()
    claims: list[Claim] = []
    with nullcontext(options.keep) if options.keep else tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "runs").exists():
            trials, records = make_run(folder, options.trials)
            sys.stdout.write(f"{trials:,} trials, {records:,} records\n")
        suite, runs = str(folder / "large.yaml"), str(folder / "runs")
        commands = {
            "run": ("run", suite, "--runs", runs, "--jobs", "1", "--quiet"),
            "status": ("status", f"{runs}/large"),
            "plan with records": ("plan", suite, "--runs", runs),
            "plan": ("plan", suite, "--runs", str(folder / "none")),
        }
        first = measure_command(folder, *commands["run"])
        sys.stdout.write(
            f"first run, which reads every record and makes the page: {first.seconds:.1f} s "
            f"({first.cpu_seconds:.1f} s of CPU), {first.peak_bytes / 1024**2:.0f} MiB\n"
        )
        for name, arguments in commands.items():
            costs = [measure_command(folder, *arguments) for _ in range(REPEATS)]
            best = min(costs, key=lambda cost: cost.seconds)
            claims.append(
                at_most(
                    f"{name}, about {options.trials:,} trials: time of the command",
                    best.seconds,
                    MOST_SECONDS[name],
                    unit="s",
                    times=f"of which {best.cpu_seconds:.2f} s of CPU",
                )
            )
            claims.append(
                at_most(
                    f"{name}, about {options.trials:,} trials: memory",
                    max(cost.peak_bytes for cost in costs) / 1024**2,
                    MOST_MIB,
                    unit="MiB",
                    times="peak of the process",
                )
            )
    return report(claims)


if __name__ == "__main__":
    sys.exit(main())
