"""Answers to a suite's questions and their page section."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np
import pytest

from advtransfer.errors import BadInput
from advtransfer.leaderboard import make_page
from advtransfer.leaderboard.image_bootstrap import ImageBootstrap
from advtransfer.leaderboard.questions_coefficients import PredictorResult, answer_questions
from advtransfer.leaderboard.questions_config import read_questions
from advtransfer.leaderboard.run_data import gather_run_data
from advtransfer.result.record import pack_outcomes, robust_share
from advtransfer.text import ABSENT
from advtransfer.types import Json

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench

ALPHA = {"a": 0.1, "b": 0.2, "c": 0.4, "d": 0.3}
CLEAN = {"a": 0.5, "b": 0.6, "c": 0.7, "d": 0.8}
QUESTION: dict[str, Json] = {
    "predictor": "align.alpha",
    "outcome": "clean.accuracy",
    "across": "source",
}


@pytest.fixture
def four_sources(bench: Bench) -> Bench:
    """Four sources with one reference, whose ranks have Kendall's tau 4/6."""
    bench.leaderboard["questions"] = [dict(QUESTION)]
    for source in ALPHA:
        bench.aligned(source, [ALPHA[source]], CLEAN[source])
    return bench


def only_result(bench: Bench) -> PredictorResult:
    """Return the result of the only predictor in the only scope."""
    (answer,) = answer_questions(gather_run_data(bench.run()))
    ((only,),) = answer.results.values()
    return only


def section(bench: Bench) -> str:
    return make_page(bench.run()).markdown.partition("## Questions\n\n")[2]


def test_the_coefficients_are_those_computed_by_hand(four_sources: Bench) -> None:
    result = only_result(four_sources).coefficients

    assert 0.8 == pytest.approx(result["Pearson"].value)
    assert 0.8 == pytest.approx(result["Spearman"].value)
    assert 4 / 6 == pytest.approx(result["Kendall"].value)
    assert 8 / 24 == pytest.approx(result["Kendall"].p)


def test_a_point_is_the_mean_over_seeds_and_replicates(bench: Bench) -> None:
    bench.leaderboard["questions"] = [dict(QUESTION)]
    for source, alpha in ALPHA.items():
        for replicate in range(2):
            for seed in range(2):
                clean = CLEAN[source] + 0.1 * replicate + 0.04 * seed
                bench.aligned(source, [alpha + replicate], clean, seed=seed, replicate=replicate)
    result = only_result(bench)

    assert ["a", "b", "c", "d"] == [point.label for point in result.points.points]
    assert 0.8 == pytest.approx(result.coefficients["Pearson"].value)
    assert "4 points" in section(bench)


def test_alphas_are_compared_within_one_reference_then_averaged(bench: Bench) -> None:
    """If references were pooled, the second with its larger values would decide."""
    bench.leaderboard["questions"] = [dict(QUESTION)]
    second = {"a": 100.0, "b": 200.0, "c": 300.0, "d": 400.0}
    for source in ALPHA:
        bench.aligned(source, [ALPHA[source], second[source]], CLEAN[source])

    assert (0.8 + 1) / 2 == pytest.approx(only_result(bench).coefficients["Spearman"].value)
    assert "Computed within each of 2 reference models, then averaged." in section(bench)


def test_each_n_and_transfer_is_a_separate_scope_unless_given(four_sources: Bench) -> None:
    for source in ALPHA:
        four_sources.aligned(source, [ALPHA[source]], 1 - CLEAN[source], n=50)

    assert "#### digits, n = 20, probe\n" in section(four_sources)
    assert "#### digits, n = 50, probe\n" in section(four_sources)
    four_sources.leaderboard["questions"][0]["given"] = {"n": [50], "source": ["a", "b", "c", "d"]}
    assert -0.8 == pytest.approx(only_result(four_sources).coefficients["Pearson"].value)
    assert "Restricted to: n 50; source `a`, `b`, `c`, `d`." in section(four_sources)
    four_sources.leaderboard["questions"][0]["given"] = {"seed": list(range(9))}
    assert "Restricted to: seed 0, 1, 2, 3, 4, 5, and 3 more." in section(four_sources)
    four_sources.leaderboard["questions"][0]["given"] = {"n": [51]}
    assert "No trial is selected." in section(four_sources)


def test_question_may_be_across_another_axis(four_sources: Bench) -> None:
    four_sources.leaderboard["questions"] = [QUESTION | {"across": "n", "given": {"source": "a"}}]
    for n, clean in ((50, 0.6), (100, 0.7)):
        four_sources.aligned("a", [0.1], clean, n=n)

    text = section(four_sources)

    assert "#### digits, from a, probe\n" in text
    assert "No coefficient, since one side has no spread." in text


