"""How numbers, durations and names are written."""

from __future__ import annotations

import math

import pytest

from advtransfer.console.formatting import (
    format_duration,
    format_number,
    job_progress_text,
    trial_name,
)
from advtransfer.text import pluralize


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.0, ".000"),
        (0.7043, ".704"),
        (0.9999, "1.000"),
        (1.0, "1.000"),
        (1.0000001, "1.000"),
        (0.0005, ".001"),
        (0.000034, "3.4e-05"),
        (-0.05, "-0.05"),
        (12.34567, "12.35"),
        (math.nan, "–"),  # noqa: RUF001  # the en dash that stands for what is absent
        (math.inf, "–"),  # noqa: RUF001
    ],
)
def test_metrics_have_three_decimals_and_non_finite_ones_are_absent(
    value: float, written: str
) -> None:
    assert written == format_number(value)


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0.04, "0.0 s"),
        (0.44, "0.4 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (192.0, "3 min 12 s"),
        (3599.7, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float, written: str) -> None:
    assert written == format_duration(seconds)


def test_count_of_one_uses_singular() -> None:
    assert (pluralize(1, "trial"), pluralize(2, "trial"), pluralize(0, "trial")) == (
        "1 trial",
        "2 trials",
        "0 trials",
    )


def test_trial_without_a_name_is_named_by_position_or_id() -> None:
    assert (
        trial_name(
            {"source": "robust", "target": "mnist", "n": "all", "seed": 3, "transfer": "probe"}
        )
        == "robust -> mnist n=all seed=3 probe"
    )
    assert (
        trial_name({"target": "mnist", "n": 20, "seed": 0, "transfer": "scratch"})
        == "mnist n=20 seed=0 scratch"
    )
    assert trial_name({"id": "0123456789abcdef"}) == "0123456789ab"
    assert trial_name({}) == "?"


def test_job_progress_has_steps_and_figures() -> None:
    assert (
        job_progress_text(
            {"done": 3, "total": 30, "news": {"loss": 0.4123, "note": "text is no figure"}}
        )
        == "3/30 loss .412"
    )
    assert job_progress_text({}) == ""
