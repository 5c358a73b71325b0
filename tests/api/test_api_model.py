"""The model of a published bundle's trial is that of its record: its settings and its data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import advtransfer as at
from advtransfer.errors import BadInput
from advtransfer.result import Run
from advtransfer.result.bundle import write_bundle, write_record_files

FEW = "random -> digits n=20 seed=0 probe"
MANY = "random -> digits n=30 seed=0 probe"


@pytest.fixture
def suite(suite_text: str) -> str:
    """The suite with two trials, of which none fails."""
    kept = [line for line in suite_text.splitlines() if not line.startswith("  blow:")]
    return "\n".join(kept).replace("n: [20]", "n: [20, 30]")


def one_trial(suite: str, n: int, runs: str, **options: Any) -> at.Report:  # noqa: ANN401  # Any: options of run
    return at.run(
        suite,
        name="tiny",
        runs=runs,
        executor="local/inline",
        only=f"n={n}",
        battery="none",
        keep="models",
        quiet=True,
        **options,
    )


def published(path: Path) -> at.Report:
    """Return the report of a run's bundle, in which records are lines."""
    report = at.open(write_bundle(Run(path), Path("bundle")))
    assert not list(report.path.glob("records/*/*.json"))
    return report


def environments_of(fit: str, cache: Path) -> set[str]:
    """Return the environment keys under which a cache has a fit."""
    artifacts = cache / "artifacts"
    return {path.relative_to(artifacts).parts[0] for path in artifacts.rglob(f"{fit}*")}


def trial_id(report: at.Report, n: int) -> str:
    trials: Any = Run(report.path).read_plan()["trials"]  # Any: JSON
    return str(next(trial["id"] for trial in trials if trial["n"] == n))


def test_the_model_of_a_bundle_has_the_settings_of_its_record(own_folder: Path, suite: str) -> None:
    run = one_trial(suite, 20, "runs", kernel_batch=96, precision="bfloat16")
    report = published(run.path)

    report.model(FEW)

    # The kept weights are loaded: with other settings it would be fitted under another key.
    assert environments_of(trial_id(report, 20), own_folder / "cache") == {"cpu-1-bfloat16-96"}


def test_each_model_of_merged_runs_has_its_own_settings(own_folder: Path, suite: str) -> None:
    runs = [
        one_trial(suite, 20, "few", kernel_batch=96).path,
        one_trial(suite, 30, "many").path,
    ]
    at.merge(runs, into="both", mixed=True)
    report = published(Path("both"))

    for name in (FEW, MANY):
        report.model(name)

    cache = own_folder / "cache"
    assert environments_of(trial_id(report, 20), cache) == {"cpu-1-float32-96"}
    assert environments_of(trial_id(report, 30), cache) == {"cpu-1-float32"}


def test_a_model_of_other_data_than_recorded_is_refused(own_folder: Path, suite: str) -> None:
    report = published(one_trial(suite, 20, "runs").path)
    records = [*Run(report.path).read_records()]
    for record in records:
        if record["kind"] == "fit":
            provenance: Any = record["provenance"]  # Any: JSON
            provenance["data"]["subset"] = "0" * 64
    write_record_files(report.path, records)

    with pytest.raises(
        BadInput, match=rf"other data here than the record of {FEW} names \(subset\)"
    ):
        at.open(report.path).model(FEW)
