"""A page answers its suite's question first, in a sentence made from the numbers."""

from __future__ import annotations

from statistics import mean, stdev
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pytest
from scipy.stats import t

from advtransfer.errors import BadInput
from advtransfer.leaderboard import make_page
from advtransfer.leaderboard.aggregates import mean_paired_difference, paired_difference
from advtransfer.leaderboard.answer import Answer
from advtransfer.leaderboard.contrasts import Contrast, RowName, read_contrast
from advtransfer.leaderboard.result_data import ImageShares, Metric

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench, Json_

SURE = {"natural": [0.5, 0.5, 0.52], "robust": [0.7, 0.7, 0.72]}


def answered(bench: Bench) -> Answer:
    answer = make_page(bench.run()).answer
    assert answer is not None
    return answer


def test_sure_difference_is_a_yes_with_its_numbers(bench: Bench) -> None:
    bench.clean = SURE
    bench.leaderboard["answer"] = {"of": {"source": "robust"}, "against": {"source": "natural"}}

    answer = answered(bench.filled())

    assert answer.verdict == "yes"
    assert answer.difference is not None
    assert answer.difference.low == pytest.approx(0.2)
    assert answer.text.startswith(
        "**Yes.** robust with probe does better than natural with probe in `clean.accuracy` on "
        "digits, n = 20: .707 against .507, a difference of +.200 ["
    )
    assert answer.text.endswith("] (95 % interval over 3 subset seeds and 1,000 test images).")


@pytest.mark.parametrize("lowest", [False, True])
def test_direction_decides_between_yes_and_no(bench: Bench, lowest: bool) -> None:
    bench.clean = SURE
    metric = {"lowest": "clean.accuracy"} if lowest else "clean.accuracy"
    bench.leaderboard["answer"] = {
        "metric": metric,
        "of": {"source": "natural"},
        "against": {"source": "robust"},
    }

    answer = answered(bench.filled())

    assert answer.verdict == ("yes" if lowest else "no")
    assert answer.text.startswith("**Yes.** natural" if lowest else "**No.** natural")
    assert ("(lower is better)" in answer.text) is lowest


def test_interval_around_zero_cannot_tell(bench: Bench) -> None:
    bench.clean = {"natural": [0.5, 0.6, 0.7], "robust": [0.6, 0.5, 0.75]}
    bench.leaderboard["answer"] = {"of": {"source": "robust"}, "against": {"source": "natural"}}

    answer = answered(bench.filled())

    assert answer.verdict == "cannot tell"
    assert answer.text.startswith("**Cannot tell** whether robust with probe does better than")
    assert answer.difference is not None
    assert answer.difference.interval is not None
    assert answer.difference.interval[0] < 0 < answer.difference.interval[1]


def test_one_trial_without_images_cannot_tell(bench: Bench) -> None:
    bench.has_outcomes = False
    for source, value in (("natural", 0.5), ("robust", 0.9)):
        bench.trial(source, 0, value)

    answer = answered(bench)

    assert answer.verdict == "cannot tell"
    assert "no interval: that takes several trials" in answer.text


def test_default_is_the_best_row_against_the_baseline_and_says_that_it_was_chosen(
    bench: Bench,
) -> None:
    bench.clean = {**SURE, "other": [0.6, 0.6, 0.6]}

    answer = answered(bench.filled())

    assert answer.verdict == "yes"
    assert answer.comparison is not None
    assert answer.comparison.chosen == RowName("robust", None, "probe")
    assert answer.comparison.family_size == 2
    assert answer.text.startswith("robust with probe does better than natural with probe in")
    assert "chosen as the best of 2 rows, which makes its mean too good on average" in answer.text


def test_choice_among_many_rows_needs_a_smaller_p(bench: Bench) -> None:
    """The same difference is clear when it is stated, and not when it is the best of thirty."""
    bench.has_outcomes = False
    bench.clean = {"natural": [0.50, 0.52, 0.54], "robust": [0.60, 0.60, 0.66]}
    bench.clean |= {f"other {number}": [0.5, 0.5, 0.5] for number in range(30)}
    bench.filled()
    differences = [0.10, 0.08, 0.12]
    statistic = mean(differences) / (stdev(differences) / 3**0.5)
    p_value = 2 * float(t.sf(statistic, df=2))
    assert p_value < 0.05 < 31 * p_value

    chosen = answered(bench)
    bench.leaderboard["answer"] = {"of": {"source": "robust"}}
    stated = answered(bench)

    assert (chosen.verdict, stated.verdict) == ("cannot tell", "yes")
    assert chosen.difference is not None
    assert chosen.difference.p_value == pytest.approx(p_value)
    assert f"p = {31 * p_value:.3f}".replace("0.", ".") in chosen.text


