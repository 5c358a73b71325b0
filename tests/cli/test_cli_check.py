"""``advtransfer check``: what is asked of an evaluation, and how the score becomes a table and an exit code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner, Result

from advtransfer.cli import main
from advtransfer.testing.canaries.examine import Seen
from advtransfer.testing.canaries.score import Row
from advtransfer.trial.battery import Battery, Threat
from advtransfer.types import Check, Evaluation

CAUGHT = Row("canary", "saturated logits (natural)", 100, Seen("suspicious", "flat", 0.9))
MISSED = Row("canary", "random noise (natural)", 0.01, Seen("verified", "12 checks passed", 0.5))
FINE = Row("honest", "natural network", None, Seen("verified", "12 checks passed", 0.47))
FLAGGED = Row("honest", "robust network", None, Seen("invalid", "wrong", 0.8))
EXACT = Row("exact", "two classes, a plane", None, Seen("verified", "12 checks passed", 0.5), 0.5)
BELOW = Row("exact", "two classes, a plane", None, Seen("verified", "12 checks passed", 0.4), 0.5)


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Result, Threat]]:
    """The command, its score made up of these rows; and the ball that the score was asked for."""
    threats: list[Threat] = []

    def call(*rows: Row, arguments: tuple[str, ...] = ()) -> tuple[Result, Threat]:
        def score(evaluation: Evaluation, *, threat: Threat, battery: Battery, seed: int) -> Iterator[Row]:
            threats.append(threat)
            yield from rows

        monkeypatch.setattr("advtransfer.testing.canaries.score.score", score)
        result = CliRunner().invoke(main, ["check", "--canaries", "foolbox/pgd", *arguments])
        return result, threats[-1] if threats else Threat("linf", 0)

    return call


def test_all_is_well_where_every_canary_is_caught_and_no_honest_model_flagged(
    scored: Callable[..., tuple[Result, Threat]],
) -> None:
    result, threat = scored(CAUGHT, FINE, EXACT)

    assert 0 == result.exit_code
    assert Threat("linf", 0.1) == threat
    assert "1 of 1 canaries caught; 1 of 1 honest models not flagged; 1 of 1 exact values kept" in result.stdout
    assert "canary  saturated logits (natural)  100       0.900           caught   suspicious: flat" in result.stdout


@pytest.mark.parametrize(("row", "outcome"), [(MISSED, "missed"), (FLAGGED, "flagged"), (BELOW, "below exact")])
def test_one_that_is_not_well_is_exit_code_1(
    row: Row, outcome: str, scored: Callable[..., tuple[Result, Threat]]
) -> None:
    result, _ = scored(CAUGHT, row)

    assert 1 == result.exit_code
    assert outcome in result.stdout


def test_a_doubt_is_told_with_its_checks() -> None:
    check = Check("noise", "fail", 0.3, 0.05, 200, "what it means")

    assert Seen("invalid", "noise is 0.3", 0.9, (check,)).doubted
    assert not Seen("unchecked", "no evidence").doubted


def test_options_are_those_of_the_evaluation(scored: Callable[..., tuple[Result, Threat]]) -> None:
    _, threat = scored(FINE, arguments=("norm=l2", "eps=1/2", "steps=5"))
    wrong, _ = scored(FINE, arguments=("steps=many",))
    bare, _ = scored(FINE, arguments=("steps",))

    assert Threat("l2", 0.5) == threat
    assert [2, 2] == [wrong.exit_code, bare.exit_code]
    assert "steps: " in wrong.stderr
    assert "expected OPTION=VALUE" in bare.stderr


def test_as_json_each_model_has_its_checks(scored: Callable[..., tuple[Result, Threat]]) -> None:
    result, _ = scored(CAUGHT, FINE, arguments=("--json",))
    told = json.loads(result.stdout)

    assert [("caught", True), ("fine", True)] == [(row["outcome"], row["good"]) for row in told]
    assert ["suspicious", "verified"] == [row["seen"]["judged"] for row in told]


def test_what_is_no_evaluation_is_refused() -> None:
    result = CliRunner().invoke(main, ["check", "--canaries", "vision/digits"])

    assert 2 == result.exit_code
    assert "evaluation" in result.stderr


def test_an_evaluation_that_refuses_honest_models_too_has_caught_nothing() -> None:
    result = CliRunner().invoke(main, ["check", "--canaries", "foolbox/pgd", "eps=8"])

    assert 2 == result.exit_code
    assert "found every model refused, the honest ones too, the first with ValueError: found eps 8.0;" in result.stderr
