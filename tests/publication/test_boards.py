"""A board with two submissions, measured for real on a toy suite: joined, ranked together, made again to the byte."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from advtransfer import runner, suite
from advtransfer.cli import main
from advtransfer.errors import BadInput
from advtransfer.host import Host
from advtransfer.publication.board import AXES, planned_axes, read_boards, recorded_axes
from advtransfer.publication.external import Archive
from advtransfer.publication.manifest import bundle_root, file_entries, read_manifest
from advtransfer.publication.pages import merge_submissions
from advtransfer.publication.publish import Origin, publish_run, rebuild_pages
from advtransfer.publication.superseded_page import freeze_page, supersede_board
from advtransfer.result import Run
from advtransfer.runner.settings import RunSettings

CITATION = Path(__file__).parents[2] / "CITATION.cff"
SUITE = """
version: 1
title: Which source is better?
datasets: {digits: {use: vision/digits}}
sources: {drawn: {use: vision/random_init, data: digits, network: small_cnn}}
targets: {digits: {data: digits, n: [20], seeds: 2, test: 64, leakage: "off"}}
transfers: {probe: {use: finetune/linear_probe}}
evaluations: {clean: {use: foolbox/clean_accuracy}}
leaderboard: {rank_by: clean.accuracy, open: [sources, transfers]}
"""
JOINING = """
extends: toy
sources: {other: {use: vision/random_init, data: digits, network: small_cnn, seed: 7}}
transfers: {hot: {use: finetune/linear_probe, C: 0.5}}
"""
OTHER_VERSION = """
extends: toy
targets: {digits: {n: [40]}}
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("toy")
    host = Host.discover()
    settings = RunSettings(
        executor="local/inline", runs=folder / "runs", cache=folder / "cache", battery="none"
    )
    made: dict[str, Run] = {}
    for name, text in (("toy", SUITE), ("joining", JOINING), ("changed", OTHER_VERSION)):
        (folder / f"{name}.yaml").write_text(text)
        loaded = suite.load(str(folder / f"{name}.yaml"), host)
        made[name] = Run(runner.run_suite(loaded, settings=settings, host=host).run)
        assert planned_axes(loaded) == recorded_axes(made[name])
    return made


def origin(name: str) -> Origin:
    return Origin(name, f"Author of {name}", "CC-BY-4.0", CITATION)


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def board(runs: dict[str, Run], tmp_path: Path) -> Path:
    """A folder with the board of the toy suite and two submissions."""
    folder = tmp_path / "leaderboard"
    publish_run(runs["toy"], folder, origin("first"), found=True)
    publish_run(runs["joining"], folder, origin("second"))
    return folder


def test_a_second_submission_joins_the_board_and_is_named(board: Path) -> None:
    (toy,) = read_boards(board)
    page = (board / "toy" / "README.md").read_text()
    head = next(line for line in page.splitlines() if line.startswith("| rank"))
    rows = [line for line in page.splitlines() if line.startswith("| ") and " drawn " in line]

    assert ["first", "second"] == [each.name for each in toy.submissions]
    assert "submission" in head
    # What both measured is the first one's; the new transfer on the same source is the second's.
    assert any("probe" in row and "| first" in row for row in rows)
    assert any("hot" in row and "| second" in row for row in rows)
    assert not any("probe" in row and "second" in row for row in rows)
    assert "Author of second" in page
    assert toy.submissions[1].root in (board / "README.md").read_text()