def test_baseline_that_is_the_best_row_itself_is_said(bench: Bench) -> None:
    bench.clean = {"natural": [0.7, 0.7, 0.72], "robust": [0.5, 0.5, 0.52]}

    answer = answered(bench.filled())

    assert answer.verdict == "no"
    assert answer.text.endswith("The best row of all is the baseline's: natural with probe.")


def test_without_a_baseline_the_best_row_meets_the_second(bench: Bench) -> None:
    bench.leaderboard["baseline"] = None
    bench.clean = {"low": [0.3] * 3, "high": [0.9] * 3, "middle": [0.6] * 3}

    answer = answered(bench.filled())

    assert "high with probe does better than middle with probe" in answer.text
    assert answer.comparison is not None
    # All three pairs: any of them could have been the best and the second.
    assert answer.comparison.family_size == 3


def test_largest_n_is_the_default_and_at_chooses_another(bench: Bench) -> None:
    for n in (20, "all", 100):
        bench.filled(n=n)

    assert "on digits, n = all:" in answered(bench).text
    bench.leaderboard["answer"] = {"at": {"n": [20]}}
    assert "on digits, n = 20:" in answered(bench).text


def test_several_tables_are_one_mean_of_their_paired_differences(bench: Bench) -> None:
    for target, shift in (("digits", 0.0), ("letters", 0.1)):
        for transfer, gain in (("probe", 0.1), ("block", 0.2)):
            for seed in range(3):
                base = 0.3 + 0.02 * seed
                bench.trial("natural", seed, base, target=target, transfer=transfer)
                bench.trial("robust", seed, base + gain + shift, target=target, transfer=transfer)
    bench.leaderboard["answer"] = {"of": {"source": "robust"}, "against": {"source": "natural"}}

    answer = answered(bench)

    assert answer.difference is not None
    assert answer.difference.low == pytest.approx((0.1 + 0.2 + 0.2 + 0.3) / 4)
    assert "robust does better than natural" in answer.text
    assert "on digits and letters, n = 20:" in answer.text
    assert "the mean over 4 pairs of rows in 2 tables" in answer.text
    assert answer.difference.image_count == 2000


def test_rows_are_paired_within_their_transfer_or_source(bench: Bench) -> None:
    for seed in range(3):
        bench.trial("natural", seed, 0.4, transfer="scratch")
        bench.trial("robust", seed, 0.5, transfer="scratch")
        bench.trial("natural", seed, 0.6, transfer="igam")
        bench.trial("robust", seed, 0.8, transfer="igam")
    bench.leaderboard["answer"] = {"of": {"transfer": "igam"}, "against": {"transfer": "scratch"}}
    both = answered(bench)
    bench.leaderboard["answer"]["at"] = {"source": ["robust"]}
    one = answered(bench)

    assert both.difference is not None
    assert one.difference is not None
    assert both.difference.low == pytest.approx(0.25)
    assert one.difference.low == pytest.approx(0.3)
    assert one.text.startswith("**Yes.** robust with igam does better than robust with scratch")


@pytest.mark.parametrize("grade", ["suspicious", "fail"])
def test_row_that_is_not_ranked_is_never_an_answer(bench: Bench, grade: str) -> None:
    check: Json_ = {"name": "noise", "value": 0.2, "limit": 0.05, "samples": 200, "text": "strong"}
    bench.leaderboard |= {"rank_by": "pgd.robust_accuracy", "answer": {"of": {"source": "robust"}}}
    outcomes = [0] * 30 + [1] * 70
    for source in ("natural", "robust"):
        for seed in range(3):
            trial = bench.trial(source, seed, 0.9, 0.3)
            bench.checked(trial, outcomes)
            if source == "robust":
                (id,) = trial["evaluations"]["pgd"]
                bench.records[id]["checks"] += [check | {"name": "legal", "grade": grade}]

    answer = answered(bench)

    assert answer.verdict == "cannot tell"
    assert "a row of each pair is not ranked" in answer.text


def test_accuracy_without_a_battery_is_no_evidence(bench: Bench) -> None:
    bench.leaderboard |= {"rank_by": "pgd.robust_accuracy", "answer": {"of": {"source": "robust"}}}

    answer = answered(bench.filled())

    assert answer.verdict == "cannot tell"
    assert answer.difference is None


