"""A suite's questions: which points they are answered from, and what the page says of them."""

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
from advtransfer.leaderboard.markdown import ABSENT
from advtransfer.leaderboard.questions_coefficients import (
    ImageBootstrap,
    PredictorResult,
    answer_questions,
)
from advtransfer.leaderboard.questions_config import read_questions
from advtransfer.leaderboard.run_data import gather_run_data
from advtransfer.result.record import pack_outcomes, robust_share
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
def asked(bench: Bench) -> Bench:
    """Four sources with one reference, whose ranks have Kendall's tau 4/6."""
    bench.leaderboard["questions"] = [dict(QUESTION)]
    for source in ALPHA:
        bench.aligned(source, [ALPHA[source]], CLEAN[source])
    return bench


def told(bench: Bench) -> PredictorResult:
    """What the only predictor tells at the only place."""
    (finding,) = answer_questions(gather_run_data(bench.run()))
    ((only,),) = finding.results.values()
    return only


def section(bench: Bench) -> str:
    return make_page(bench.run()).markdown.partition("## Questions\n\n")[2]


def test_the_coefficients_are_those_computed_by_hand(asked: Bench) -> None:
    found = told(asked).coefficients

    assert 0.8 == pytest.approx(found["Pearson"].value)
    assert 0.8 == pytest.approx(found["Spearman"].value)
    assert 4 / 6 == pytest.approx(found["Kendall"].value)
    assert 8 / 24 == pytest.approx(found["Kendall"].p)


def test_a_point_is_the_mean_over_seeds_and_replicates(bench: Bench) -> None:
    bench.leaderboard["questions"] = [dict(QUESTION)]
    for source, alpha in ALPHA.items():
        for replicate in range(2):
            for seed in range(2):
                clean = CLEAN[source] + 0.1 * replicate + 0.04 * seed
                bench.aligned(source, [alpha + replicate], clean, seed=seed, replicate=replicate)
    found = told(bench)

    assert ["a", "b", "c", "d"] == [point.label for point in found.points.points]
    assert 0.8 == pytest.approx(found.coefficients["Pearson"].value)
    assert "4 points" in section(bench)


def test_alphas_are_compared_within_one_reference_then_averaged(bench: Bench) -> None:
    """Pooled over references of unlike size, the second one alone would decide."""
    bench.leaderboard["questions"] = [dict(QUESTION)]
    second = {"a": 100.0, "b": 200.0, "c": 300.0, "d": 400.0}
    for source in ALPHA:
        bench.aligned(source, [ALPHA[source], second[source]], CLEAN[source])

    assert (0.8 + 1) / 2 == pytest.approx(told(bench).coefficients["Spearman"].value)
    assert "Computed within each of 2 reference models, then averaged." in section(bench)


def test_each_n_and_transfer_is_a_place_of_its_own_unless_given(asked: Bench) -> None:
    for source in ALPHA:
        asked.aligned(source, [ALPHA[source]], 1 - CLEAN[source], n=50)

    assert "#### digits, n = 20, probe\n" in section(asked)
    assert "#### digits, n = 50, probe\n" in section(asked)
    asked.leaderboard["questions"][0]["given"] = {"n": [50], "source": ["a", "b", "c", "d"]}
    assert -0.8 == pytest.approx(told(asked).coefficients["Pearson"].value)
    assert "Given: n 50; source `a`, `b`, `c`, `d`." in section(asked)
    asked.leaderboard["questions"][0]["given"] = {"seed": list(range(9))}
    assert "Given: seed 0, 1, 2, 3, 4, 5, and 3 more." in section(asked)
    asked.leaderboard["questions"][0]["given"] = {"n": [51]}
    assert "No trial is selected." in section(asked)


def test_other_axes_can_be_asked_across(asked: Bench) -> None:
    asked.leaderboard["questions"] = [QUESTION | {"across": "n", "given": {"source": "a"}}]
    for n, clean in ((50, 0.6), (100, 0.7)):
        asked.aligned("a", [0.1], clean, n=n)

    shown = section(asked)

    assert "#### digits, from a, probe\n" in shown
    assert "No coefficient, since one side has no spread." in shown