def test_an_adapter_is_held_fixed_only_where_a_source_has_several(four_sources: Bench) -> None:
    for place, trial in enumerate(four_sources.trials):
        trial["adapter"] = f"shape {place % 2}"

    assert "#### digits, n = 20, probe\n" in section(four_sources)
    four_sources.trial("a", 0, 0.5, 0.1, adapter="shape 7")
    assert "#### digits, n = 20, via shape 1, probe\n" in section(four_sources)


def test_missing_points_are_listed_with_their_reasons(four_sources: Bench) -> None:
    four_sources.attempt(four_sources.trial("failed", 0)["id"], "no luck")
    four_sources.trial("grey", 0, skipped="shapes differ")
    four_sources.trial("waiting", 0)
    four_sources.trial("unaligned", 0, 0.5, 0.1)
    doubted = four_sources.aligned("doubted", [0.5], 0.9)
    check: Json = {
        "name": "noise",
        "grade": "fail",
        "value": 1,
        "limit": 0,
        "samples": 9,
        "text": "noise is stronger",
    }
    four_sources.records[doubted]["checks"] = [check]
    four_sources.aligned("d", [ALPHA["d"]], None, seed=1)

    text = section(four_sources)

    missing = "doubted (suspicious or invalid), failed (failed), grey (skipped), unaligned (no number), waiting (to do)"
    assert (
        f"4 points; p from all 24 orders. Missing: {missing}. Incomplete: d 1 of 2 trials." in text
    )


def test_influence_of_few_points_is_reported(bench: Bench) -> None:
    bench.leaderboard["questions"] = [dict(QUESTION)]
    for source, alpha, clean in [
        ("a", 0.0, 0.1),
        ("b", 0.1, 0.0),
        ("c", 0.0, 0.0),
        ("d", 0.1, 0.1),
        ("far", 1.0, 1.0),
    ]:
        bench.aligned(source, [alpha], clean)

    assert "With so few points, each of them has a large influence on a correlation" in section(
        bench
    )
    assert "Without far, Pearson's coefficient is .000." in section(bench)


def test_fewer_than_three_points_have_no_coefficient(bench: Bench) -> None:
    bench.leaderboard["questions"] = [dict(QUESTION)]
    for source in "ab":
        bench.aligned(source, [ALPHA[source]], CLEAN[source])

    assert ["align.alpha", "2", *[ABSENT] * 9] == bench.row(section(bench), "align.alpha")
    assert "2 points. At least 3 are needed." in section(bench)


def test_p_values_are_corrected_for_the_number_of_predictors_asked(four_sources: Bench) -> None:
    four_sources.leaderboard["questions"] = [
        QUESTION | {"predictor": ["align.alpha", "align.beta"]}
    ]
    (answer,) = answer_questions(gather_run_data(four_sources.run()))
    (results,) = answer.results.values()

    assert [-1, 1] == sorted(
        round(result.coefficients["Pearson"].value or 0, 1) / 0.8 for result in results
    )
    for result in results:
        assert result.corrected["Kendall"] == pytest.approx(2 * 8 / 24)
    assert (
        "How well do `align.alpha`, `align.beta` predict `clean.accuracy` across sources?"
        in section(four_sources)
    )


def test_all_points_share_the_resample_of_test_images_and_other_values_stay(
    four_sources: Bench,
) -> None:
    for trial in four_sources.trials:
        record = four_sources.records[trial["evaluations"]["clean"][0]]
        outcomes = [0] * 300 + [1] * 100 if trial["source"] in "ab" else [0] * 200 + [1] * 200
        record |= {
            "outcomes": {"accuracy": pack_outcomes(outcomes)},
            "metrics": {"accuracy": robust_share(outcomes)},
        }

    redraw = ImageBootstrap(only_result(four_sources).points)
    predictor, outcome = redraw(np.random.RandomState(0), 1000)

    assert np.ptp(predictor, axis=0).max() == 0
    assert (outcome[:, 0, 0] == outcome[:, 0, 1]).all()
    assert [0.75, 0.75, 0.5, 0.5] == pytest.approx(outcome.mean(axis=0)[0], abs=0.005)
    assert [np.sqrt(0.75 * 0.25 / 400), np.sqrt(0.25 / 400)] == pytest.approx(
        outcome.std(axis=0)[0, 1:3], rel=0.1
    )


