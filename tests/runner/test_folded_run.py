"""A whole run with an attack too weak for its claim: records stay, every number that is read folds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import nn

from advtransfer import runner, suite
from advtransfer.hookspecs import hookimpl
from advtransfer.host import Host
from advtransfer.leaderboard.publish import load_run_records
from advtransfer.leaderboard.run_data import gather_run_data
from advtransfer.leaderboard.table_rows import find_column
from advtransfer.publication.publish import Origin
from advtransfer.publication.publish import publish_run as publish
from advtransfer.result import Run
from advtransfer.runner import RunSettings
from advtransfer.toolkit.heads import with_head
from advtransfer.types import (
    Context,
    DataCard,
    Evaluation,
    EvaluationInputs,
    Examples,
    Factory,
    Fitted,
    Json,
    Measurement,
    Network,
    Outcome,
    Samples,
    Transfer,
    component,
)

SUITE = """\
version: 1
title: One weak attack
datasets:
  low: {use: vision/digits, classes: [0, 1, 2]}
  high: {use: vision/digits, classes: [5, 6, 7]}
sources:
  random: {use: vision/random_init, data: low}
targets:
  digits: {data: high, n: [60], seeds: 1, test: 60}
transfers:
  probe: {use: finetune/linear_probe}
  idle: {use: odd/idle}
evaluations:
  weak: {use: odd/weak}
leaderboard:
  rank_by: worst_linf.robust_accuracy@0.1
  columns: [weak.robust_accuracy, weak.attack_accuracy, worst_linf.robust_accuracy@0.1]
"""
NAME = "robust_accuracy@0.1"
FINISHED: list[tuple[Mapping[str, Json], Mapping[str, float], Sequence[str]]] = []


class Weak:
    """Calls every correct sample robust in l_inf at 0.1, and shows no example."""

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        nobody = torch.arange(0)
        positions = torch.arange(len(given.test))
        logits = cast(nn.Module, given.model)(given.test.inputs(positions))
        correct = logits.argmax(1) == given.test.labels(positions)
        outcomes = torch.where(correct, int(Outcome.ROBUST), int(Outcome.WRONG)).to(torch.uint8)
        examples = [Examples(NAME, "linf", 0.1, nobody, given.test.inputs(nobody))]
        return Measurement(outcomes={NAME: outcomes}, examples=examples)


class Idle:
    """A transfer that leaves its head at zero, so that it predicts the first class."""

    def model(
        self, *, source: Network | None, adapter: nn.Module | None, target: DataCard
    ) -> nn.Module:
        network = cast(Network, source)
        return with_head(network, target.outputs, shape=target.shape, adapter=adapter)

    def fit(
        self,
        model: nn.Module,
        *,
        source: Network | None,
        adapter: nn.Module | None,
        train: Samples,
        validation: Samples | None,
        context: Context,
    ) -> Fitted:
        return Fitted()


@component(needs=("model",))
def weak() -> Evaluation:
    """An attack that finds nothing."""
    return Weak()


@component(needs=("source",))
def idle() -> Transfer:
    """A transfer that learns nothing."""
    return Idle()


@hookimpl
def register_evaluations() -> Iterable[Factory[Evaluation]]:
    return [weak]


@hookimpl
def register_transfers() -> Iterable[Factory[Transfer]]:
    return [idle]


@hookimpl
def trial_finished(
    trial: Mapping[str, Json], metrics: Mapping[str, float], upper_bounds: Sequence[str]
) -> None:
    FINISHED.append((trial, metrics, upper_bounds))


@pytest.fixture
def done(host: Host, tmp_path: Path) -> Run:
    FINISHED.clear()
    (tmp_path / "weak.yaml").write_text(SUITE)
    settings = RunSettings(
        executor="local/inline", runs=tmp_path / "runs", cache=tmp_path / "cache"
    )
    loaded = suite.load(str(tmp_path / "weak.yaml"), host)
    return Run(runner.run_suite(loaded, settings=settings, host=host).run)


CITATION = Path(__file__).parents[2] / "CITATION.cff"


def publish_run(run: Run, out: Path) -> Path:
    """Publish a run as the founder of its board, and return the page of the board."""
    folder = publish(run, out, Origin("own", "A. Name", "MIT", CITATION), found=True)
    return out / folder.parent.name / "README.md"


def test_every_surface_shows_what_the_battery_left(done: Run, tmp_path: Path) -> None:
    records = [cast("dict[str, Any]", record) for record in done.read_records()]  # Any: JSON
    recorded = {
        record["asked"]["inputs"]["model"]: record["metrics"][NAME]["value"]
        for record in records
        if record["kind"] == "result"
    }
    data = gather_run_data(load_run_records(done))
    columns = [find_column(name, data) for name in cast(Any, data.plan.leaderboard["columns"])]
    page = (done.path / "leaderboard.md").read_text()
    published = publish_run(done, tmp_path / "published").read_text()

    assert 2 == len(FINISHED) == len(data.plan.trials)
    for trial, metrics, upper_bounds in FINISHED:
        planned = next(each for each in data.plan.trials if each.id == trial["id"])
        folded, alone, worst = (column.metric_of(planned, data) for column in columns)
        assert folded is not None
        assert alone is not None
        assert worst is not None
        assert recorded[planned.id] == alone.low == metrics["weak.attack_accuracy@0.1"]
        assert folded.low == worst.low == metrics[f"weak.{NAME}"] == metrics[f"worst_linf.{NAME}"]
        assert [] == list(upper_bounds)
        row = next(
            line for line in page.splitlines() if f"| {planned.transfer}" in line and "|" in line
        )
        assert f"{folded.low:.3f}".removeprefix("0") in row
        assert row in published
    probe = next(trial for trial in data.plan.trials if trial.transfer == "probe")
    assert cast(Any, columns[0].metric_of(probe, data)).low < recorded[probe.id] - 0.1


def test_fit_that_predicts_a_constant_is_told_and_not_ranked(done: Run) -> None:
    page = (done.path / "leaderboard.md").read_text()
    data = gather_run_data(load_run_records(done))
    reasons = {trial.transfer: data.unlearned_reason(trial) for trial in data.plan.trials}

    assert reasons["probe"] is None
    assert "those of a constant" in str(reasons["idle"])
    assert "idle ¶" in page
    assert "did not learn" in page
