"""Verdicts follow from the checks alone: one bad check is enough, and silence never counts as evidence."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from advtransfer.types import Check, Grade, Json
from advtransfer.verdict import EXCUSED, REQUIRED, RULES, verdict, verdict_of, worst


def check(name: str, grade: Grade = "pass") -> Check:
    return Check(name, grade, value=0.25, limit=0.05, samples=200, text="what it means")


BATTERY = [check(name) for name in REQUIRED]


def test_without_checks_a_result_is_unchecked() -> None:
    assert ("unchecked", "no evidence was asked for", RULES) == verdict([])


def test_legal_examples_alone_verify_nothing() -> None:
    assert ("unchecked", "no evidence from more_steps, noise, transferred, huge_eps", RULES) == verdict(
        [check("legal_examples")]
    )


def test_the_whole_battery_verifies() -> None:
    assert ("verified", "6 checks passed", RULES) == verdict([*BATTERY, check("gradients")])


@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_check_that_is_missing_leaves_it_unchecked_unless_it_may_not_apply(name: str) -> None:
    others = [one for one in BATTERY if one.name != name]

    excused = "verified" if name in EXCUSED else "unchecked"

    assert "unchecked" == verdict(others).value
    assert excused == verdict([*others, check(name, "not applicable")]).value
    assert name in verdict(others).reason


def test_checks_of_several_balls_count_for_what_they_are_without_their_radius() -> None:
    named = [replace(one, name=f"{one.name}@{eps}") for one in BATTERY for eps in (0.1, 0.2)]
    overlooked = [replace(check("noise", "fail"), name="noise@0.2")]

    assert "verified" == verdict(named).value
    assert "invalid" == verdict([*named, *overlooked]).value


@pytest.mark.parametrize("name", [*REQUIRED, "anything"])
def test_one_suspicious_check_makes_it_suspicious_and_one_failed_invalid(name: str) -> None:
    suspicious = [*BATTERY, check(name, "suspicious")]

    assert "suspicious" == verdict(suspicious).value
    assert "invalid" == verdict([*suspicious, check("other", "fail")]).value


def test_the_reason_names_the_check_its_number_and_its_limit() -> None:
    assert "noise is 0.25 against a limit of 0.05 (what it means)" == verdict([check("noise", "fail")]).reason


def test_only_verified_and_unchecked_results_are_ranked() -> None:
    ranked = [verdict(checks).ranked for checks in (BATTERY, [], [check("x", "suspicious")], [check("x", "fail")])]

    assert [True, True, False, False] == ranked


def test_a_record_is_judged_by_its_checks_and_not_by_what_it_says_of_itself() -> None:
    record: dict[str, Json] = {
        "checks": [asdict(check("noise", "fail"))],
        "verdict": {"value": "verified", "reason": "", "rules": 1},
    }

    assert "invalid" == verdict_of(record).value
    assert "unchecked" == verdict_of({"kind": "result"}).value


def test_results_shown_as_one_number_share_the_worst_verdict() -> None:
    verified, unchecked = verdict(BATTERY), verdict([])
    suspicious, invalid = verdict([check("x", "suspicious")]), verdict([check("x", "fail")])

    assert unchecked == worst([verified, unchecked])
    assert suspicious == worst([suspicious, unchecked, verified])
    assert invalid == worst([verified, suspicious, invalid])
