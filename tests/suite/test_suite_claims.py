"""The grammar of `leaderboard.claims`: labels in place of names, and every mistake with its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from tests.suite.test_suite_leaderboard import GRID

from advtransfer.host import Host
from advtransfer.suite import Leaderboard, Suite, suite_schema
from advtransfer.suite.claim_settings import KIND_KEYS, RULE_KEYS, TEXT_KEYS
from advtransfer.suite.located import Problems
from advtransfer.suite.yaml_reader import parse_yaml

TEXTS = "name: B1, claim: Robust is better, paper: Utrera (2021), place: Table 5, reported: '+14.4 points'"
CONTRAST = (
    "kind: contrast, sign: positive, margin: 0.02, metric: clean.accuracy, of: natural, "
    "against: {transfer: probe}"
)
CORRELATION = (
    "kind: correlation, sign: negative, margin: 0.3, predictor: pgd.robust_accuracy, "
    "outcome: clean.accuracy, across: source"
)
INEQUALITY = "kind: inequality, margin: 0.95, lower: clean.accuracy, upper: [pgd.robust_accuracy, clean.accuracy]"
COST = "kind: cost, sign: negative, margin: 0.2, of: Natural, against: probe"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def board(suite: Callable[..., Suite]) -> Callable[[str], Leaderboard]:
    def board(text: str) -> Leaderboard:
        return suite(**GRID, leaderboard=text).leaderboard

    return board


def test_contrast_has_labels_in_place_of_names(board: Callable[[str], Leaderboard]) -> None:
    minus = (
        "at: {n: 20}, minus: {metric: pgd.robust_accuracy, at: {transfer: probe}}, detects: 0.01"
    )
    (claim,) = board(f"claims: [{{{TEXTS}, {CONTRAST}, {minus}}}]").claims

    assert claim == {
        "name": "B1",
        "claim": "Robust is better",
        "paper": "Utrera (2021)",
        "place": "Table 5",
        "reported": "+14.4 points",
        "kind": "contrast",
        "sign": "positive",
        "margin": 0.02,
        "metric": "clean.accuracy",
        "of": {"source": "Natural"},
        "against": {"transfer": "Linear probe"},
        "at": {"n": [20]},
        "minus": {"metric": "PGD.robust_accuracy", "at": {"transfer": ["Linear probe"]}},
        "detects": 0.01,
    }


def test_every_other_kind_is_read(board: Callable[[str], Leaderboard]) -> None:
    named = [
        f"{{{TEXTS.replace('B1', f'B{number}')}, {rule}}}"
        for number, rule in enumerate(
            (
                f"{CORRELATION}, coefficient: Pearson, per_training: true, given: {{n: 20}}",
                INEQUALITY,
                f"{INEQUALITY.replace('clean.accuracy, upper', '0.5, upper')}",
                COST,
                "not_asked: Needs a GPU",
            )
        )
    ]
    correlation, inequality, number, cost, absent = board(
        f"registered: {COMMIT}\nclaims: [{', '.join(named)}]"
    ).claims

    assert (correlation["predictor"], correlation["across"]) == ("PGD.robust_accuracy", "source")
    assert (correlation["coefficient"], correlation["per_training"]) == ("Pearson", True)
    assert correlation["given"] == {"n": [20]}
    assert inequality["lower"] == ["clean.accuracy"]
    assert inequality["upper"] == ["PGD.robust_accuracy", "clean.accuracy"]
    assert number["lower"] == [0.5]
    assert (cost["of"], cost["against"]) == ({"source": "Natural"}, {"transfer": "Linear probe"})
    assert absent["not_asked"] == "Needs a GPU"


def test_plan_holds_claims_and_commit_only_where_there_are_some(
    suite: Callable[..., Suite],
) -> None:
    from advtransfer.planning.leaderboard_json import leaderboard_json

    text = f"registered: {COMMIT}\nclaims: [{{{TEXTS}, {COST}}}]"
    stated = leaderboard_json(suite(**GRID, leaderboard=text))
    without = leaderboard_json(suite(**GRID, leaderboard="baseline: natural"))

    assert stated["registered"] == COMMIT
    assert isinstance(stated["claims"], list)
    assert without.keys().isdisjoint({"claims", "registered"})


@pytest.mark.parametrize(
    ("claim", "found"),
    [
        ("{}", "found no 'kind', and no 'not_asked'; expected a claim with the kind contrast"),
        ("B1", "found 'B1'; expected a claim with the kind contrast, correlation, inequality"),
        (f"{{{TEXTS}, kind: contrasts}}", "did you mean 'contrast'?"),
        (
            f"{{{TEXTS}, {CONTRAST.replace('margin: 0.02, ', '')}}}",
            "found no 'margin'; expected name",
        ),
        (
            f"{{{TEXTS}, {CONTRAST.replace('0.02', '-1')}}}",
            "found -1; expected margin: the size of",
        ),
        (
            f"{{{TEXTS}, {CONTRAST.replace('positive', 'up')}}}",
            "expected one of positive, negative",
        ),
        (
            f"{{{TEXTS}, {CONTRAST.replace('natural', 'natrual')}}}",
            "expected a source: natural, linf",
        ),
        (
            f"{{{TEXTS}, {CONTRAST.replace('clean.', 'clear.')}}}",
            "found 'clear.accuracy'; expected",
        ),
        (f"{{{TEXTS}, {COST.replace('probe', 'natural')}}}", "expected another row than `of`"),
        (
            f"{{{TEXTS}, {CONTRAST}, across: source}}",
            "found the unknown name 'across' in a contrast",
        ),
        (f"{{{TEXTS}, {CONTRAST}, minus: {{n: 3}}}}", "found the unknown name 'n' in `minus`"),
        (f"{{{TEXTS}, {CONTRAST}, at: {{n: 7}}}}", "found 7, which matches no n; expected"),
        (
            f"{{{TEXTS}, {CORRELATION}, coefficient: Gini}}",
            "expected one of Pearson, Spearman, Kendall",
        ),
        (f"{{{TEXTS}, {CORRELATION}, per_training: 3}}", "expected true (one coefficient of each"),
        (f"{{{TEXTS.replace(', place: Table 5', '')}, not_asked: no}}", "found no 'place'"),
        (
            f"{{{TEXTS}, not_asked: GPU, kind: cost}}",
            "found the unknown name 'kind' in a claim that",
        ),
        (f"{{{TEXTS}, {COST}}}, {{{TEXTS}, {COST}}}", "found 'B1'; expected a name that no other"),
        (
            f"{{{TEXTS}, {CORRELATION.replace('outcome: clean.accuracy', 'outcome: pgd.robust_accuracy')}}}",
            "expected another metric than `predictor`",
        ),
        (
            f"{{{TEXTS}, {INEQUALITY.replace('0.95', '95')}}}",
            "found 95; expected margin: a share, at most 1",
        ),
        (f"{{{TEXTS}, {CONTRAST}, detects: 3}}", "found 3; expected detects: a share, at most 1"),
        (f"{{{TEXTS}, {CONTRAST}, minus: {{}}}}", "expected what the second contrast has in place"),
        (
            f"{{{TEXTS}, {CORRELATION}, detects: 3}}",
            "found 3; expected detects: a coefficient, at most 1",
        ),
    ],
)
def test_mistake_in_a_claim_is_one_problem_with_its_place(
    mistakes: Callable[..., list[str]], claim: str, found: str
) -> None:
    (problem,) = mistakes(**GRID, leaderboard=f"claims: [{claim}]")

    assert found in problem
    assert ".yaml:" in problem


@pytest.mark.parametrize("commit", ["main", COMMIT[:12], "12", COMMIT.upper()])
def test_only_a_whole_commit_registers(mistakes: Callable[..., list[str]], commit: str) -> None:
    (problem,) = mistakes(**GRID, leaderboard=f"registered: {commit}")

    assert "expected a commit: 40 hexadecimal digits" in problem
    assert ".yaml:" in problem


@pytest.mark.parametrize(
    ("claim", "is_valid"),
    [
        (f"{{{TEXTS}, {CONTRAST}, detects: 0.1, minus: {{at: {{n: 20}}}}}}", True),
        (f"{{{TEXTS}, {CORRELATION}, per_training: true}}", True),
        (f"{{{TEXTS}, {INEQUALITY}}}", True),
        (f"{{{TEXTS}, {COST}}}", True),
        (f"{{{TEXTS}, not_asked: Needs a GPU}}", True),
        (f"{{{TEXTS}}}", False),
        (f"{{{TEXTS}, {COST}, metric: clean.accuracy}}", False),
        (f"{{{TEXTS}, {CONTRAST.replace('positive', 'up')}}}", False),
        (f"{{{TEXTS}, not_asked: GPU, kind: cost}}", False),
    ],
)
def test_schema_says_the_same_of_a_claim(claim: str, is_valid: bool) -> None:
    schema: Any = suite_schema(Host.discover())
    validator = Draft202012Validator(schema).evolve(schema=schema["$defs"]["leaderboard"])
    text = f"claims: [{claim}]"
    value = parse_yaml(text, file="s.yaml", problems=Problems("s.yaml")).to_plain()

    assert validator.is_valid(value) is is_valid


def test_every_key_of_a_claim_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "pages.md").read_text("utf-8")
    section = text.partition("## Claims")[2].partition("\n## ")[0]
    keys = {*TEXT_KEYS, *RULE_KEYS, *(key for kind in KIND_KEYS.values() for key in kind)}

    assert {key for key in keys if f"`{key}" not in section} == set()
    assert all(f"| `{kind}` |" in section for kind in KIND_KEYS)
