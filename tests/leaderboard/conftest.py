"""A run made by hand with known values, so that every mean, difference and rank is known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pytest

from advtransfer.leaderboard import RunRecords, make_table
from advtransfer.result import Run
from advtransfer.result.record import pack_outcomes, robust_share
from advtransfer.result.verdict import BATTERY_CHECKS, REQUIRED_CHECKS
from advtransfer.testing.records import complete_record, outcomes_of_share
from advtransfer.types import Json, Outcome

Json_: TypeAlias = "dict[str, Any]"  # Any: tests change the records
SAMPLES = 1000
PHASES = {"fit": "fit", "result": "measure", "source": "build", "battery": "battery"}
PASSED: Json_ = {"grade": "pass", "value": 0, "limit": 0.05, "samples": 200, "text": "missed"}


def name_of(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


@dataclass
class Bench:
    """A plan and its records, to which tests add trial by trial."""

    leaderboard: Json_ = field(
        default_factory=lambda: {
            "baseline": "natural",
            "rank_by": "clean.accuracy",
            "columns": ["clean.accuracy", "pgd.robust_accuracy"],
            "figures": [],
            "questions": [],
        }
    )
    title: str = "Do robust sources transfer better?"
    trials: list[Json_] = field(default_factory=list)
    records: dict[str, Json_] = field(default_factory=dict)
    attempts: list[Json_] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    deterministic: list[str] = field(default_factory=list)
    has_outcomes: bool = True
    clean: dict[str, list[float]] = field(
        default_factory=lambda: {"natural": [0.5, 0.6, 0.7], "robust": [0.7, 0.7, 0.8]}
    )

    def filled(self, *, n: int | str = 20) -> Bench:
        """Add two sources with three seeds each, whose clean accuracies are `clean`."""
        for source, values in self.clean.items():
            for seed, clean in enumerate(values):
                self.trial(source, seed, clean, 0.1 * (seed + 1), n=n)
        return self

    def table(self, *, n: int | str = 20) -> str:
        """Return the table of one n as the page shows it."""
        return make_table(self.run(), target="digits", n=n, seconds=True)

    @staticmethod
    def row(text: str, name: str) -> list[str]:
        """Return the cells of the first table row that has a cell with this name."""
        rows = [
            [cell.strip() for cell in line.strip("| ").split(" | ")]
            for line in text.splitlines()
            if "|" in line
        ]
        return next(row for row in rows if name in row)

    def trial(
        self,
        source: str | None,
        seed: int,
        clean: float | None = None,
        pgd: float | None = None,
        *,
        transfer: str = "probe",
        n: int | str = 20,
        target: str = "digits",
        replicate: int | None = None,
        adapter: str | None = None,
        unknown: float = 0.0,
        checks: Sequence[Json] = (),
        skipped: str | None = None,
    ) -> Json_:
        """Plan a trial; a value of None is a missing result."""
        label = source if replicate is None else f"{source}[seed={replicate}]"
        position = (label, adapter, target, n, seed, transfer)
        fit, first, second = (
            name_of("fit", *position),
            name_of("clean", *position),
            name_of("pgd", *position),
        )
        builds = [self.source(label)] if label else []
        trial: Json_ = {
            "id": fit,
            "source": label,
            "row": source,
            "replicate": replicate,
            "adapter": adapter,
        }
        trial |= {
            "target": target,
            "n": n,
            "seed": seed,
            "transfer": transfer,
            "builds": builds,
            "skipped": skipped,
        }
        trial["evaluations"] = {"clean": [first], "pgd": [second]}
        self.trials.append(trial)
        if clean is not None:
            self.records[fit] = self.record("fit", fit, "finetune/linear_probe", {}, 0.5) | {
                "facts": {}
            }
            self.result(first, "foolbox/clean_accuracy", {}, {"accuracy": clean})
        if pgd is not None:
            options: Json_ = {"norm": "linf", "eps": [0.1], "steps": 20}
            self.result(
                second,
                "foolbox/pgd",
                options,
                {"robust_accuracy@0.1": pgd},
                unknown=unknown,
                checks=checks,
            )
        return trial

    def checked(
        self,
        trial: Json_,
        attack: Sequence[int],
        broken: Sequence[int] = (),
        *,
        probed: Sequence[int] | None = None,
        version: int = 3,
        checks: Sequence[str] = REQUIRED_CHECKS,
        labels: Json = None,
    ) -> None:
        """Give a trial an attack's outcomes, and a battery that breaks the samples `broken`."""
        (id,) = trial["evaluations"]["pgd"]
        options: Json_ = {"norm": "linf", "eps": 0.1, "steps": 20}
        inputs = {"model": trial["id"], "test": trial["target"]}
        passed = [{**PASSED, "name": name} for name in checks]
        battery = name_of("battery", trial["id"], version)
        outcomes = {"robust_accuracy@0.1": pack_outcomes(attack)}
        self.records[id] = self.record("result", id, "foolbox/pgd", options, 0.25) | {
            "metrics": {"robust_accuracy@0.1": robust_share(attack)},
            "outcomes": outcomes,
            "checks": passed,
            "battery": battery,
        }
        if labels is not None:
            self.records[id]["labels"] = labels
        self.records[id]["asked"]["inputs"] = inputs
        positions = range(len(attack)) if probed is None else probed
        found = [Outcome.BROKEN if each in broken else Outcome.ROBUST for each in positions]
        for place, each in enumerate(positions):
            if attack[each] == Outcome.WRONG:
                found[place] = Outcome.WRONG
        ball: Json_ = {"norm": "linf", "eps": 0.1, "size": "small"}
        record = self.record("battery", battery, "host/battery", ball, 0.5) | {
            "of": len(attack),
            "positions": None if probed is None else list(probed),
            "outcomes": {"ascent": pack_outcomes(found)},
            "checks": [check for check in passed if check["name"] in BATTERY_CHECKS],
        }
        record["asked"] |= {"inputs": inputs, "version": version}
        if version < 3:
            del record["positions"]
        self.records[battery] = record

    def aligned(
        self,
        source: str,
        alphas: Sequence[float],
        clean: float | None,
        *,
        seed: int = 0,
        n: int = 20,
        target: str = "digits",
        replicate: int | None = None,
    ) -> str:
        """Add a trial with a result per reference, and return the id of its clean result."""
        trial = self.trial(source, seed, clean, 0.1, n=n, target=target, replicate=replicate)
        ids = [
            name_of("align", source, replicate, target, reference)
            for reference in range(len(alphas))
        ]
        trial["evaluations"]["align"] = ids
        for reference, (id, alpha) in enumerate(zip(ids, alphas, strict=True)):
            self.result(id, "alignment/alpha", {}, {})
            self.records[id]["metrics"] = {"alpha": {"value": alpha}, "beta": {"value": 1 - alpha}}
            self.records[id]["asked"]["inputs"] = {"reference": f"{target} {reference}"}
        return str(trial["evaluations"]["clean"][0])

    def result(
        self,
        id: str,
        use: str,
        options: Mapping[str, Json],
        shares: Mapping[str, float],
        *,
        unknown: float = 0.0,
        checks: Sequence[Json] = (),
    ) -> None:
        """Add a result record of shares of 1,000 test samples."""
        metrics: dict[str, Json] = {}
        outcomes: dict[str, Json] = {}
        for name, value in shares.items():
            share = {"value": value, "low": value, "high": value + unknown, "of": SAMPLES}
            metrics[name] = share
            if self.has_outcomes:
                metrics[name] = robust_share(outcomes_of_share(share))
                outcomes[name] = pack_outcomes(outcomes_of_share(share))
        self.records[id] = self.record("result", id, use, options, 0.25) | {
            "metrics": metrics,
            "outcomes": outcomes,
            "checks": list(checks),
        }

    def source(self, label: str) -> str:
        """Add a source with its record, and return its id."""
        id = name_of("source", label)
        self.sources[id] = label
        card = {
            "architecture": "small_cnn",
            "data": "low",
            "constraint": "none",
            "clean_accuracy": None,
        }
        probe = {"clean_accuracy": 0.981, "interval": [0.97, 0.988], "of": 900, "agrees": None}
        self.records[id] = self.record("source", id, "vision/trained", {}, 9.0) | {
            "card": card,
            "probe": probe,
        }
        return id

    def record(
        self, kind: str, id: str, use: str, options: Mapping[str, Json], seconds: float
    ) -> Json_:
        """Return the fields that every record has."""
        return {
            "format": 1,
            "kind": kind,
            "id": id,
            "asked": {"use": use, "version": 1, "options": dict(options), "inputs": {}},
            "provenance": {
                "environment": "e" * 64,
                "device": "cpu",
                "threads": 1,
                "precision": "float32",
            },
            "observed": {"seconds": {"load": seconds / 2, PHASES[kind]: seconds / 2}},
        }

    def attempt(self, id: str, reason: str, *, status: str = "failed") -> None:
        """Add an attempt that ended without a record."""
        self.attempts.append({"id": id, "kind": "fit", "status": status, "reason": reason})

    def run(self) -> RunRecords:
        """Return the run as plain data."""
        plan: Json_ = {
            "format": 1,
            "suite": "quick",
            "title": self.title,
            "leaderboard": self.leaderboard,
        }
        plan |= {"sources": self.sources, "trials": self.trials}
        if self.deterministic:
            plan["deterministic"] = self.deterministic
        versions: Json_ = {
            "python": "3.11.7",
            "packages": {"torch": "2.15.0", "foolbox": "3.3.4", "scikit-learn": "1.9.1"},
        }
        return RunRecords(plan, list(self.records.values()), self.attempts, {"e" * 64: versions})


