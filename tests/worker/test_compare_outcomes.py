"""Comparison of an evaluation's outcomes with those of a battery's attacks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from advtransfer.types import Check, Outcome
from advtransfer.worker.verification import compare_outcomes
from advtransfer.worker.verification.config import BATTERY_SIZES, share_lower_bound, status_of_share

POSITIONS = torch.arange(200)
ROBUST, BROKEN, WRONG, UNKNOWN = map(int, Outcome)


def checks(claimed: list[int], **probes: Tensor) -> dict[str, Check]:
    return {
        check.name: check
        for check in compare_outcomes(claimed, POSITIONS, probes, battery=BATTERY_SIZES["small"])
    }


def probe(*, broken: int, wrong: int = 0) -> Tensor:
    """What became of 200 samples: the first are broken, the last wrong without attack."""
    return torch.tensor(
        [BROKEN] * broken + [ROBUST] * (200 - broken - wrong) + [WRONG] * wrong, dtype=torch.uint8
    )


@pytest.mark.parametrize(
    ("missed", "grade"), [(0, "pass"), (10, "pass"), (20, "suspicious"), (60, "fail")]
)
def test_samples_broken_by_noise_alone_are_graded_by_lower_bound(missed: int, grade: str) -> None:
    found = checks([ROBUST] * 200, noise=probe(broken=missed))["noise"]

    assert grade == found.grade
    assert share_lower_bound(missed, 200) == found.value
    assert 200 == found.samples


def test_lower_bound_is_the_one_sided_score_bound() -> None:
    assert 0.0 == share_lower_bound(0, 0) == share_lower_bound(0, 200)
    assert share_lower_bound(20, 200) == pytest.approx(0.0700, abs=1e-3)
    assert ["pass", "suspicious", "fail"] == [
        status_of_share(share) for share in (0.05, 0.051, 0.151)
    ]


def test_samples_the_attack_broke_are_not_missed() -> None:
    claimed = [BROKEN] * 60 + [ROBUST] * 140

    assert "pass" == checks(claimed, more_steps=probe(broken=60))["more_steps"].grade


def test_check_states_the_steps_of_the_host() -> None:
    assert (
        "that 40 steps of the host's own attack broke"
        in checks([ROBUST] * 200, noise=probe(broken=0))["more_steps"].text
    )


def test_missing_attack_is_not_applicable() -> None:
    assert "not applicable" == checks([ROBUST] * 200, noise=probe(broken=0))["transferred"].grade


def test_attack_with_eps_0_leaves_the_clean_accuracy() -> None:
    clean = probe(broken=0, wrong=10)
    right = [ROBUST] * 190 + [WRONG] * 10

    assert ("pass", 0) == _graded(checks(right, noise=clean)["eps_zero"])
    assert ("fail", 1) == _graded(checks([WRONG, *right[1:]], noise=clean)["eps_zero"])
    assert ("fail", 10) == _graded(checks([ROBUST] * 200, noise=clean)["eps_zero"])


def test_unfinished_attack_is_suspicious() -> None:
    claimed = [UNKNOWN] * 40 + [ROBUST] * 160

    assert "suspicious" == checks(claimed, noise=probe(broken=0))["finished"].grade
    assert "pass" == checks([UNKNOWN, *[ROBUST] * 199], noise=probe(broken=0))["finished"].grade


def _graded(check: Check) -> tuple[str, float]:
    return check.grade, check.value