def test_the_interval_of_the_page_is_over_images_too(four_sources: Bench) -> None:
    """The order of these sources changes only if their few test images are resampled."""
    shares = {**ALPHA, "e": 0.5, "f": 0.6}
    for source in "ef":
        four_sources.aligned(source, [shares[source]], 0.5)
    for trial in four_sources.trials:
        record = four_sources.records[trial["evaluations"]["clean"][0]]
        right = round(20 * shares[trial["source"]]) + 4
        outcomes = [0] * right + [1] * (20 - right)
        draws = random.Random(trial["source"])
        draws.shuffle(outcomes)
        record |= {
            "outcomes": {"accuracy": pack_outcomes(outcomes)},
            "metrics": {"accuracy": robust_share(outcomes)},
        }

    result = only_result(four_sources).coefficients["Kendall"]

    assert 1.0 == pytest.approx(result.value)
    assert result.interval is not None
    assert result.interval[0] < 0.9


def test_the_order_of_records_and_trials_changes_no_byte(four_sources: Bench) -> None:
    four_sources.leaderboard["questions"].append(QUESTION | {"predictor": "align.beta"})
    assert "### 2. How well does `align.beta` predict" in section(four_sources)
    run, draws = four_sources.run(), random.Random(1)
    # Functions that draw are never equal; what they drew is in `figures`.
    before = replace(make_page(run), drawings={})
    for _ in range(3):
        records, plan = list(run.records), json.loads(json.dumps(run.plan))
        draws.shuffle(records)
        draws.shuffle(plan["trials"])

        assert before == replace(make_page(replace(run, plan=plan, records=records)), drawings={})


def test_heading_counts_many_predictors(four_sources: Bench) -> None:
    four_sources.leaderboard["questions"][0]["predictor"] = ["align.alpha", "align.beta"] * 2
    page = make_page(four_sources.run()).markdown

    assert "### How well do 4 metrics predict `clean.accuracy` across sources?" in page
    assert "![clean.accuracy against 4 metrics: digits, n = 20, probe: 4 points, x from " in page
    assert "](question_1.svg)" in page


def test_each_question_has_a_scatter_of_its_points(four_sources: Bench) -> None:
    page = make_page(four_sources.run())

    assert ["question_1.svg"] == list(page.figures)
    text = "![clean.accuracy against align.alpha: digits, n = 20, probe: 4 points, x from "
    assert text in page.markdown
    assert (
        "{http://www.w3.org/2000/svg}svg"
        == ElementTree.fromstring(page.figures["question_1.svg"]).tag
    )


def test_many_predictors_are_wrapped_into_rows_of_panels(four_sources: Bench) -> None:
    four_sources.leaderboard["questions"][0]["predictor"] = [
        "align.alpha",
        "align.beta",
        "clean.accuracy",
    ]
    beside = make_page(four_sources.run()).figures["question_1.svg"]
    four_sources.leaderboard["questions"][0]["predictor"] += ["align.alpha", "align.beta"]
    wrapped = make_page(four_sources.run()).figures["question_1.svg"]

    def size(svg: bytes) -> tuple[float, float]:
        root = ElementTree.fromstring(svg)
        return float(root.attrib["width"].rstrip("pt")), float(root.attrib["height"].rstrip("pt"))

    assert size(wrapped)[0] == pytest.approx(size(beside)[0] * 4 / 3)
    assert size(wrapped)[1] > 1.5 * size(beside)[1]


def test_a_question_before_any_record_has_no_figure(four_sources: Bench) -> None:
    four_sources.records.clear()
    page = make_page(four_sources.run())

    assert {} == page.figures
    assert "0 points. Missing: a (to do), b (to do)" in page.markdown


def test_suite_without_questions_has_no_section(bench: Bench) -> None:
    assert "## Questions" not in make_page(bench.filled().run()).markdown


@pytest.mark.parametrize(
    "question",
    [
        "why?",
        {"predictor": "a.b", "outcome": "c.d"},
        {"predictor": [], "outcome": "c.d", "across": "source"},
        {"predictor": "a.b", "outcome": ["c.d", "e.f"], "across": "source"},
        {"predictor": "a.b", "outcome": "c.d", "across": "evaluation"},
        {"predictor": "a.b", "outcome": "c.d", "across": "source", "given": {"evaluation": ["a"]}},
        {"predictor": "a.b", "outcome": "c.d", "across": "source", "given": "probe"},
    ],
)
def test_malformed_question_is_an_error(question: Json) -> None:
    with pytest.raises(BadInput, match="expected predictor, outcome, across"):
        read_questions({"questions": [question]})


def test_question_about_an_unrecorded_metric_is_left_out_and_reported(four_sources: Bench) -> None:
    four_sources.leaderboard["questions"][0]["predictor"] = "align.gamma"
    page = make_page(four_sources.run())

    assert ["one of align.alpha, align.beta"] == [problem.expected for problem in page.problems]
    assert "## Questions" not in page.markdown
    assert (
        "align.gamma" in page.markdown.partition("## Requested by the suite, but in no record")[2]
    )
