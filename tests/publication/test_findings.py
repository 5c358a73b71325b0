"""What the claims of all boards came to, in one table; and that claims stood in a commit before the run."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from advtransfer import runner, suite
from advtransfer.cli import main
from advtransfer.host import Host
from advtransfer.planning import Plan
from advtransfer.publication.findings import FINDINGS_FILE, findings_page
from advtransfer.publication.publish import Origin, publish_run
from advtransfer.publication.registration import check_registration
from advtransfer.result import Run
from advtransfer.runner.settings import RunSettings

CITATION = Path(__file__).parents[2] / "CITATION.cff"
TEXTS = "paper: Nobody (2020), place: Table 1, reported: '+1 point'"
SUITE = f"""
version: 1
title: Is a drawn network as good as another?
datasets: {{digits: {{use: vision/digits}}}}
sources:
  drawn: {{use: vision/random_init, data: digits, network: small_cnn}}
  other: {{use: vision/random_init, data: digits, network: small_cnn, seed: 7}}
targets: {{digits: {{data: digits, n: [20], seeds: 3, test: 64, leakage: "off"}}}}
transfers: {{probe: {{use: finetune/linear_probe}}}}
evaluations: {{clean: {{use: foolbox/clean_accuracy}}}}
leaderboard:
  rank_by: clean.accuracy
  note: It was drawn for a test.
  claims:
    - {{name: T10, claim: Looks better, {TEXTS}, not_asked: people look at it}}
    - {{name: T2, claim: Is better, {TEXTS}, kind: contrast, sign: positive, margin: 0.9,
       metric: clean.accuracy, of: drawn, against: other}}
"""
NOW = 4_000_000_000
"""A time after every record, in 2096."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("claimed")
    host = Host.discover()
    (folder / "claimed.yaml").write_text(SUITE)
    settings = RunSettings(
        executor="local/inline", runs=folder / "runs", cache=folder / "cache", battery="none"
    )
    loaded = suite.load(str(folder / "claimed.yaml"), host)
    return Run(runner.run_suite(loaded, settings=settings, host=host).run)


def test_findings_are_a_page_of_all_boards_that_pages_check_holds(run: Run, tmp_path: Path) -> None:
    published = tmp_path / "leaderboard"
    origin = Origin("somebody", "Some Body", "MIT", CITATION)

    warned: list[str] = []
    publish_run(run, published, origin, found=True, warn=warned.append)

    assert warned == ["its claims name no commit (`registered`), so they are exploratory"]
    text = (published / FINDINGS_FILE).read_text("utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| T")]
    assert [line.split(":")[0] for line in lines] == ["| T2", "| T10"]
    # A drawn network is not better by 90 points.
    assert "**does not hold**" in lines[0]
    assert "[claimed](<claimed/README.md>)" in lines[0]
    assert "people look at it" in lines[1]
    assert "not asked" in lines[1]
    assert "Of 2 claims: 1 did not hold; 1 not asked." in text
    assert "- `claimed`: It was drawn for a test." in text
    assert f"[findings]({FINDINGS_FILE})" in (published / "README.md").read_text("utf-8")
    assert 0 == CliRunner().invoke(main, ["pages", str(published), "--check"]).exit_code

    (published / FINDINGS_FILE).write_text(text.replace("does not hold", "holds"))
    done = CliRunner().invoke(main, ["pages", str(published), "--check"])

    assert 0 != done.exit_code
    assert FINDINGS_FILE in done.output


def test_boards_without_claims_have_no_findings() -> None:
    assert findings_page({}, []) == ""


def committed(folder: Path, text: str, *, time: int, parent: str | None = None) -> str:
    """Commit a suite, and perhaps one that it extends, in a new repository; return the commit."""
    folder.mkdir()
    (folder / "claimed.yaml").write_text(text)
    if parent is not None:
        (folder / "parent.yaml").write_text(parent)
    dates = {"GIT_COMMITTER_DATE": f"{time} +0000", "GIT_AUTHOR_DATE": f"{time} +0000"}
    names = {
        f"GIT_{role}_{key}": "x" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")
    }
    environment = {**os.environ, **dates, **names}
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "Claims"]):
        subprocess.run(["git", *arguments], cwd=folder, env=environment, check=True)
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def registered(run: Run, commit: str) -> Plan:
    plan: dict[str, Any] = dict(run.read_plan())
    return Plan.from_json(plan | {"leaderboard": {**plan["leaderboard"], "registered": commit}})


@pytest.mark.parametrize("note", ["", "note: It is about nothing, "])
def test_claims_that_stood_before_the_run_are_verified(run: Run, tmp_path: Path, note: str) -> None:
    suites = tmp_path / "suites"
    text = SUITE.replace("margin: 0.9", f"{note}margin: 0.9")
    commit = committed(suites, text, time=1_000_000_000)

    found = check_registration(run.path, registered(run, commit), run.read_records(), suites=suites)

    assert (found.faults, found.notes) == ([], [])


