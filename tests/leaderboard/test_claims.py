"""What papers claim is answered by a rule that stands before: simulated records with known effects."""

from __future__ import annotations

from dataclasses import replace
from math import comb, nan, sqrt
from statistics import mean, stdev
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pytest
from scipy.stats import binomtest, pearsonr, t, ttest_1samp

from advtransfer.errors import BadInput
from advtransfer.leaderboard import make_page
from advtransfer.leaderboard.claim_effects import ClaimEffect
from advtransfer.leaderboard.claim_inequality import (
    InequalityShare,
    measure_inequality,
    sign_test_p,
)
from advtransfer.leaderboard.claim_power import (
    detectable_correlation,
    detectable_mean,
    detectable_share,
)
from advtransfer.leaderboard.claims import ClaimAnswer, claim_verdict
from advtransfer.leaderboard.claims_config import Claim, read_claims, registered_commit
from advtransfer.leaderboard.run_data import gather_run_data
from advtransfer.statistics import wilson_interval

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench, Json_

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TEXTS: Json_ = {
    "claim": "Robust sources transfer better",
    "paper": "Utrera et al. (2021)",
    "place": "Table 5",
    "reported": "+14.4 points",
}
ROWS: Json_ = {"of": {"source": "robust"}, "against": {"source": "natural"}}
CONTRAST: Json_ = {
    **TEXTS,
    "kind": "contrast",
    "sign": "positive",
    "margin": 0.05,
    "metric": "clean.accuracy",
    **ROWS,
}
CORRELATION: Json_ = {
    **TEXTS,
    "kind": "correlation",
    "sign": "positive",
    "margin": 0.3,
    "predictor": "align.alpha",
    "outcome": "clean.accuracy",
    "across": "source",
}
Answers: TypeAlias = "dict[str, ClaimAnswer]"


def answered(bench: Bench, **claims: Json_) -> Answers:
    bench.leaderboard["claims"] = [{"name": name, **claim} for name, claim in claims.items()]
    return {answer.claim.name: answer for answer in make_page(bench.run()).claims}


def paired(bench: Bench, differences: list[float]) -> Bench:
    """Add two sources whose clean accuracies differ by known numbers, a seed each, without images."""
    bench.has_outcomes = False
    for seed, difference in enumerate(differences):
        bench.trial("natural", seed, 0.5, 0.1)
        bench.trial("robust", seed, 0.5 + difference, 0.1)
    return bench


@pytest.mark.parametrize(
    ("differences", "margin", "verdict"),
    [
        ([0.10, 0.11, 0.12], 0.05, "holds"),
        ([0.010, 0.011, 0.012], 0.05, "holds, but smaller than what would count"),
        ([0.01, -0.01, 0.0], 0.05, "does not hold"),
        ([-0.10, -0.11, -0.12], 0.05, "does not hold"),
        ([0.3, -0.2, 0.1], 0.05, "cannot tell"),
    ],
)
def test_known_differences_give_each_verdict(
    bench: Bench, differences: list[float], margin: float, verdict: str
) -> None:
    answer = answered(paired(bench, differences), B1={**CONTRAST, "margin": margin})["B1"]

    assert answer.verdict == verdict
    assert answer.effect is not None
    assert answer.effect.low == pytest.approx(mean(differences))
    half = float(t.ppf(0.975, 2)) * stdev(differences) / sqrt(3)
    assert answer.effect.interval == pytest.approx(
        (mean(differences) - half, mean(differences) + half)
    )
    assert answer.corrected_p == pytest.approx(ttest_1samp(differences, 0).pvalue)


def test_a_negative_claim_turns_both_bounds(bench: Bench) -> None:
    paired(bench, [-0.10, -0.11, -0.12])

    answers = answered(
        bench,
        holds={**CONTRAST, "sign": "negative"},
        small={**CONTRAST, "sign": "negative", "margin": 0.5},
        refuted={**CONTRAST, "sign": "positive"},
    )

    assert [answer.verdict for answer in answers.values()] == [
        "holds",
        "holds, but smaller than what would count",
        "does not hold",
    ]