def test_an_adapter_is_held_fixed_only_where_a_source_has_several(asked: Bench) -> None:
    for place, trial in enumerate(asked.trials):
        trial["adapter"] = f"shape {place % 2}"

    assert "#### digits, n = 20, probe\n" in section(asked)
    asked.trial("a", 0, 0.5, 0.1, adapter="shape 7")
    assert "#### digits, n = 20, via shape 1, probe\n" in section(asked)


def test_what_is_missing_is_told_with_its_reason(asked: Bench) -> None:
    asked.attempt(asked.trial("failed", 0)["id"], "no luck")
    asked.trial("grey", 0, skipped="shapes differ")
    asked.trial("waiting", 0)
    asked.trial("unaligned", 0, 0.5, 0.1)
    doubted = asked.aligned("doubted", [0.5], 0.9)
    check: Json = {
        "name": "noise",
        "grade": "fail",
        "value": 1,
        "limit": 0,
        "samples": 9,
        "text": "noise is stronger",
    }
    asked.records[doubted]["checks"] = [check]
    asked.aligned("d", [ALPHA["d"]], None, seed=1)

    shown = section(asked)

    missing = "doubted (not believed), failed (failed), grey (skipped), unaligned (no number), waiting (to do)"
    assert f"4 points; p from all 24 orders. Missing: {missing}. In part: d 1 of 2 trials." in shown


def test_few_points_are_said_to_drive_a_correlation(bench: Bench) -> None:
    bench.leaderboard["questions"] = [dict(QUESTION)]
    for source, alpha, clean in [
        ("a", 0.0, 0.1),
        ("b", 0.1, 0.0),
        ("c", 0.0, 0.0),
        ("d", 0.1, 0.1),
        ("far", 1.0, 1.0),
    ]:
        bench.aligned(source, [alpha], clean)

    assert "A correlation over so few points is driven by each of them" in section(bench)
    assert "Without far, Pearson's coefficient is .000." in section(bench)


def test_fewer_than_three_points_have_no_coefficient(bench: Bench) -> None:
    bench.leaderboard["questions"] = [dict(QUESTION)]
    for source in "ab":
        bench.aligned(source, [ALPHA[source]], CLEAN[source])

    assert ["align.alpha", "2", *[ABSENT] * 9] == bench.row(section(bench), "align.alpha")
    assert "2 points. At least 3 are needed." in section(bench)


def test_p_values_are_corrected_for_the_number_of_predictors_asked(asked: Bench) -> None:
    asked.leaderboard["questions"] = [QUESTION | {"predictor": ["align.alpha", "align.beta"]}]
    (finding,) = answer_questions(gather_run_data(asked.run()))
    (told,) = finding.results.values()

    assert [-1, 1] == sorted(round(one.coefficients["Pearson"].value or 0, 1) / 0.8 for one in told)
    for one in told:
        assert one.corrected["Kendall"] == pytest.approx(2 * 8 / 24)
    assert (
        "How well do `align.alpha`, `align.beta` predict `clean.accuracy` across sources?"
        in section(asked)
    )


def test_test_images_are_drawn_again_alike_for_all_points_and_for_nothing_that_is_no_share(
    asked: Bench,
) -> None:
    for trial in asked.trials:
        record = asked.records[trial["evaluations"]["clean"][0]]
        outcomes = [0] * 300 + [1] * 100 if trial["source"] in "ab" else [0] * 200 + [1] * 200
        record |= {
            "outcomes": {"accuracy": pack_outcomes(outcomes)},
            "metrics": {"accuracy": robust_share(outcomes)},
        }

    redraw = ImageBootstrap(told(asked).points)
    predictor, outcome = redraw(np.random.RandomState(0), 1000)

    assert np.ptp(predictor, axis=0).max() == 0
    assert (outcome[:, 0, 0] == outcome[:, 0, 1]).all()
    assert [0.75, 0.75, 0.5, 0.5] == pytest.approx(outcome.mean(axis=0)[0], abs=0.005)
    assert [np.sqrt(0.75 * 0.25 / 400), np.sqrt(0.25 / 400)] == pytest.approx(
        outcome.std(axis=0)[0, 1:3], rel=0.1
    )


