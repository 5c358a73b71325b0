"""Claims that state one hypothesis twice: Holm's correction counts it once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from scipy.stats import ttest_1samp
from tests.leaderboard.test_claims import CONTRAST, CORRELATION, TEXTS, answered, paired

from advtransfer.leaderboard.claim_hypotheses import claim_hypothesis
from advtransfer.leaderboard.claims_config import read_claims
from advtransfer.planning import Plan

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench, Json_

INEQUALITY: Json_ = {
    **TEXTS,
    "kind": "inequality",
    "margin": 0.9,
    "lower": ["clean.accuracy"],
    "upper": ["pgd.robust_accuracy", 0.5],
}


def test_a_hypothesis_that_two_claims_state_is_corrected_for_once(bench: Bench) -> None:
    """Two hypotheses in three claims: Holm multiplies the smallest p by 2, and the other by 1."""
    paired(bench, [0.10, 0.13, 0.11])
    for seed, value in enumerate([0.02, 0.05, 0.03]):
        bench.trial("robust", seed, 0.5 + value, transfer="block1")
        bench.trial("natural", seed, 0.5, transfer="block1")
    first = float(ttest_1samp([0.10, 0.13, 0.11], 0).pvalue)
    second = float(ttest_1samp([0.02, 0.05, 0.03], 0).pvalue)
    assert 2 * first < second
    probe = {**CONTRAST, "at": {"transfer": ["probe"]}}

    answers = answered(
        bench,
        first=probe,
        second={**CONTRAST, "at": {"transfer": ["block1"]}},
        again={**probe, "claim": "Others", "margin": 0.5, "sign": "negative", "detects": 0.1},
    )

    corrected = {name: answer.corrected_p for name, answer in answers.items()}
    assert corrected == pytest.approx({"first": 2 * first, "second": second, "again": 2 * first})
    assert answers["first"].verdict == "holds"
    alone = answered(bench, first=probe, second={**CONTRAST, "at": {"transfer": ["block1"]}})
    # What the design detects follows from the same count.
    assert answers["first"].effect == alone["first"].effect


def hypotheses(bench: Bench, *claims: Json_) -> list[object]:
    """Return the hypotheses of claims in a plan where `again` is a second label of `clean`."""
    plan = Plan.from_json(bench.filled().run().plan)
    trials = [
        replace(trial, evaluations={**trial.evaluations, "again": trial.evaluations["clean"]})
        for trial in plan.trials
    ]
    plan = replace(plan, trials=tuple(trials))
    settings = {"claims": [{"name": f"B{at}", **claim} for at, claim in enumerate(claims)]}
    return [claim_hypothesis(claim, plan) for claim in read_claims(settings)]


@pytest.mark.parametrize(
    ("claim", "same"),
    [
        (CONTRAST, {"metric": "again.accuracy"}),
        (CONTRAST, {"at": {"n": [20]}}),  # The only n there is.
        (CONTRAST, {"at": {"n": 20, "target": "digits"}, "note": "Note"}),
        (CORRELATION, {"outcome": "again.accuracy", "given": {"n": [20]}}),
        (CORRELATION, {"coefficient": "Spearman"}),  # The default.
        (INEQUALITY, {"upper": [0.5, "pgd.robust_accuracy"], "lower": "again.accuracy"}),
    ],
)
def test_one_hypothesis_in_other_words_is_the_same(bench: Bench, claim: Json_, same: Json_) -> None:
    first, second = hypotheses(bench, claim, {**claim, **same})

    assert first == second


@pytest.mark.parametrize(
    ("claim", "other"),
    [
        (CONTRAST, {"metric": "pgd.robust_accuracy"}),
        (CONTRAST, {"of": {"source": "natural"}, "against": {"source": "robust"}}),
        (CONTRAST, {"at": {"transfer": ["probe"]}}),
        (CONTRAST, {"minus": {"metric": "pgd.robust_accuracy"}}),
        (CORRELATION, {"predictor": "clean.accuracy", "outcome": "align.alpha"}),
        (CORRELATION, {"coefficient": "Pearson"}),
        (CORRELATION, {"per_training": True}),
        (CORRELATION, {"given": {"seed": [0]}}),
        (INEQUALITY, {"lower": ["pgd.robust_accuracy"]}),
        (INEQUALITY, {"lower": INEQUALITY["upper"], "upper": INEQUALITY["lower"]}),
        (INEQUALITY, {"given": {"seed": [0]}}),
    ],
)
def test_another_hypothesis_is_another(bench: Bench, claim: Json_, other: Json_) -> None:
    first, second = hypotheses(bench, claim, {**claim, **other})

    assert first != second
