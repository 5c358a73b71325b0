"""Numbers, booleans and lists that are written so that YAML reads a text: what to write is told."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.mark.parametrize(
    ("written", "step"),
    [
        ('"8/255"', "write 8/255 without quotes and spaces"),
        ("8 / 255", "write 8/255 without quotes and spaces"),
        ("' 0.1 '", "write 0.1 without quotes and spaces"),
        ('"1e-3"', "write 1e-3 without quotes and spaces"),
        ("1e - 3", "write 1e-3 without quotes and spaces"),
        ("0.1f", "write 0.1"),
        ("1_000", "write 1000 without underscores"),
        ("50%", "write 0.5, or 50/100"),
        ("'0,031'", "write 0.031 with a point"),
        ("',5'", "write 0.5 with a point"),
        ("'1,000'", "write 1000 or 1.000: a comma is not part of a number"),
        ("'1,000,000'", "write 1000000 without commas"),
        ("1:30", "write one number, such as 90 (which YAML 1.1 made of it)"),
        ("2026-11-28", "write a number, not a date"),
        ("inf", "write a finite number"),
        ("NaN", "write a finite number"),
        ("10^-3", "write 1e-3"),
        ("8\u00f7255", "write 8/255 without quotes and spaces"),
        ("\u22121", "write -1 without quotes and spaces"),
        ("\uff11", "write 1 without quotes and spaces"),
        ("0.1 0.2", "write a list: [0.1, 0.2]"),
        ("'0.1, 8/255'", "write a list: [0.1, 8/255]"),
        ("'08'", "write 8"),
        ("0b101", "write 5"),
    ],
)
def test_text_meant_as_a_number_is_reported_with_the_correction(
    mistakes: Callable[..., list[str]], written: str, step: str
) -> None:
    (problem,) = mistakes(evaluations=f"pgd: {{use: toy/pgd, eps: {written}}}")

    assert problem.endswith(f"; expected a valid number or a list; {step}")


@pytest.mark.parametrize("written", [".inf", "-.inf", ".nan", "1e999", "8/0", "9007199254740993"])
def test_numbers_that_no_record_could_hold_are_refused(
    mistakes: Callable[..., list[str]], written: str
) -> None:
    (problem,) = mistakes(evaluations=f"pgd: {{use: toy/pgd, eps: {written}}}")

    assert "expected a finite number" in problem or "expected an integer between" in problem


def test_leading_zero_is_reported_with_the_meant_number(
    mistakes: Callable[..., list[str]],
) -> None:
    (problem,) = mistakes(evaluations="pgd: {use: toy/pgd, eps: 0.1, steps: 08}")

    assert "found '08'" in problem
    assert "write 8, or put a text in quotes" in problem


@pytest.mark.parametrize(
    ("option", "step"),
    [
        ("steps: 10.0", "write 10"),
        ("steps: '10'", "write 10 without quotes and spaces"),
        ("steps: ten", "`advtransfer show toy/pgd` explains the options"),
        ("steps: 1_000", "write 1000 without underscores"),
    ],
)
def test_mistaken_integer_is_reported_with_the_correction(
    mistakes: Callable[..., list[str]], option: str, step: str
) -> None:
    (problem,) = mistakes(evaluations=f"pgd: {{use: toy/pgd, eps: 0.1, {option}}}")

    assert problem.endswith(f"; {step}")


@pytest.mark.parametrize(
    ("written", "step"),
    [("yes", "write true"), ("'true'", "write true"), ("Off", "write false"), ("n", "write false")],
)
def test_yaml_1_1_boolean_is_reported_with_the_correction(
    mistakes: Callable[..., list[str]], written: str, step: str
) -> None:
    (problem,) = mistakes(
        transfers=f"t: {{use: toy/scratch, network: small, layers: [{{width: 3, bias: {written}}}]}}"
    )

    assert problem.endswith(f"; {step}")


@pytest.mark.parametrize(
    ("keys", "step"),
    [
        ("n: '20'", "write 20 without quotes and spaces"),
        ("n: 20.0", "write 20"),
        ("n: 1.5", "correct it"),
        ("n: -1", "correct it"),
        ("n: 'all '", "write all"),
        ("n: ALL", "write all"),
        ("n: 20, seeds: '5'", "write 5 without quotes and spaces"),
        ("n: 20, validation: 10%", "write 0.1, or 10/100"),
        ("n: 20, validation: '0,1'", "write 0.1 with a point"),
        ("n: 20, test: 1_000", "write 1000 without underscores"),
    ],
)
def test_mistaken_count_of_a_target_is_reported_with_the_correction(
    mistakes: Callable[..., list[str]], keys: str, step: str
) -> None:
    (problem,) = mistakes(targets=f"task: {{data: low, {keys}}}")

    assert problem.endswith(f"; {step}")


def test_decimal_comma_in_braces_is_not_taken_for_a_key(
    mistakes: Callable[..., list[str]],
) -> None:
    (problem,) = mistakes(evaluations="pgd: {use: toy/pgd, eps: 0,031}")

    assert (
        problem
        == "toy.yaml:2:30: found '031' as a key; expected a text; write a point in place of a decimal comma"
    )
