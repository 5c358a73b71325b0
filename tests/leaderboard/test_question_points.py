"""Values are compared within each reference model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from advtransfer.leaderboard import make_page
from advtransfer.leaderboard.questions_coefficients import answer_questions
from advtransfer.leaderboard.run_data import gather_run_data

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench

CLEAN = {"a": 0.5, "b": 0.6, "c": 0.7, "d": 0.8}
NOTE = "Values of different reference models are pooled"


def test_predictor_without_references_is_compared_within_each_reference_of_the_outcome(
    bench: Bench,
) -> None:
    """If references were pooled, the second with its larger values would decide: 1, not .9."""
    bench.leaderboard["questions"] = [
        {"predictor": "clean.accuracy", "outcome": "align.alpha", "across": "source"}
    ]
    second = {"a": 100.0, "b": 200.0, "c": 300.0, "d": 400.0}
    for source, first in {"a": 0.1, "b": 0.2, "c": 0.4, "d": 0.3}.items():
        bench.aligned(source, [first, second[source]], CLEAN[source])
    (answer,) = answer_questions(gather_run_data(bench.run()))
    ((result,),) = answer.results.values()

    assert 2 == result.points.reference_count
    assert [[0.5, 0.5], [0.1, 100.0]] == [
        side[:, 0].tolist() for side in result.points.value_arrays
    ]
    assert (0.8 + 1) / 2 == pytest.approx(result.coefficients["Spearman"].value)
    assert (
        "Computed within each of 2 reference models, then averaged."
        in make_page(bench.run()).markdown
    )
    assert NOTE not in make_page(bench.run()).markdown


@pytest.mark.parametrize("references", [1, 2])
def test_across_targets_different_reference_models_are_said_to_be_pooled(
    bench: Bench, references: int
) -> None:
    bench.leaderboard["questions"] = [
        {"predictor": "align.alpha", "outcome": "clean.accuracy", "across": "target"}
    ]
    for place, clean in enumerate(CLEAN.values()):
        bench.aligned("a", [0.1 * (place + 1)] * references, clean, target=f"target {place}")
    (answer,) = answer_questions(gather_run_data(bench.run()))
    ((result,),) = answer.results.values()

    assert 1 == result.points.reference_count
    assert 1.0 == pytest.approx(result.coefficients["Pearson"].value)
    assert NOTE in make_page(bench.run()).markdown


def test_skipped_evaluation_is_the_reason_for_a_missing_point(
    bench: Bench,
) -> None:
    bench.leaderboard["questions"] = [
        {"predictor": "align.alpha", "outcome": "clean.accuracy", "across": "source"}
    ]
    for source, clean in CLEAN.items():
        bench.aligned(source, [0.1], clean)
    (id,) = bench.trials[-1]["evaluations"]["align"]
    del bench.records[id]
    bench.attempt(id, "two are needed", status="skipped")

    assert "Missing: d (skipped)." in make_page(bench.run()).markdown