def test_claims_that_changed_after_their_commit_are_a_fault(run: Run, tmp_path: Path) -> None:
    suites = tmp_path / "suites"
    commit = committed(suites, SUITE.replace("margin: 0.9", "margin: 0.1"), time=1_000_000_000)

    (fault,) = check_registration(
        run.path, registered(run, commit), run.read_records(), suites=suites
    ).faults

    assert fault.where == "suite.yaml"
    found = f"found other claims (T2) than those of claimed.yaml in the commit {commit[:12]}"
    assert found in fault.text
    assert "restore them and run it again" in fault.text


def test_a_source_that_changed_after_the_commit_is_a_fault(run: Run, tmp_path: Path) -> None:
    suites = tmp_path / "suites"
    text = SUITE.replace("seed: 7", "seed: 8").replace("as good as", "as able as")
    commit = committed(suites, text, time=1_000_000_000)

    (fault,) = check_registration(
        run.path, registered(run, commit), run.read_records(), suites=suites
    ).faults

    assert "found other sources than those of claimed.yaml" in fault.text


def test_claims_of_a_suite_that_extends_another_are_those_of_both_in_the_commit(
    run: Run, tmp_path: Path
) -> None:
    child = "extends: parent\nsources: {other: {seed: 7}}\n"
    for name, parent, expected in (
        ("same", SUITE.replace("seed: 7", "seed: 8"), []),
        (
            "claims",
            SUITE.replace("margin: 0.9", "margin: 0.1"),
            ["found other claims (T2) than those"],
        ),
        ("targets", SUITE.replace("seeds: 3", "seeds: 4"), ["found other targets than those"]),
        ("no parent", None, ["found no suite claimed.yaml in the commit"]),
    ):
        suites = tmp_path / name
        commit = committed(suites, child, parent=parent, time=1_000_000_000)

        found = check_registration(
            run.path, registered(run, commit), run.read_records(), suites=suites
        )

        assert [
            fault.text[: len(text)] for fault, text in zip(found.faults, expected, strict=True)
        ] == expected


def test_a_suite_that_the_commit_lacks_is_a_fault(run: Run, tmp_path: Path) -> None:
    suites = tmp_path / "suites"
    commit = committed(suites, SUITE, time=1_000_000_000)
    plan = replace(registered(run, commit), suite="renamed")

    (fault,) = check_registration(run.path, plan, run.read_records(), suites=suites).faults

    assert "found no suite renamed.yaml in the commit" in fault.text


def test_results_from_before_the_commit_are_a_fault(run: Run, tmp_path: Path) -> None:
    suites = tmp_path / "suites"
    commit = committed(suites, SUITE, time=NOW)

    (fault,) = check_registration(
        run.path, registered(run, commit), run.read_records(), suites=suites
    ).faults

    assert "expected none before its claims were committed" in fault.text
    assert "2096-10-02" in fault.text


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("HEAD^{tree}", "tree", "HEAD"),
        ("HEAD:claimed.yaml", "blob", "HEAD"),
        ("stood", "tag", "{}^{{commit}}"),
    ],
)
def test_an_object_that_is_no_commit_registers_nothing(
    name: str, kind: str, told: str, run: Run, tmp_path: Path
) -> None:
    suites = tmp_path / "suites"
    committed(suites, SUITE, time=1_000_000_000)
    identity = ["-c", "user.name=x", "-c", "user.email=x"]
    for arguments in ([*identity, "tag", "-a", "-m", "Claims", "stood"], ["rev-parse", name]):
        done = subprocess.run(
            ["git", *arguments], cwd=suites, capture_output=True, text=True, check=True
        )
    id = done.stdout.strip()

    found = check_registration(run.path, registered(run, id), run.read_records(), suites=suites)

    (fault,) = found.faults
    assert (fault.where, found.notes) == ("suite.yaml", [])
    assert (
        f"found the {kind} {id[:12]} in `registered`; expected the commit that held" in fault.text
    )
    assert f"write what `git rev-parse {told.format(id[:12])}` says of it" in fault.text


def test_what_cannot_be_looked_up_is_a_note(run: Run, tmp_path: Path) -> None:
    suites = tmp_path / "suites"
    committed(suites, SUITE, time=1_000_000_000)

    unknown = check_registration(
        run.path, registered(run, "0" * 40), run.read_records(), suites=suites
    )
    unnamed = check_registration(
        run.path, Plan.from_json(run.read_plan()), run.read_records(), suites=suites
    )

    # The repository has the suite and its whole history, so that the commit does not exist.
    (fault,) = unknown.faults
    assert "found no commit 000000000000 of its claims in this repository" in fault.text
    assert unknown.notes == []

    shallow = tmp_path / "shallow"
    subprocess.run(
        ["git", "clone", "-q", "--depth", "1", f"file://{suites}", str(shallow)], check=True
    )
    (tmp_path / "other").mkdir()
    for folder in (shallow, tmp_path / "other"):
        found = check_registration(
            run.path, registered(run, "0" * 40), run.read_records(), suites=folder
        )
        assert found.faults == []
        assert "cannot be looked up here" in found.notes[0]

    assert unnamed.notes == ["its claims name no commit (`registered`), so they are exploratory"]
