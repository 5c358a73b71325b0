"""Alignment as ordinary columns of a run, and the shipped synthetic experiment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from statistics import correlation
from typing import Any

import pytest

import advtransfer as at
from advtransfer.host import Host
from advtransfer.suite import load
from advtransfer.testing.command import Command

SUITE = """\
datasets:
  low: {use: vision/digits, classes: [0, 1, 2]}
  high: {use: vision/digits, classes: [5, 6, 7]}
defaults:
  vision/trained: {epochs: 2}
sources:
  natural: {use: vision/trained, data: low}
  random: {use: vision/random_init, data: low}
targets:
  digits: {data: high, n: [80], seeds: 2, test: 60, reference: {use: vision/trained, data: high, epochs: 5, seeds: 2}}
transfers:
  probe: {use: finetune/linear_probe}
evaluations:
  loss: {use: alignment/transfer_loss}
  alignment: {use: alignment/alignment, attack: {norm: l2, eps: 0.5, steps: 3}}
  leep: {use: alignment/leep}
  h_score: {use: alignment/h_score}
  logme: {use: alignment/logme, attack: {kind: fgsm, eps: 0.1}}
leaderboard:
  columns: [loss.loss, alignment.alpha_1_st, leep.leep, logme.logme]
"""


@pytest.fixture
def command(tmp_path: Path) -> Command:
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("ADVTRANSFER", "COV_"))
    }
    return Command(
        tmp_path, environment | {"ADVTRANSFER_CACHE": str(tmp_path / "cache"), "NO_COLOR": "1"}
    )


def results(run: Path) -> dict[str, Any]:  # Any: JSON
    """Return every result of a run by id."""
    records = [json.loads(path.read_text()) for path in run.glob("records/*/*.json")]
    return {record["id"]: record for record in records if record["kind"] == "result"}


def test_alignment_of_one_source_and_reference_is_measured_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADVTRANSFER_CACHE", str(tmp_path / "cache"))
    report = at.run(SUITE, name="small", executor="local/inline", quiet=True)
    records = results(report.path)
    uses = [record["asked"]["use"] for record in records.values()]

    assert report.ok
    assert "4 done, 0 failed, 0 skipped" in str(report)
    assert [4, 4] == [uses.count("alignment/alignment"), uses.count("alignment/leep")]
    assert all(
        record["samples"]["fields"]
        for record in records.values()
        if record["asked"]["use"] == "alignment/alignment"
    )
    assert "alignment.alpha_1_st" in (report.path / "leaderboard.md").read_text()
    kinds = [json.loads(path.read_text()).get("kind") for path in tmp_path.rglob("cache/**/*.json")]
    assert {2} == {kinds.count(f"{name} adversarials") for name in ("source", "reference")}


def test_the_synthetic_experiment_is_shipped_with_its_questions() -> None:
    suite = load("adversarial-knowledge-mini-more", Host.discover())

    assert 30 == len(suite.sources)
    assert {"width_50", "width_100", "width_200"} == {cell.key for cell in suite.sources}
    assert 7 == len(suite.leaderboard.questions)


@pytest.mark.slow
def test_synthetic_experiment_relates_alignment_and_transfer(command: Command) -> None:
    command("run", "adversarial-knowledge-mini-more")
    folder = command.folder / "runs" / "adversarial-knowledge-mini-more"
    records, plan = results(folder), json.loads((folder / "plan.json").read_text())
    rows = [
        metrics_of(trial, records)
        for trial in plan["trials"]
        if trial["source"].startswith("width 100,")
    ]

    def pearson(predictor: str, outcome: str = "knowledge_distance_features") -> float:
        return correlation(
            [metrics[predictor] for metrics in rows], [metrics[outcome] for metrics in rows]
        )

    # Liang et al. (2021), released numbers for the same width: -.98, -.79, -.98 and .99
    assert 10 == len(rows)
    assert pearson("alpha_1_st") < -0.9
    assert pearson("alpha_2_st") < -0.6
    assert pearson("joint_st") < -0.9
    assert pearson("gradient_distance_st") > 0.9
    assert pearson("alpha_1_st", "loss") < -0.9
    assert pearson("gradient_distance_st", "loss") > 0.9


def metrics_of(
    trial: Mapping[str, Any], records: Mapping[str, Any]
) -> dict[str, float]:  # Any: JSON
    """Return every value of a trial by metric."""
    ids = [id for those in trial["evaluations"].values() for id in those]
    return {name: metric["value"] for id in ids for name, metric in records[id]["metrics"].items()}