def test_pages_are_made_again_to_the_byte(board: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "copy"
    shutil.copytree(board, moved)
    for page in moved.rglob("README.md"):
        page.unlink()
    rebuild_pages(moved)

    assert contents(board) == contents(moved)
    assert not CliRunner().invoke(main, ["pages", str(board), "--check"]).exit_code


def test_a_folder_of_a_request_is_listed_when_pages_are_made(
    runs: dict[str, Run], board: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    publish_run(runs["toy"], alone, origin("first"), found=True)
    shutil.copytree(board / "results" / "toy" / "second", alone / "results" / "toy" / "second")
    rebuild_pages(alone)

    assert contents(board) == contents(alone)


def test_manifest_holds_the_root_and_every_file(board: Path) -> None:
    folder = board / "results" / "toy" / "second"
    manifest = read_manifest(folder)

    assert bundle_root(Run(folder)) == manifest["root"]
    assert file_entries(folder) == manifest["files"]
    assert "joining" == manifest["suite"]


def test_a_changed_record_no_longer_has_the_root_of_the_board(
    runs: dict[str, Run], board: Path
) -> None:
    folder = board / "results" / "toy" / "second"
    plan = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps({**plan, "title": "Another question"}))

    with pytest.raises(BadInput, match="with the root"):
        rebuild_pages(board)


def test_what_asks_for_something_else_is_refused_by_name(runs: dict[str, Run], board: Path) -> None:
    before = contents(board)
    with pytest.raises(BadInput, match="no board of the suite 'changed'"):
        publish_run(runs["changed"], board, origin("third"))
    with pytest.raises(BadInput, match=r"no subset digits n=20 seed=0 .*\n.*seed=1"):
        publish_run(runs["changed"], board, origin("third"), board="toy")

    assert before == contents(board)


def test_a_new_version_supersedes_the_board_and_keeps_its_page(
    runs: dict[str, Run], board: Path
) -> None:
    old = (board / "toy" / "README.md").read_text()
    publish_run(runs["changed"], board, origin("first"), board="toy", found=True)
    by_state = {each.superseded_by is None: each for each in read_boards(board)}
    kept = board / "toy" / "versions" / by_state[False].digest[:16] / "README.md"

    assert by_state[True].digest == by_state[False].superseded_by
    assert kept.read_text().endswith(old)
    assert "Superseded" in kept.read_text()
    assert list((board / "boards" / "toy" / "manifests").glob("*.json"))


def test_another_suite_takes_the_place_of_a_board_whose_page_stays(
    runs: dict[str, Run], board: Path
) -> None:
    publish_run(runs["changed"], board, origin("first"), found=True)
    old = (board / "toy" / "README.md").read_text()
    arguments = ["pages", str(board), "--supersede"]
    done = CliRunner().invoke(main, [*arguments, "toy", "changed"])
    present = {each.suite: each.superseded_by for each in read_boards(board)}
    page = (board / "toy" / "README.md").read_text()
    index = (board / "README.md").read_text()

    assert done.exit_code == 0
    assert {each.suite for each in read_boards(board) if each.superseded_by is None} == {"changed"}
    assert present["toy"] in {each.digest for each in read_boards(board, "changed")}
    assert page.endswith(old)
    assert page.startswith("**Superseded.** [changed](<../changed/README.md>) takes its place;")
    assert index.count("toy/README.md") == 1
    assert "- [toy](<toy/README.md>), now [changed](<changed/README.md>)" in index
    assert CliRunner().invoke(main, ["pages", str(board), "--check"]).exit_code == 0

    before = contents(board)
    again = CliRunner().invoke(main, [*arguments, "toy", "changed"])
    own = CliRunner().invoke(main, [*arguments, "changed", "changed"])
    assert (again.exit_code, own.exit_code) == (2, 2)
    assert "found 'toy', which is superseded; expected two of the present boards" in again.output
    assert before == contents(board)


def test_a_suite_of_another_name_that_asks_for_the_same_can_take_a_boards_place(
    runs: dict[str, Run], board: Path
) -> None:
    again = board.parent / "again"
    shutil.copytree(runs["toy"].path, again)
    plan = json.loads((again / "plan.json").read_text())
    (again / "plan.json").write_text(json.dumps({**plan, "suite": "again"}))
    publish_run(Run(again), board, origin("first"), found=True)
    assert 2 == len({each.suite for each in read_boards(board)})
    assert 1 == len({each.digest for each in read_boards(board)})

    supersede_board(board, "toy", "again")
    rebuild_pages(board)

    assert (
        "- [toy](<toy/README.md>), now [again](<again/README.md>)"
        in (board / "README.md").read_text()
    )


def test_a_kept_page_has_copies_of_the_figures_that_the_next_version_replaces(board: Path) -> None:
    (version,) = (each for each in read_boards(board) if each.superseded_by is None)
    figure = board / "results" / "toy" / "first" / "files" / "0123" / "surface 1.png"
    figure.parent.mkdir(parents=True)
    figure.write_bytes(b"its pixels")
    page = board / "toy" / "README.md"
    page.write_text(
        "![surface](../results/toy/first/files/0123/surface%201.png), [first](../results/toy/first)"
    )
    freeze_page(board, version)
    shutil.rmtree(figure.parent)
    kept = board / "toy" / "versions" / version.digest[:16]

    assert (kept / "files" / "0123" / "surface 1.png").read_bytes() == b"its pixels"
    assert (
        (kept / "README.md")
        .read_text()
        .endswith("![surface](files/0123/surface%201.png), [first](../../../results/toy/first)")
    )


def test_facts_of_a_target_are_shown_under_the_boards_label(
    runs: dict[str, Run], board: Path, tmp_path: Path
) -> None:
    shutil.copytree(runs["toy"].path, tmp_path / "run")
    path = tmp_path / "run" / "plan.json"
    plan = json.loads(path.read_text())
    facts = plan["datasets"]["digits"]
    plan["datasets"] = {"mine": facts}
    for trial in plan["trials"]:
        trial["target"] = "mine"
    path.write_text(json.dumps(plan))
    merged = merge_submissions(read_boards(board)[0], {"first": Run.open(tmp_path / "run")})

    assert {"digits": facts} == merged.plan["datasets"]


def test_a_withdrawn_submission_stays_listed_and_is_not_ranked(board: Path) -> None:
    (path,) = (board / "boards" / "toy").glob("*.json")
    value = json.loads(path.read_text())
    value["submissions"][1]["status"] = "withdrawn"
    path.write_text(json.dumps(value))
    rebuild_pages(board)
    page = (board / "toy" / "README.md").read_text()

    assert "withdrawn" in page.partition("## Submissions")[2]
    assert " hot " not in page.partition("## Submissions")[0]


def with_status(board: Path, **statuses: str) -> None:
    """Write the statuses of submissions into the board's file, and make the pages again."""
    (path,) = (board / "boards" / "toy").glob("*.json")
    value = json.loads(path.read_text())
    for submission in value["submissions"]:
        submission["status"] = statuses.get(submission["name"], submission["status"])
    path.write_text(json.dumps(value))
    rebuild_pages(board)


def ranked_rows(board: Path) -> list[str]:
    tables = (board / "toy" / "README.md").read_text().partition("## Submissions")[0]
    return [line for line in tables.splitlines() if re.match(r"\| +[0-9]", line)]


def test_records_that_were_copied_from_a_withdrawn_submission_are_not_ranked(
    runs: dict[str, Run], board: Path
) -> None:
    # A copy under another name, as anybody could publish it.
    publish_run(runs["toy"], board, origin("third"))
    assert any("probe" in row and "first" in row for row in ranked_rows(board))
    with_status(board, first="withdrawn", second="withdrawn")
    page = (board / "toy" / "README.md").read_text()

    assert [] == ranked_rows(board)
    # Not even a row without numbers, and the reason instead of one about the suite.
    assert " drawn " not in page.partition("<details>")[0]
    assert "No trial is ranked: the submissions are withdrawn" in page
    assert "There is no trial to show." in page
    assert "third: 5 records left out, copied from a withdrawn submission" in page


def test_what_a_withdrawn_submission_copied_stays_that_of_the_first(
    runs: dict[str, Run], board: Path
) -> None:
    publish_run(runs["toy"], board, origin("third"))
    with_status(board, second="withdrawn", third="withdrawn")

    assert any("probe" in row for row in ranked_rows(board))
    assert "left out" not in (board / "toy" / "README.md").read_text()


def test_what_was_measured_again_is_ranked_though_the_first_one_is_withdrawn(
    runs: dict[str, Run], board: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    shutil.copytree(runs["toy"].path, again)
    for path in again.rglob("records/**/*.json"):
        record = json.loads(path.read_text())
        record["observed"]["started"] += 1
        path.write_text(json.dumps(record))
    publish_run(Run(again), board, origin("third"))
    with_status(board, first="withdrawn", second="withdrawn")

    assert any("probe" in row for row in ranked_rows(board))


def test_a_board_keeps_the_facts_of_its_first_submission(board: Path) -> None:
    (path,) = (board / "boards" / "toy").glob("*.json")
    value = json.loads(path.read_text())
    (target,) = value["targets"]
    kept = value.pop("facts")
    path.write_text(json.dumps(value))
    rebuild_pages(board)

    assert {"data of test", "images", "largest_class"} == kept[target].keys()
    assert kept == json.loads(path.read_text())["facts"]
    path.write_text(json.dumps({**value, "facts": {"t": [1]}}))
    with pytest.raises(BadInput, match="expected digests and numbers by id"):
        read_boards(board)


def test_bad_submissions_are_left_out_by_name_and_all_other_pages_are_made(board: Path) -> None:
    submissions = board / "results" / "toy"
    elsewhere = board / "results" / "elsewhere" / "evil"
    shutil.copytree(submissions / "second", elsewhere)
    changes = {"broken": None, "forger": {"who": "x" * 5000}}
    for name, change in changes.items():
        folder = submissions / name
        shutil.copytree(submissions / "second", folder)
        manifest = {**read_manifest(folder), "name": name, **(change or {})}
        text = json.dumps(manifest) if change else "[]"
        (folder / "manifest.json").write_text(text)
    listed = board / "results" / "toy" / "second"
    (listed / "suite.yaml").write_text("changed: later\n")
    for each in (board / "README.md", board / "toy" / "README.md"):
        each.unlink()
    with pytest.raises(BadInput) as caught:
        rebuild_pages(board)

    found = sorted(each.found for each in caught.value.problems)
    named = [each for each in ("broken", "elsewhere", "forger", "second") if each in str(found)]
    assert ["broken", "elsewhere", "forger", "second"] == named
    assert 4 == len(found)
    text = (board / "toy" / "README.md").read_text()
    assert "- second: left out, since its records are not those of its root" in text
    assert "| drawn" in text
    assert "hot" not in text
    assert ["first", "second"] == [each.name for each in read_boards(board)[0].submissions]
    assert CliRunner().invoke(main, ["pages", str(board)]).exit_code
    # The same folders give the same bytes, with and without bad ones beside them.
    before = contents(board / "toy")
    shutil.rmtree(elsewhere.parent)
    for name in changes:
        shutil.rmtree(submissions / name)
    with pytest.raises(BadInput, match="second"):
        rebuild_pages(board)
    assert before == contents(board / "toy")


@pytest.mark.parametrize(
    "name", ["results", "boards", "CON", "a/b", "..", "x.", "", "nul.txt", "a b"]
)
def test_a_name_is_one_that_every_system_can_have(
    name: str, runs: dict[str, Run], tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="the name"):
        publish_run(runs["toy"], tmp_path / "out", origin(name), found=True)

    assert not (tmp_path / "out").exists()


def test_a_name_that_differs_in_case_alone_is_refused(runs: dict[str, Run], board: Path) -> None:
    with pytest.raises(BadInput, match="the name 'Second' beside 'second'"):
        publish_run(runs["joining"], board, origin("Second"))


def test_all_mistakes_of_an_origin_are_told_at_once(runs: dict[str, Run], tmp_path: Path) -> None:
    wrong = Origin("ok", "", "mit", tmp_path / "nothing")
    with pytest.raises(BadInput) as caught:
        publish_run(runs["toy"], tmp_path / "out", wrong, archive=Archive(tmp_path / "a", "ftp:x"))

    assert 4 == len(caught.value.problems)
    assert "write MIT" in str(caught.value)


def test_axes_of_a_board_are_read_back(board: Path) -> None:
    (toy,) = read_boards(board)

    assert ("sources", "transfers") == toy.open
    assert set(AXES) == set(toy.axes)
    assert {"digits"} == set(toy.axes["targets"].values())
