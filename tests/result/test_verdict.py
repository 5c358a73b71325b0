"""Verdicts follow from the checks alone: one bad check is enough, and silence never counts as evidence."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from advtransfer.result.verdict import (
    MAY_NOT_APPLY,
    REQUIRED_CHECKS,
    RULES_VERSION,
    verdict_from_checks,
    verdict_from_record,
    worst_verdict,
)
from advtransfer.types import Check, CheckStatus, Json


def check(name: str, grade: CheckStatus = "pass") -> Check:
    return Check(name, grade, value=0.25, limit=0.05, samples=200, text="what it means")


BATTERY = [check(name) for name in REQUIRED_CHECKS]


def test_without_checks_a_result_is_unchecked() -> None:
    assert ("unchecked", "no evidence was asked for", RULES_VERSION) == verdict_from_checks([])


def test_legal_examples_alone_verify_nothing() -> None:
    assert (
        "unchecked",
        "no evidence from missed, noise, transferred, huge_eps",
        RULES_VERSION,
    ) == verdict_from_checks([check("legal_examples")])


def test_the_whole_battery_verifies() -> None:
    assert ("checked", "6 checks passed", RULES_VERSION) == verdict_from_checks(
        [*BATTERY, check("gradients")]
    )


@pytest.mark.parametrize("name", REQUIRED_CHECKS)
def test_a_required_check_that_is_missing_leaves_it_unchecked_unless_it_may_not_apply(
    name: str,
) -> None:
    others = [one for one in BATTERY if one.name != name]

    excused = "checked" if name in MAY_NOT_APPLY else "unchecked"

    assert "unchecked" == verdict_from_checks(others).value
    assert excused == verdict_from_checks([*others, check(name, "not applicable")]).value
    assert name in verdict_from_checks(others).reason


def test_checks_of_several_balls_count_for_what_they_are_without_their_radius() -> None:
    named = [replace(one, name=f"{one.name}@{eps}") for one in BATTERY for eps in (0.1, 0.2)]
    overlooked = [replace(check("noise", "fail"), name="noise@0.2")]

    assert "checked" == verdict_from_checks(named).value
    assert "invalid" == verdict_from_checks([*named, *overlooked]).value


@pytest.mark.parametrize("name", [*REQUIRED_CHECKS, "anything"])
def test_one_suspicious_check_makes_it_suspicious_and_one_failed_invalid(name: str) -> None:
    suspicious = [*BATTERY, check(name, "suspicious")]

    assert "suspicious" == verdict_from_checks(suspicious).value
    assert "invalid" == verdict_from_checks([*suspicious, check("other", "fail")]).value


def test_the_reason_names_the_check_its_number_and_its_limit() -> None:
    assert (
        "noise is 0.25 against a limit of 0.05 (what it means)"
        == verdict_from_checks([check("noise", "fail")]).reason
    )


def test_only_checked_and_unchecked_results_are_ranked() -> None:
    ranked = [
        verdict_from_checks(checks).is_ranked
        for checks in (BATTERY, [], [check("x", "suspicious")], [check("x", "fail")])
    ]

    assert [True, True, False, False] == ranked


def test_a_record_is_judged_by_its_checks_and_not_by_what_it_says_of_itself() -> None:
    record: dict[str, Json] = {
        "checks": [asdict(check("noise", "fail"))],
        "verdict": {"value": "checked", "reason": "", "rules": 1},
    }

    assert "invalid" == verdict_from_record(record).value
    assert "unchecked" == verdict_from_record({"kind": "result"}).value


def test_results_shown_as_one_number_share_the_worst_verdict() -> None:
    checked, unchecked = verdict_from_checks(BATTERY), verdict_from_checks([])
    suspicious, invalid = (
        verdict_from_checks([check("x", "suspicious")]),
        verdict_from_checks([check("x", "fail")]),
    )

    assert unchecked == worst_verdict([checked, unchecked])
    assert suspicious == worst_verdict([suspicious, unchecked, checked])
    assert invalid == worst_verdict([checked, suspicious, invalid])