def test_p_values_are_corrected_over_the_tested_claims_by_hand(bench: Bench) -> None:
    """Three claims, one without a number: Holm multiplies the smallest p by 3, the next by 2."""
    paired(bench, [0.10, 0.13, 0.11])
    for seed, value in enumerate([0.02, 0.05, 0.03]):
        bench.trial("robust", seed, 0.5 + value, transfer="block1")
        bench.trial("natural", seed, 0.5, transfer="block1")
    first = float(ttest_1samp([0.10, 0.13, 0.11], 0).pvalue)
    second = float(ttest_1samp([0.02, 0.05, 0.03], 0).pvalue)
    assert first < second

    answers = answered(
        bench,
        second={**CONTRAST, "at": {"transfer": ["block1"]}},
        first={**CONTRAST, "at": {"transfer": ["probe"]}},
        absent={**CONTRAST, "metric": "clean.nothing"},
        later={**TEXTS, "not_asked": "needs a GPU"},
    )

    assert answers["first"].corrected_p == pytest.approx(3 * first)
    assert answers["second"].corrected_p == pytest.approx(max(3 * first, 2 * second))
    assert answers["absent"].verdict == "cannot tell"
    assert answers["absent"].reason.startswith("not in the records: leaderboard column")
    assert (answers["later"].verdict, answers["later"].reason) == ("not asked", "needs a GPU")


def test_failed_trials_are_no_evidence(bench: Bench) -> None:
    """Without its failed seed the robust row would win; a row that lacks a seed is not ranked."""
    paired(bench, [0.10, 0.11, 0.12])
    bench.trial("natural", 3, 0.5)
    failed = bench.trial("robust", 3)
    bench.attempt(failed["id"], "diverged")

    answer = answered(bench, B1=CONTRAST)["B1"]

    assert (answer.verdict, answer.effect) == ("cannot tell", None)
    assert answer.reason.startswith("1 pair of rows of which one is not ranked (incomplete")


def test_test_images_of_one_trial_alone_are_no_evidence_for_a_claim(bench: Bench) -> None:
    bench.trial("natural", 0, 0.5)
    bench.trial("robust", 0, 0.9)

    answer = answered(bench, B1=CONTRAST)["B1"]

    assert answer.verdict == "cannot tell"
    assert answer.reason == "one training and seed alone, which tells nothing of others"


def test_minus_is_the_difference_of_two_differences(bench: Bench) -> None:
    """The lead on the far target less that on the near one, by training and seed."""
    near, far = [0.02, 0.03, 0.01], [0.12, 0.16, 0.11]
    bench.has_outcomes = False
    for seed in range(3):
        for target, leads in (("digits", near), ("letters", far)):
            bench.trial("natural", seed, 0.5, target=target)
            bench.trial("robust", seed, 0.5 + leads[seed], target=target)
    expected = [first - second for first, second in zip(far, near, strict=True)]

    answer = answered(
        bench,
        similarity={
            **CONTRAST,
            "at": {"target": ["letters"]},
            "minus": {"at": {"target": ["digits"]}},
        },
    )["similarity"]

    assert answer.effect is not None
    assert answer.effect.low == pytest.approx(mean(expected))
    half = float(t.ppf(0.975, 2)) * stdev(expected) / sqrt(3)
    assert answer.effect.interval == pytest.approx((mean(expected) - half, mean(expected) + half))
    assert answer.corrected_p == pytest.approx(ttest_1samp(expected, 0).pvalue)
    assert answer.verdict == "holds"


