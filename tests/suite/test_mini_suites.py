"""The papers' claims at the size of a CPU: 22 in four suites, each asked of planned rows, or with its reason."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest

from advtransfer.deprecation import SuiteRenamed
from advtransfer.host import Host
from advtransfer.leaderboard.claims_config import Claim, read_claims
from advtransfer.leaderboard.plan_warnings import plan_warnings
from advtransfer.planning import Plan, make_plan
from advtransfer.suite import Suite, load, shipped_suites
from advtransfer.suite.extends import RENAMED_SUITES

MINI = {
    "robust-transfer-mini": ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "similarity", "Shafahi"),
    "igam-mini": ("C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8"),
    "adversarial-knowledge-mini": ("A1", "A3", "A4", "A5"),
    "source-quality-mini": ("A2",),
}
NOT_ASKED = {"A4", "B7", "C6"}
HOST = Host.discover()


@cache
def planned(name: str) -> tuple[Suite, Plan]:
    suite = load(name, HOST, without_data=True)
    return suite, make_plan(suite, HOST)


def claims_of(name: str) -> list[Claim]:
    return read_claims(planned(name)[1].leaderboard)


@pytest.mark.parametrize("name", MINI)
def test_head_says_what_is_planned(name: str) -> None:
    _, plan = planned(name)
    first_line = shipped_suites()[name].read_text("utf-8").splitlines()[0]

    assert f"{len(plan.trials):,} trials, {plan.count_results():,} results" in first_line
    assert [trial.name for trial in plan.trials if trial.skipped] == []


def test_the_suites_state_22_claims_each_with_its_paper_and_figure() -> None:
    names = {name: tuple(claim.name for claim in claims_of(name)) for name in MINI}
    claims = [claim for name in MINI for claim in claims_of(name)]

    assert names == MINI
    assert len({claim.name for claim in claims}) == 22
    assert {claim.name for claim in claims if claim.not_asked} == NOT_ASKED
    assert all(claim.margin > 0 for claim in claims if claim.kind)
    assert {claim.kind for claim in claims if claim.kind} == {
        "contrast",
        "correlation",
        "inequality",
        "cost",
    }


@pytest.mark.parametrize("name", MINI)
def test_every_claim_meets_planned_rows(name: str) -> None:
    suite, plan = planned(name)
    texts = [each.text for each in plan_warnings(plan, suite, HOST) if each.kind == "claim"]

    assert [text for text in texts if not text.startswith("its claims are exploratory")] == []


@pytest.mark.parametrize("name", MINI)
def test_units_are_five_trainings_or_more(name: str) -> None:
    """With the t-interval of three trainings next to nothing can be told after Holm's correction."""
    _, plan = planned(name)
    trainings = {
        trial.replicate if trial.replicate is not None else trial.target
        for trial in plan.trials
        if trial.source is not None
    }

    assert len(trainings) >= 5


@pytest.mark.parametrize("name", MINI)
def test_trainings_are_none_of_those_that_were_looked_at_before(name: str) -> None:
    before = f"{name}-more"
    earlier = {
        cell.node.id
        for cell in planned(before)[0].sources
        if cell.node.options.get("seed") is not None
    }

    assert earlier.isdisjoint(cell.node.id for cell in planned(name)[0].sources)


@pytest.mark.parametrize("name", RENAMED_SUITES)
def test_names_of_earlier_releases_are_found_and_warned_of(name: str) -> None:
    with pytest.warns(SuiteRenamed, match=RENAMED_SUITES[name]):
        suite = load(name, HOST, without_data=True)

    assert suite.name == RENAMED_SUITES[name]


def test_a_suite_of_before_can_still_be_extended(tmp_path: Path) -> None:
    child = tmp_path / "mine.yaml"
    child.write_text("extends: igam_mnist\ntitle: Mine\n")

    with pytest.warns(SuiteRenamed, match="igam-mini-more"):
        assert load(str(child), HOST).title == "Mine"


def test_a_file_of_that_name_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "igam_mnist").write_text(shipped_suites()["quickstart"].read_text("utf-8"))
    monkeypatch.chdir(tmp_path)

    assert load("igam_mnist", HOST).title.startswith("Do robust source models")


@pytest.mark.skipif("ADVTRANSFER_DATA" not in os.environ, reason="needs the data to plan real ids")
def test_the_first_training_is_its_own_reference() -> None:
    """Without noise the synthetic experiment begins at the target's own reference."""
    suite = load("adversarial-knowledge-mini", HOST)
    sources = {cell.label: cell.node for cell in suite.sources}
    references = [target.references[0].node for target in suite.targets if target.key != "vehicles"]

    for number, reference in enumerate(references):
        assert sources[f"training {number}, noise 0"].inputs["source"] == reference
    assert len({reference.id for reference in references}) == 10
