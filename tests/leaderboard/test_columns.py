"""Columns are found by evaluation, metric and, if there are several, eps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from advtransfer.errors import BadInput
from advtransfer.leaderboard.run_data import RunData, gather_run_data
from advtransfer.leaderboard.table_rows import find_column

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench


@pytest.fixture
def ladder(bench: Bench) -> RunData:
    trial = bench.trial("natural", 0, 0.5, 0.1)
    shares = {
        "robust_accuracy@0.1": 0.3,
        "robust_accuracy@0.0313725": 0.4,
        "clean_accuracy": 0.5,
        "curve@0.1@11": 0.2,
    }
    bench.result(trial["evaluations"]["pgd"][0], "foolbox/pgd", {}, shares)
    return gather_run_data(bench.run())


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("pgd.robust_accuracy@0.1", "robust_accuracy@0.1"),
        ("pgd.robust_accuracy@1e-1", "robust_accuracy@0.1"),
        ("pgd.robust_accuracy@8/255", "robust_accuracy@0.0313725"),
        ("pgd.clean_accuracy", "clean_accuracy"),
        ("pgd.curve", "curve@0.1@11"),
        ("pgd.curve@0.1", "curve@0.1@11"),
        ("clean.accuracy", "accuracy"),
    ],
)
def test_column_name_selects_its_metric(ladder: RunData, name: str, metric: str) -> None:
    assert metric == find_column(name, ladder).metric


def test_ambiguous_column_lists_matching_metrics(ladder: RunData) -> None:
    expected = (
        r"found leaderboard column 'pgd.robust_accuracy'; "
        r"expected one of pgd.robust_accuracy@0.0313725, pgd.robust_accuracy@0.1; correct it"
    )
    with pytest.raises(BadInput, match=expected):
        find_column("pgd.robust_accuracy", ladder)


def test_unknown_metric_lists_recorded_metrics(ladder: RunData) -> None:
    with pytest.raises(BadInput, match=r"'clean.acuracy'; expected one of clean.accuracy;"):
        find_column("clean.acuracy", ladder)


def test_unknown_evaluation_lists_evaluations(ladder: RunData) -> None:
    with pytest.raises(BadInput, match="with an evaluation of clean, pgd"):
        find_column("fgsm.accuracy", ladder)


def test_longest_matching_evaluation_wins(bench: Bench) -> None:
    trial = bench.trial("natural", 0)
    trial["evaluations"] = {"pgd": ["a" * 64], "pgd.long": ["b" * 64]}
    bench.result("b" * 64, "foolbox/pgd", {}, {"accuracy": 0.5})

    column = find_column("pgd.long.accuracy", gather_run_data(bench.run()))

    assert ("pgd.long", "accuracy") == (column.evaluation, column.metric)


def test_any_metric_is_accepted_before_the_first_record(bench: Bench) -> None:
    bench.trial("natural", 0)

    assert find_column("pgd.robust_accuracy", gather_run_data(bench.run())).metric is None