def seal(plan: Mapping[str, Json], records: Iterable[Json_]) -> tuple[Json_, list[Json_]]:
    """Return the plan and records with consistent fields and content ids, as in a run folder."""
    records = list(records)
    completed = [
        complete_record(record, options={**record["asked"]["options"], "was": record["id"]})
        for record in records
    ]
    text = json.dumps(
        [plan, [{**new, "id": old["id"]} for old, new in zip(records, completed, strict=True)]]
    )
    asked = [new["asked"] for new in completed]
    for old, new in zip(records, completed, strict=True):
        text = text.replace(old["id"], str(new["id"]))
    sealed_plan, sealed_records = json.loads(text)
    # The replacement also changed the option `was`, so the content ids would no longer match.
    return sealed_plan, [
        {**record, "asked": original}
        for record, original in zip(sealed_records, asked, strict=True)
    ]


def write_run(bench: Bench, run: Run) -> Run:
    """Write a bench as a run folder; existing files and arrays move with their record."""
    old_ids = list(bench.records)
    plan, records = seal(bench.run().plan, bench.records.values())
    run.write_plan(plan)
    run.write_suite("version: 1\n")
    for old_id, record in zip(old_ids, records, strict=True):
        id = str(record["id"])
        if (run.path / "files" / old_id).is_dir():
            (run.path / "files" / old_id).rename(run.path / "files" / id)
        if (arrays := run.path / "samples" / old_id[:2] / f"{old_id}.safetensors").is_file():
            moved = run.path / "samples" / id[:2] / f"{id}.safetensors"
            moved.parent.mkdir(parents=True, exist_ok=True)
            arrays.rename(moved)
            record["samples"]["file"] = moved.relative_to(run.path).as_posix()
        run.write_record(record)
    return run


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def written() -> Callable[[Bench, Run], Run]:
    return write_run
