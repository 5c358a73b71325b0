"""Comparison of an evaluation with a battery, when it is measured and when its record is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pytest

from advtransfer.result.battery_index import Ball, BatteryEvidence, BatteryIndex
from advtransfer.result.comparison import (
    STRONG_SHARE,
    SUSPICIOUS_SHARE,
    compare_outcomes,
    judge_result,
    share_lower_bound,
    verdict_with_batteries,
)
from advtransfer.result.outcomes import all_samples, outcomes_from_values, samples_at
from advtransfer.result.record import pack_outcomes
from advtransfer.result.verdict import REQUIRED_CHECKS
from advtransfer.testing.records import complete_record
from advtransfer.types import Check, CheckStatus, Outcome

ROBUST, BROKEN, WRONG, UNKNOWN = map(int, Outcome)
INPUTS = {"model": "m" * 64, "test": "t" * 64}
Record = dict[str, Any]  # Any: JSON


def probe(*, broken: int, wrong: int = 0) -> BatteryEvidence:
    """What a battery found on 200 samples: the first are broken, the last wrong without attack."""
    last = samples_at(range(200 - wrong, 200), 200)
    return BatteryEvidence(
        Ball("linf", 0.1), 3, 200, all_samples(200), samples_at(range(broken), 200), last
    )


def checks(
    claimed: list[int], battery: BatteryEvidence, *, limit: float = SUSPICIOUS_SHARE
) -> dict[str, Check]:
    found = compare_outcomes(outcomes_from_values(claimed), battery, limit=limit)
    return {check.name: check for check in found}


@pytest.mark.parametrize(
    ("missed", "limit", "grade"),
    [
        (0, SUSPICIOUS_SHARE, "pass"),
        (15, SUSPICIOUS_SHARE, "pass"),
        (16, SUSPICIOUS_SHARE, "suspicious"),
        (200, SUSPICIOUS_SHARE, "suspicious"),
        (7, STRONG_SHARE, "pass"),
        (8, STRONG_SHARE, "suspicious"),
    ],
)
@pytest.mark.parametrize("claim", [ROBUST, UNKNOWN])
def test_missed_samples_are_graded_by_lower_bound_and_never_fail(
    missed: int, limit: float, grade: str, claim: int
) -> None:
    claimed = [claim] * missed + [BROKEN] * (200 - missed)
    found = checks(claimed, probe(broken=200), limit=limit)["missed"]

    assert grade == found.grade
    assert (share_lower_bound(missed, 200), limit, 200) == (found.value, found.limit, found.samples)


def test_lower_bound_is_the_one_sided_score_bound() -> None:
    assert 0.0 == share_lower_bound(0, 0) == share_lower_bound(0, 200)
    assert share_lower_bound(20, 200) == pytest.approx(0.0700, abs=1e-3)


def test_samples_the_attack_broke_are_not_missed() -> None:
    claimed = [BROKEN] * 60 + [ROBUST] * 140

    assert 0 == checks(claimed, probe(broken=60))["missed"].value


def test_attack_with_eps_0_leaves_the_clean_accuracy() -> None:
    clean = probe(broken=0, wrong=10)
    right = [ROBUST] * 190 + [WRONG] * 10

    assert ("pass", 0) == _graded(checks(right, clean)["eps_zero"])
    assert ("fail", 1) == _graded(checks([WRONG, *right[1:]], clean)["eps_zero"])
    assert ("fail", 10) == _graded(checks([ROBUST] * 200, clean)["eps_zero"])


def test_unfinished_attack_is_suspicious() -> None:
    claimed = [UNKNOWN] * 40 + [ROBUST] * 160

    assert "suspicious" == checks(claimed, probe(broken=0))["finished"].grade
    assert "pass" == checks([UNKNOWN, *[ROBUST] * 199], probe(broken=0))["finished"].grade


def test_only_the_attacked_positions_are_compared() -> None:
    part = BatteryEvidence(
        Ball("linf", 0.1), 3, 4, samples_at([1, 3], 4), samples_at([1], 4), samples_at([3], 4)
    )

    assert ("pass", 0) == _graded(checks([WRONG, BROKEN, WRONG, WRONG], part)["eps_zero"])
    assert 2 == checks([WRONG, BROKEN, WRONG, WRONG], part)["missed"].samples


def battery(
    version: int, outcomes: Sequence[int], *, eps: float = 0.1, grade: CheckStatus = "pass"
) -> Record:
    """The record of a battery on all of its samples, with the checks that a verdict requires."""
    model_checks = [
        asdict(Check(name, grade, 0.0, 0.02, len(outcomes), "text"))
        for name in ("noise", "transferred", "huge_eps")
    ]
    parts: Record = {
        "kind": "battery",
        "of": len(outcomes),
        "outcomes": {"targeted": pack_outcomes(outcomes)},
        "checks": model_checks,
        "asked": {"version": version},
    }
    if version >= 3:
        parts["positions"] = None
    return complete_record(
        parts, options={"norm": "linf", "eps": eps, "size": "small"}, inputs=INPUTS
    )


def result(
    outcomes: dict[str, Sequence[int]],
    named: Record | dict[str, Record],
    names: Sequence[str],
    **limits: float,
) -> Record:
    """A result record that names batteries, with passing checks of these names."""
    of = len(next(iter(outcomes.values())))
    stored = [
        Check(name, "pass", 0.0, limits.get(name, SUSPICIOUS_SHARE), of, "text") for name in names
    ]
    ids = named["id"] if "id" in named else {name: one["id"] for name, one in named.items()}
    return complete_record(
        {
            "kind": "result",
            "checks": [asdict(check) for check in stored],
            "outcomes": {name: pack_outcomes(values) for name, values in outcomes.items()},
            "battery": ids,
        },
        inputs=INPUTS,
    )


LEFT = [ROBUST] * 100
OLD = battery(2, LEFT)
BROKEN_BY_HOST = [BROKEN] * 20 + [ROBUST] * 80
FORMER_CHECKS = ("legal_examples", "more_steps", "restarts", "noise", "transferred", "huge_eps")


def test_result_of_an_old_battery_is_unchecked_until_a_new_one_is_run() -> None:
    old = result({"robust_accuracy": LEFT}, OLD, FORMER_CHECKS)
    weak = battery(3, [BROKEN, *LEFT[1:]])
    strong = battery(3, BROKEN_BY_HOST)

    assert ("unchecked", "no evidence from missed") == verdict_with_batteries(
        old, BatteryIndex([OLD])
    )[:2]
    assert "checked" == verdict_with_batteries(old, BatteryIndex([OLD, weak])).value
    assert "suspicious" == verdict_with_batteries(old, BatteryIndex([strong, OLD])).value


def test_doubts_of_an_old_battery_stay_until_a_new_one_is_run() -> None:
    doubted = result({"robust_accuracy": LEFT}, OLD, FORMER_CHECKS)
    doubted["checks"][3]["grade"] = "fail"

    assert "invalid" == verdict_with_batteries(doubted, BatteryIndex([OLD])).value
    assert "checked" == verdict_with_batteries(doubted, BatteryIndex([OLD, battery(3, LEFT)])).value


def test_checks_of_the_newest_battery_replace_the_stored_ones_and_no_others() -> None:
    new = battery(3, LEFT, grade="suspicious")
    read = judge_result(
        result({"robust_accuracy": LEFT}, OLD, [*FORMER_CHECKS, "plugin's own"]),
        BatteryIndex([OLD, new]),
    ).checks

    assert [
        ("legal_examples", "pass"),
        ("plugin's own", "pass"),
        ("finished", "pass"),
        ("eps_zero", "pass"),
        ("missed", "pass"),
        ("noise", "suspicious"),
        ("transferred", "suspicious"),
        ("huge_eps", "suspicious"),
    ] == [(check.name, check.grade) for check in read]


@pytest.mark.parametrize(
    ("limit", "value"), [(0.02, "suspicious"), (0.05, "checked"), (0.9, "checked")]
)
def test_limit_of_the_evaluation_is_kept_and_can_only_be_stricter(limit: float, value: str) -> None:
    new = battery(3, [BROKEN] * 8 + [ROBUST] * 92)
    strict = result({"robust_accuracy": LEFT}, new, REQUIRED_CHECKS, missed=limit)
    read = {check.name: check for check in judge_result(strict, BatteryIndex([new])).checks}

    assert min(limit, 0.05) == read["missed"].limit
    assert value == verdict_with_batteries(strict, BatteryIndex([new])).value


def test_each_radius_is_compared_with_the_battery_of_its_ball() -> None:
    near, far = battery(3, LEFT, eps=0.1), battery(3, BROKEN_BY_HOST, eps=0.2)
    ladder = result(
        {"robust_accuracy@0.1": LEFT, "robust_accuracy@0.2": LEFT},
        {"robust_accuracy@0.1": near, "robust_accuracy@0.2": far},
        REQUIRED_CHECKS,
    )
    read = {
        check.name: check.grade for check in judge_result(ladder, BatteryIndex([near, far])).checks
    }

    assert ("pass", "suspicious") == (read["missed@0.1"], read["missed@0.2"])
    assert "missed" not in read


def test_result_without_battery_keeps_its_checks() -> None:
    alone = complete_record({"kind": "result", "checks": []}, inputs=INPUTS)

    assert [] == judge_result(alone, BatteryIndex([battery(3, LEFT)])).checks


def _graded(check: Check) -> tuple[str, float]:
    return check.grade, check.value