def test_partly_attacked_images_give_at_most(bench: Bench) -> None:
    bench.leaderboard |= {"rank_by": "pgd.robust_accuracy", "answer": {"of": {"source": "robust"}}}
    for source, robust in (("natural", 300), ("robust", 600)):
        for seed in range(3):
            outcomes = [0] * robust + [1] * (1000 - robust)
            bench.checked(bench.trial(source, seed, 0.9, 0.3), outcomes, probed=range(100))

    answer = answered(bench)

    assert "at most .600 against at most .300" in answer.text
    assert "so both are upper bounds" in answer.text


def test_question_gives_the_answer_where_no_contrast_is_stated(bench: Bench) -> None:
    bench.leaderboard["questions"] = [
        {"predictor": "align.alpha", "outcome": "clean.accuracy", "across": "source"}
    ]
    for number in range(8):
        bench.aligned(f"source {number}", [0.1 * number], 0.1 + 0.1 * number)

    answer = answered(bench)

    assert answer.verdict == "yes"
    assert answer.text.startswith(
        "`align.alpha` predicts `clean.accuracy` across sources: Spearman's rank correlation is "
        "+1.000 over 8 points (p < .001)"
    )
    bench.leaderboard["questions"][0]["exploratory"] = True
    assert answered(bench).verdict == "cannot tell"
    assert "(no p, since it was asked after looking at results)" in answered(bench).text
    bench.leaderboard["answer"] = {"of": {"source": "source 1"}, "against": {"source": "source 0"}}
    assert "source 1 with probe" in answered(bench).text


def test_a_question_says_which_p_was_possible_and_names_what_is_clear(bench: Bench) -> None:
    metrics = ["align.alpha", "align.beta"]
    bench.leaderboard["questions"] = [
        {"predictor": metrics, "outcome": "clean.accuracy", "across": "source"}
    ]
    for number in range(8):
        bench.aligned(f"source {number}", [0.1 * (3 * number % 8)], 0.1 + 0.1 * number)
        id = bench.trials[-1]["evaluations"]["align"][0]
        bench.records[id]["metrics"]["beta"] = {"value": float(number)}

    text = answered(bench).text
    assert "Cannot tell" in text
    assert "is possible" not in text
    assert text.endswith("; of the question's 1 others, 1 reach p < .05 (`align.beta`).")
    bench.trials[:] = bench.trials[:4]
    # Of 24 orders two are as extreme as a perfect one; two predictors double that.
    assert "; with 4 points no p below .167 is possible)" in answered(bench).text


def test_contrast_that_names_no_row_is_listed_and_the_default_stands(bench: Bench) -> None:
    bench.leaderboard["answer"] = {"of": {"source": "robust"}, "at": {"n": [7]}}

    page = make_page(bench.filled().run())

    assert ["`answer` selects no table: no trial has its target and n"] == [
        problem.found for problem in page.problems
    ]
    assert "Requested by the suite, but in no record" in page.markdown
    assert page.answer is not None
    assert "whether robust with probe does better than natural with probe" in page.answer.text


@pytest.mark.parametrize(
    "answer",
    [3, "robust", {"of": "robust"}, {"at": {"colour": ["red"]}}, {"metric": 3}, {"of": {"x": "y"}}],
)
def test_malformed_contrast_of_a_foreign_plan_is_refused(answer: object) -> None:
    with pytest.raises(BadInput, match="leaderboard answer"):
        read_contrast({"rank_by": "clean.accuracy", "answer": answer})  # type: ignore[dict-item]  # settings as YAML has them


def test_foreign_names_are_no_markup(bench: Bench) -> None:
    name = "<img src=x>|*bold*\n# title"
    bench.clean = {"natural": SURE["natural"], name: SURE["robust"]}

    answer = answered(bench.filled())

    assert r"\<img src=x>\|\*bold\* # title with probe does better" in answer.text
    assert "\n" not in answer.text


def test_page_answers_first_and_folds_what_it_rests_on(bench: Bench) -> None:
    bench.leaderboard |= {
        "note": "A note.",
        "figures": [{"kind": "accuracy_vs_n", "metric": "clean.accuracy"}],
    }
    bench.clean = {**SURE, "third": [0.6] * 3, "fourth": [0.55] * 3}

    page = make_page(bench.filled().run())
    assert page.answer is not None
    places = [
        page.markdown.index(text)
        for text in (
            f"\n\n{page.answer.text}\n\n",
            "A note.",
            "Best rows by `clean.accuracy` on digits, n = 20:",
            "![clean.accuracy against",
            "Suite `quick`",
            "## Results",
            "<details>\n<summary>",
            "## Sources",
            "## Data sets",
            "## Evaluations",
            "## How to read the tables",
            "## How this page was made",
            "</details>",
        )
    ]

    assert places == sorted(places)
    best = page.markdown.partition("Best rows")[2].partition("![")[0]
    assert ["robust", "third", "fourth"] == [
        line.split("|")[2].strip() for line in best.splitlines() if line.startswith("|")
    ][2:]
    assert page.best_row.startswith(
        "Best row by `clean.accuracy` on digits, n = 20: robust with probe, "
    )