def test_sides_with_other_numbers_of_pairs_are_not_subtracted(bench: Bench) -> None:
    paired(bench, [0.1, 0.1, 0.1])
    for seed in range(3):
        for transfer in ("block1", "block2"):
            for source in ("natural", "robust"):
                bench.trial(source, seed, 0.5, transfer=transfer)

    answer = answered(
        bench,
        B4={
            **CONTRAST,
            "at": {"transfer": ["probe"]},
            "minus": {"at": {"transfer": ["block1", "block2"]}},
        },
    )["B4"]

    assert answer.reason == "1 pair of rows, and 2 of `minus`; as many are needed"


def test_correlation_of_one_place_is_that_of_a_question(bench: Bench) -> None:
    alphas = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    cleans = [0.30, 0.42, 0.47, 0.58, 0.61, 0.72]
    for number, (alpha, clean) in enumerate(zip(alphas, cleans, strict=True)):
        bench.aligned(f"source {number}", [alpha], clean)

    answers = answered(
        bench,
        A2=CORRELATION,
        A3={**CORRELATION, "coefficient": "Pearson"},
        opposite={**CORRELATION, "sign": "negative"},
    )

    assert answers["A2"].effect is not None
    assert answers["A2"].effect.low == pytest.approx(1)
    # 2 of the 720 orders are as far from 0; three claims are tested.
    assert answers["A2"].effect.p_value == pytest.approx(2 / 720)
    assert answers["A2"].verdict == "holds"
    assert answers["A3"].effect is not None
    assert answers["A3"].effect.low == pytest.approx(float(pearsonr(alphas, cleans)[0]), abs=1e-3)
    assert answers["opposite"].verdict == "does not hold"
    assert "Spearman, 6 points" in answers["A2"].effect.basis


def test_correlation_over_several_places_asks_for_one(bench: Bench) -> None:
    for n in (20, 50):
        for number in range(3):
            bench.aligned(f"source {number}", [0.1 * number], 0.3 + 0.1 * number, n=n)

    assert answered(bench, A2=CORRELATION)["A2"].reason == (
        "`given` selects 2 places; one is needed"
    )


def test_one_coefficient_for_each_training_has_trainings_as_units(bench: Bench) -> None:
    cleans = [[0.30, 0.42, 0.47, 0.58], [0.31, 0.35, 0.52, 0.55], [0.28, 0.45, 0.44, 0.66]]
    alphas = [0.1, 0.2, 0.3, 0.4]
    for replicate, of_training in enumerate(cleans):
        for number, clean in enumerate(of_training):
            bench.aligned(f"net {number}", [alphas[number]], clean, replicate=replicate)
    expected = [float(pearsonr(alphas, each)[0]) for each in cleans]

    answer = answered(bench, A3={**CORRELATION, "coefficient": "Pearson", "per_training": True})[
        "A3"
    ]

    assert answer.effect is not None
    assert answer.effect.low == pytest.approx(mean(expected), abs=2e-3)
    assert answer.corrected_p == pytest.approx(ttest_1samp(expected, 0).pvalue, rel=0.05)
    assert answer.effect.basis == "Pearson, 3 trainings of 4 points each"
    assert answer.verdict == "holds"


def test_trainings_of_one_ancestor_have_no_p(bench: Bench) -> None:
    """Copies of one trained network with other noise are one training, whatever their replicate."""
    (parent,) = [bench.source("parent")]
    for replicate in range(3):
        for number in range(4):
            bench.aligned(
                f"net {number}",
                [0.1 * number],
                0.3 + 0.1 * number * (1 + replicate),
                replicate=replicate,
            )
    for id in bench.sources:
        if id != parent:
            bench.records[id]["asked"]["inputs"] = {"source": parent}

    answer = answered(bench, A1={**CORRELATION, "coefficient": "Pearson", "per_training": True})[
        "A1"
    ]

    assert answer.verdict == "cannot tell"
    assert answer.effect is not None
    assert answer.effect.p_value is None
    assert "that share sources, so no p" in answer.effect.basis


