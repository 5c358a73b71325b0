"""``advtransfer check``: what is asked of an evaluation, and how the score becomes a table and an exit code."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator

import pytest
from click.testing import CliRunner, Result

from advtransfer.cli import main
from advtransfer.testing.canaries.processes import Scoring
from advtransfer.testing.canaries.score import Examination, ScoredModel
from advtransfer.types import Check
from advtransfer.worker.verification import ThreatModel

SCORE_EVALUATION = "advtransfer.testing.canaries.processes.score_evaluation"
CAUGHT = ScoredModel(
    "canary", "saturated logits (natural)", 100, Examination("suspicious", "flat", 0.9)
)
MISSED = ScoredModel(
    "canary", "random noise (natural)", 0.01, Examination("checked", "12 checks passed", 0.5)
)
FINE = ScoredModel(
    "honest", "natural network", None, Examination("checked", "12 checks passed", 0.47)
)
FLAGGED = ScoredModel("honest", "robust network", None, Examination("invalid", "wrong", 0.8))
EXACT = ScoredModel(
    "exact", "two classes, a plane", None, Examination("checked", "12 checks passed", 0.5), 0.5
)
BELOW = ScoredModel(
    "exact", "two classes, a plane", None, Examination("checked", "12 checks passed", 0.4), 0.5
)


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Result, ThreatModel]]:
    """The command, its score made up of these rows; and the ball that the score was asked for."""
    threats: list[ThreatModel] = []

    def call(*rows: ScoredModel, arguments: tuple[str, ...] = ()) -> tuple[Result, ThreatModel]:
        def score(
            scoring: Scoring, *, jobs: int, report: Callable[[str], None]
        ) -> Generator[ScoredModel]:
            threats.append(scoring.threat)
            report("left out: nothing of 1 row")
            yield from rows

        monkeypatch.setattr(SCORE_EVALUATION, score)
        result = CliRunner().invoke(main, ["check", "foolbox/pgd", "--canaries", *arguments])
        return result, threats[-1] if threats else ThreatModel("linf", 0)

    return call


def test_exit_code_is_0_when_every_canary_is_caught_and_no_honest_model_flagged(
    scored: Callable[..., tuple[Result, ThreatModel]],
) -> None:
    result, threat = scored(CAUGHT, FINE, EXACT)

    assert 0 == result.exit_code
    assert ThreatModel("linf", 0.1) == threat
    assert (
        "1 of 1 canaries caught; 1 of 1 honest models not flagged; 1 of 1 exact values kept"
        in result.stdout
    )
    assert result.stdout.endswith("\nleft out: nothing of 1 row\n")
    assert (
        "canary  saturated logits (natural)  100       0.900           caught   suspicious: flat"
        in result.stdout
    )


@pytest.mark.parametrize(
    ("row", "outcome"), [(MISSED, "missed"), (FLAGGED, "flagged"), (BELOW, "below exact")]
)
def test_failed_model_gives_exit_code_1(
    row: ScoredModel, outcome: str, scored: Callable[..., tuple[Result, ThreatModel]]
) -> None:
    result, _ = scored(CAUGHT, row)

    assert 1 == result.exit_code
    assert outcome in result.stdout


def test_suspicious_verdict_names_its_checks() -> None:
    check = Check("noise", "fail", 0.3, 0.05, 200, "what it means")

    assert Examination("invalid", "noise is 0.3", 0.9, (check,)).is_doubted
    assert not Examination("unchecked", "no evidence").is_doubted


def test_options_are_those_of_the_evaluation(
    scored: Callable[..., tuple[Result, ThreatModel]],
) -> None:
    _, threat = scored(FINE, arguments=("norm=l2", "eps=1/2", "steps=5"))
    wrong, _ = scored(FINE, arguments=("steps=many",))
    bare, _ = scored(FINE, arguments=("steps",))

    assert ThreatModel("l2", 0.5) == threat
    assert [2, 2] == [wrong.exit_code, bare.exit_code]
    assert "steps: " in wrong.stderr
    assert "expected OPTION=VALUE" in bare.stderr


def test_scores_as_json_have_the_checks_of_each_model(
    scored: Callable[..., tuple[Result, ThreatModel]],
) -> None:
    result, _ = scored(CAUGHT, FINE, arguments=("--json",))
    rows = json.loads(result.stdout)

    assert [("caught", True), ("fine", True)] == [(row["outcome"], row["good"]) for row in rows]
    assert ["suspicious", "checked"] == [row["seen"]["judged"] for row in rows]


def test_other_component_than_an_evaluation_is_refused() -> None:
    result = CliRunner().invoke(main, ["check", "--canaries", "vision/digits"])

    assert 2 == result.exit_code
    assert "evaluation" in result.stderr


@pytest.mark.slow
def test_evaluation_that_refuses_honest_models_too_has_caught_nothing() -> None:
    result = CliRunner().invoke(main, ["check", "--canaries", "foolbox/pgd", "eps=8"])

    assert 2 == result.exit_code
    assert (
        "found every model refused, the honest ones too, the first with ValueError: found eps 8.0;"
        in result.stderr
    )


@pytest.mark.parametrize(
    ("arguments", "is_strong"),
    [(("foolbox/pgd",), False), (("foolbox/autoattack", "norm=linf", "eps=0.1"), True)],
)
def test_only_an_evaluation_that_claims_to_be_strong_is_held_to_the_stricter_limit(
    arguments: tuple[str, ...], is_strong: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []

    def score(scoring: Scoring, **_: object) -> Generator[ScoredModel]:
        told.append(scoring.is_strong)
        yield FINE

    monkeypatch.setattr(SCORE_EVALUATION, score)
    result = CliRunner().invoke(main, ["check", *arguments, "--canaries"])

    assert 0 == result.exit_code, result.output
    assert [is_strong] == told