def test_the_interval_of_the_page_is_over_images_too(asked: Bench) -> None:
    """Two sources whose few test images separate them: over sources alone their order never changes."""
    for trial in asked.trials:
        record = asked.records[trial["evaluations"]["clean"][0]]
        right = round(20 * ALPHA[trial["source"]]) + 4
        outcomes = [0] * right + [1] * (20 - right)
        draws = random.Random(trial["source"])
        draws.shuffle(outcomes)
        record |= {
            "outcomes": {"accuracy": pack_outcomes(outcomes)},
            "metrics": {"accuracy": robust_share(outcomes)},
        }

    found = told(asked).coefficients["Kendall"]

    assert 1.0 == pytest.approx(found.value)
    assert found.interval is not None
    assert found.interval[0] < 0.9


def test_the_order_of_records_and_trials_changes_no_byte(asked: Bench) -> None:
    asked.leaderboard["questions"].append(QUESTION | {"predictor": "align.beta"})
    assert "### 2. How well does `align.beta` predict" in section(asked)
    run, draws = asked.run(), random.Random(1)
    before = make_page(run)
    for _ in range(3):
        records, plan = list(run.records), json.loads(json.dumps(run.plan))
        draws.shuffle(records)
        draws.shuffle(plan["trials"])

        assert before == make_page(replace(run, plan=plan, records=records))


def test_of_many_predictors_the_heading_says_how_many(asked: Bench) -> None:
    asked.leaderboard["questions"][0]["predictor"] = ["align.alpha", "align.beta"] * 2
    found = make_page(asked.run()).markdown

    assert "### How well do 4 metrics predict `clean.accuracy` across sources?" in found
    assert "![clean.accuracy against 4 metrics](question_1.svg)" in found


def test_each_question_has_a_scatter_of_its_points(asked: Bench) -> None:
    found = make_page(asked.run())

    assert ["question_1.svg"] == list(found.figures)
    assert "![clean.accuracy against align.alpha](question_1.svg)" in found.markdown
    assert (
        "{http://www.w3.org/2000/svg}svg"
        == ElementTree.fromstring(found.figures["question_1.svg"]).tag
    )


def test_many_predictors_are_wrapped_into_rows_of_panels(asked: Bench) -> None:
    asked.leaderboard["questions"][0]["predictor"] = ["align.alpha", "align.beta", "clean.accuracy"]
    beside = make_page(asked.run()).figures["question_1.svg"]
    asked.leaderboard["questions"][0]["predictor"] += ["align.alpha", "align.beta"]
    wrapped = make_page(asked.run()).figures["question_1.svg"]

    def size(svg: bytes) -> tuple[float, float]:
        root = ElementTree.fromstring(svg)
        return float(root.attrib["width"].rstrip("pt")), float(root.attrib["height"].rstrip("pt"))

    assert size(wrapped)[0] == pytest.approx(size(beside)[0] * 4 / 3)
    assert size(wrapped)[1] > 1.5 * size(beside)[1]


def test_a_question_before_any_record_has_no_figure(asked: Bench) -> None:
    asked.records.clear()
    found = make_page(asked.run())

    assert {} == found.figures
    assert "0 points. Missing: a (to do), b (to do)" in found.markdown


def test_a_suite_that_asks_nothing_has_no_section(bench: Bench) -> None:
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
def test_a_question_that_is_none_is_an_error(question: Json) -> None:
    with pytest.raises(BadInput, match="expected predictor, outcome, across"):
        read_questions({"questions": [question]})


def test_a_question_about_a_metric_that_no_record_has_is_left_out_and_said(asked: Bench) -> None:
    asked.leaderboard["questions"][0]["predictor"] = "align.gamma"
    made = make_page(asked.run())

    assert ["one of align.alpha, align.beta"] == [one.expected for one in made.problems]
    assert "## Questions" not in made.markdown
    assert (
        "align.gamma" in made.markdown.partition("## What the suite asks for and no record has")[2]
    )