def costed(bench: Bench, epochs: dict[str, int], *, steps: int = 7) -> None:
    """Give the fits of each source the options of a training, of which passes are counted."""
    for trial in bench.trials:
        fit = bench.records[trial["id"]]
        fit["asked"]["options"] = {
            "epochs": epochs[trial["row"]],
            "optimiser": {"kind": "sgd"},
            "adversary": {"kind": "pgd", "steps": steps},
        }
        fit["facts"] = {"labels_used": 20}


@pytest.mark.parametrize(
    ("epochs", "margin", "verdict"),
    [
        ({"robust": 43, "natural": 100}, 0.2, "holds"),
        ({"robust": 90, "natural": 100}, 0.2, "holds, but smaller than what would count"),
        ({"robust": 100, "natural": 100}, 0.2, "does not hold"),
        ({"robust": 120, "natural": 100}, 0.2, "does not hold"),
    ],
)
def test_counted_gradient_passes_decide_a_cost(
    bench: Bench, epochs: dict[str, int], margin: float, verdict: str
) -> None:
    paired(bench, [0.1, 0.1])
    costed(bench, epochs)

    answer = answered(
        bench, C7={**TEXTS, "kind": "cost", "sign": "negative", "margin": margin, **ROWS}
    )["C7"]

    assert answer.verdict == verdict
    assert answer.effect is not None
    assert answer.effect.low == pytest.approx(epochs["robust"] / epochs["natural"] - 1)
    assert answer.corrected_p is None
    passes = epochs["robust"] * 20 * 8
    assert (
        answer.effect.details == f"{passes:,} against 16,000 gradient passes; .250 against .250 s"
    )
    assert answer.effect.basis == "counted in 2 trials"


def test_cost_without_a_count_cannot_be_told(bench: Bench) -> None:
    answer = answered(
        paired(bench, [0.1, 0.1]),
        C7={**TEXTS, "kind": "cost", "sign": "negative", "margin": 0.2, **ROWS},
    )["C7"]

    assert answer.verdict == "cannot tell"
    assert "not" in answer.reason


INEQUALITY: Json_ = {
    **TEXTS,
    "kind": "inequality",
    "margin": 0.9,
    "lower": ["align.alpha"],
    "upper": ["align.beta"],
}


def test_inequality_without_values_by_image_is_over_trainings(bench: Bench) -> None:
    # beta is 1 - alpha: alpha <= beta where alpha is at most one half.
    for number, alpha in enumerate([0.1, 0.2, 0.3, 0.4, 0.45, 0.5, 0.35, 0.8]):
        bench.aligned(f"source {number}", [alpha], 0.5)

    answers = answered(
        bench,
        A5=INEQUALITY,
        bound={**INEQUALITY, "upper": [0.9]},
        total={**INEQUALITY, "lower": ["align.alpha", "align.beta"], "upper": [1.0]},
    )

    found = answers["A5"].effect
    assert found is not None
    assert found.low == 7 / 8
    assert found.p_value == pytest.approx(2 * 9 / 256)
    assert found.details == "largest violation .600"
    assert found.basis == "8 trainings, in all 8 trials"
    assert answers["bound"].effect is not None
    assert answers["bound"].effect.low == 1
    assert answers["bound"].verdict == "holds"
    assert answers["total"].effect is not None
    # alpha + beta = 1 to rounding, which the tolerance forgives.
    assert answers["total"].effect.low == 1


def test_inequality_with_a_trial_that_failed_has_no_answer(bench: Bench) -> None:
    """The one that failed may be the one that violates it."""
    for number, alpha in enumerate([0.1, 0.2, 0.3]):
        bench.aligned(f"source {number}", [alpha], 0.5)
    (id,) = bench.trials[-1]["evaluations"]["align"]
    del bench.records[id]

    answer = answered(bench, A5=INEQUALITY)["A5"]

    assert answer.effect is None
    assert "1 of 3 trials without a ranked result" in answer.reason