def test_page_says_why_an_uncorrected_answer_and_corrected_tables_agree(bench: Bench) -> None:
    bench.clean = {"natural": [0.50, 0.55, 0.60], "robust": [0.60, 0.71, 0.73]}
    sides = {"of": {"source": "robust"}, "against": {"source": "natural"}}
    bench.leaderboard["answer"] = {"metric": "clean.accuracy", **sides}
    doubted = "The answer does not contradict the tables: "
    assert doubted not in make_page(bench.filled().run()).markdown  # one difference, one pair
    for number in range(4):
        for seed, change in enumerate((-0.2, 0.1, 0.2)):
            bench.trial(f"other {number}", seed, 0.5 + change * (number % 2 or -1), 0.1)

    page = make_page(bench.run()).markdown

    assert page.partition("\n\n")[2].startswith("**Yes.** ")
    assert bench.row(page, "robust")[5].endswith("]")  # without a mark
    assert doubted in page.partition("## Results")[0]


# The arithmetic of means over several tables.


Metrics: TypeAlias = dict[tuple[int | None, int], Metric]
Pairs: TypeAlias = dict[str, list[tuple[Metrics, Metrics]]]


def metrics_of(values: np.ndarray, seed: int = 0) -> Metric:
    return Metric(float(values.mean()), float(values.mean()), images=ImageShares(values, values))


def test_mean_over_one_pair_is_its_paired_difference() -> None:
    draws = np.random.default_rng(0)
    ours: Metrics = {(k, 0): metrics_of((draws.random(50) < 0.7).astype(float)) for k in range(3)}
    theirs: Metrics = {(k, 0): metrics_of((draws.random(50) < 0.5).astype(float)) for k in range(3)}

    assert mean_paired_difference({"digits": [(ours, theirs)]}) == paired_difference(ours, theirs)


def test_same_table_twice_is_no_new_evidence() -> None:
    draws = np.random.default_rng(1)
    ours: Metrics = {(k, 0): metrics_of((draws.random(50) < 0.7).astype(float)) for k in range(3)}
    theirs: Metrics = {(k, 0): metrics_of((draws.random(50) < 0.5).astype(float)) for k in range(3)}
    once = mean_paired_difference({"digits": [(ours, theirs)]})
    twice = mean_paired_difference({"digits": [(ours, theirs)] * 2})

    assert once is not None
    assert twice is not None
    assert twice.low == pytest.approx(once.low)
    assert twice.interval == pytest.approx(once.interval)


def test_images_of_two_targets_are_strata() -> None:
    """Var of the mean is sum of share^2 s^2 / N over targets, without the variance between them."""
    first, second = np.array([0.0, 1.0] * 50), np.array([-1.0, 0.0] * 100)
    zero = {"first": np.zeros(100), "second": np.zeros(200)}
    pairs: Pairs = {
        name: [({(None, 0): metrics_of(values)}, {(None, 0): metrics_of(zero[name])})]
        for name, values in (("first", first), ("second", second))
    }

    difference = mean_paired_difference(pairs)

    assert difference is not None
    assert difference.low == pytest.approx((0.5 - 0.5) / 2)
    assert difference.interval is not None
    variance = first.var(ddof=1) / 100 / 4 + second.var(ddof=1) / 200 / 4
    half = (difference.interval[1] - difference.interval[0]) / 2
    assert half == pytest.approx(1.96 * variance**0.5, rel=0.05)


def test_pairs_without_a_common_trial_give_no_mean() -> None:
    values = metrics_of(np.ones(4))
    pairs: list[tuple[Metrics, Metrics]] = [
        ({(0, 0): values}, {(0, 0): values}),
        ({(0, 1): values}, {(0, 1): values}),
    ]

    assert mean_paired_difference({"digits": pairs}) is None


def test_opponent_prefers_the_same_adapter_and_a_row_without_a_source_meets_all() -> None:
    contrast = Contrast("clean.accuracy", against={"source": "natural"})
    row = RowName("robust", "crop", "probe")
    crop, pad = RowName("natural", "crop", "probe"), RowName("natural", "pad", "probe")

    assert contrast.opponent(row, [row, pad, crop]) == crop
    assert contrast.opponent(row, [row, pad]) == pad
    scratch = RowName(None, None, "scratch")
    by_transfer = Contrast("clean.accuracy", against={"transfer": "scratch"})
    assert by_transfer.opponent(row, [row, scratch]) == scratch