def test_inequality_with_values_by_image_must_hold_in_every_trial(bench: Bench) -> None:
    """Of five images one has no value, and one violates the inequality in the second trial alone."""
    bench.aligned("first", [0.2], 0.5)
    bench.aligned("second", [0.2], 0.5)
    bench.leaderboard["claims"] = [{"name": "A5", **INEQUALITY}]
    data = gather_run_data(bench.run())
    lower = [[0.1, 0.2, 0.3, nan, 0.1], [0.1, 0.2, 0.6, 0.1, 0.1]]
    upper = [[0.2, 0.2, 0.4, 0.9, 0.3], [0.2, 0.3, 0.5, 0.9, 0.3]]
    aligned = [trial for trial in data.plan.trials if trial.row in ("first", "second")]
    for number, trial in enumerate(sorted(aligned, key=lambda trial: str(trial.row))):
        (id,) = trial.evaluations["align"]
        values = {"alpha": np.array(lower[number]), "beta": np.array(upper[number])}
        data.results[id] = replace(data.results[id], image_values=values)
    inequality = read_claims(bench.leaderboard)[0].inequality
    assert inequality is not None

    found = measure_inequality(inequality, data)

    assert isinstance(found, InequalityShare)
    assert (found.kept, found.of) == (3, 4)
    assert found.largest_violation == pytest.approx(0.1, abs=1e-5)
    assert found.basis == "4 test images, in all 2 trials"
    assert found.interval == wilson_interval(3, 4)


def test_inequality_never_compares_images_of_two_test_parts(bench: Bench) -> None:
    """Two test parts may have as many images, and image i of one is another than image i of the other."""
    bench.aligned("first", [0.2], 0.5)
    bench.aligned("second", [0.2], 0.5)
    bench.leaderboard["claims"] = [{"name": "A5", **INEQUALITY}]
    data = gather_run_data(bench.run())
    aligned = [trial for trial in data.plan.trials if trial.row in ("first", "second")]
    for number, trial in enumerate(aligned):
        (id,) = trial.evaluations["align"]
        values = {"alpha": np.array([0.1, 0.2]), "beta": np.array([0.2, 0.3])}
        data.results[id] = replace(data.results[id], image_values=values, test_id=f"part {number}")
    inequality = read_claims(bench.leaderboard)[0].inequality
    assert inequality is not None

    found = measure_inequality(inequality, data)

    assert isinstance(found, InequalityShare)
    assert found.basis == "2 trainings, in all 2 trials"


def test_the_margin_of_a_share_is_a_share() -> None:
    claim = Claim("A5", "", "", "", "", kind="inequality", margin=0.9)

    def verdict(share: float, interval: tuple[float, float], p: float) -> str:
        return claim_verdict(claim, ClaimEffect(share, share, interval, p, "", null=0.5), p)

    assert verdict(0.97, (0.93, 0.99), 0.001) == "holds"
    assert verdict(0.7, (0.6, 0.8), 0.001) == "holds, but smaller than what would count"
    assert verdict(0.3, (0.2, 0.4), 0.001) == "does not hold"
    assert verdict(0.8, (0.4, 0.95), 0.2) == "cannot tell"


@pytest.mark.parametrize(
    ("kept", "of"), [(0, 1), (7, 8), (50, 100), (990, 1000), (1200, 1200), (150_500, 300_000)]
)
def test_sign_test_is_that_of_scipy(kept: int, of: int) -> None:
    assert sign_test_p(kept, of) == pytest.approx(float(binomtest(kept, of, 0.5).pvalue))
    assert sign_test_p(7, 8) == pytest.approx(2 * (comb(8, 0) + comb(8, 1)) / 256)


def test_detectable_mean_is_the_interval_scaled_to_the_power() -> None:
    """With many units and one claim: (1.96 + .84) / 1.96 of the half width."""
    assert detectable_mean((-0.1, 0.1), 10_000, family_size=1) == pytest.approx(
        0.1 * (1.95996 + 0.84162) / 1.95996, rel=1e-3
    )
    few = detectable_mean((-0.1, 0.1), 3, family_size=1)
    assert few == pytest.approx(
        0.1 * (float(t.ppf(0.975, 2)) + float(t.ppf(0.8, 2))) / float(t.ppf(0.975, 2))
    )
    several = detectable_mean((-0.1, 0.1), 3, family_size=5)
    assert few is not None
    assert several is not None
    assert several > few
    assert detectable_mean(None, 3, family_size=1) is None


def test_detectable_coefficient_and_share_follow_from_n() -> None:
    # n = 23, alpha .05 two-sided, power .8: about .57 for Spearman's coefficient.
    assert detectable_correlation(23, family_size=1) == pytest.approx(0.568, abs=0.003)
    assert detectable_correlation(3, family_size=1) is None
    share = detectable_share(100, family_size=1)
    assert share == pytest.approx(0.638, abs=0.002)
    assert detectable_share(5, family_size=1) is None  # 2 / 2^5 is above .05


def test_page_has_a_row_for_each_claim_with_its_rule_and_commit(bench: Bench) -> None:
    paired(bench, [0.10, 0.11, 0.12])
    bench.leaderboard["registered"] = COMMIT
    bench.leaderboard["claims"] = [
        {"name": "B1", **CONTRAST, "detects": 0.03, "note": "Over one n."},
        {"name": "B7", **TEXTS, "not_asked": "looked at by people"},
    ]

    text = make_page(bench.run()).markdown
    section = text[text.index("## Claims") : text.index("## Results")]
    rows = {
        row[0]: row for row in (bench.row(section, name) for name in ("**holds**", "not asked"))
    }

    assert "Of 2 claims: 1 held; 1 not asked." in section
    assert text.splitlines()[2] == "Of 2 claims: 1 held; 1 not asked."
    assert f"`{COMMIT}`" in section
    assert "Exploratory" not in section
    assert "- B1: Over one n." in section
    row = rows["B1: Robust sources transfer better"]
    assert row[1] == "+14.4 points (Utrera et al. (2021), Table 5)"
    assert row[2] == "+.110 [+.0852, +.135]" or row[2].startswith("+.110 [+.085, +.135")
    assert row[3] == "3 subset seeds"
    assert row[4] == "+.050"
    assert row[5].endswith("(.030)")
    assert row[6] == "<.001" or row[6].startswith(".00")
    assert rows["B7: Robust sources transfer better"][3] == "looked at by people"


def test_page_without_a_commit_says_that_its_claims_are_exploratory(bench: Bench) -> None:
    paired(bench, [0.10, 0.11, 0.12])
    bench.leaderboard["claims"] = [{"name": "B1", **CONTRAST}]

    text = make_page(bench.run()).markdown

    assert "**Exploratory**: the suite names no commit" in text
    assert "## Claims" not in make_page(paired_without_claims(bench).run()).markdown


def paired_without_claims(bench: Bench) -> Bench:
    del bench.leaderboard["claims"]
    return bench


@pytest.mark.parametrize(
    "broken",
    [
        {"kind": "wager"},
        {"metric": None},
        {"margin": "large"},
        {"sign": "up"},
        {"of": {"seed": "1"}},
        {"minus": 3},
        {"claim": ""},
    ],
)
def test_malformed_claim_of_a_foreign_plan_is_left_out_and_listed(
    bench: Bench, broken: Json_
) -> None:
    paired(bench, [0.10, 0.11, 0.12])
    settings: Json_ = {"claims": [{"name": "B1", **CONTRAST, **broken}]}
    bench.leaderboard |= settings

    with pytest.raises(BadInput, match="leaderboard claim"):
        read_claims(settings)
    page = make_page(bench.run())

    assert page.claims == ()
    assert "Requested by the suite, but in no record" in page.markdown


def test_only_a_whole_commit_is_one() -> None:
    assert registered_commit({"registered": COMMIT}) == COMMIT
    assert registered_commit({"registered": COMMIT[:12]}) == ""
    assert registered_commit({"registered": 3}) == ""
