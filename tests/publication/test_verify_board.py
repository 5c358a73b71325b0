"""What a board's index keeps of a submission: root, credits and status, held to the bundle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from advtransfer.cli import main
from advtransfer.host import Host
from advtransfer.publication.board import (
    Board,
    planned_axes,
    read_boards,
    write_board,
)
from advtransfer.publication.board_check import LocalBoards, load_boards
from advtransfer.publication.cells import plan_suite
from advtransfer.publication.manifest import MANIFEST_FILE, read_manifest
from advtransfer.publication.pages import submission_of
from advtransfer.publication.report import verification_lines
from advtransfer.publication.verify import verify_bundle
from advtransfer.result.run_folder import record_bytes

if TYPE_CHECKING:
    from tests.publication.conftest import Bundle


CELL = "linf 0.1[seed=0] -> digits_5_9 n=20 seed=0 probe"


def test_a_root_that_is_not_the_one_in_the_board_was_changed_later(
    bundle: Bundle, board_folder: Path, host: Host
) -> None:
    boards = load_boards(bundle.path, board_folder, host)
    assert [] == verify_bundle(bundle.path, boards=boards, host=host).faults
    # Consistent in itself, and seen all the same: the board's index has the root of before.
    bundle.change_outcomes(CELL)
    bundle.write()
    bundle.seal()
    found = verify_bundle(bundle.path, boards=boards, host=host)

    assert ["manifest.json"] == [fault.where for fault in found.faults]
    assert "which the board's index has: it was changed later" in found.faults[0].text


def test_credits_that_are_not_those_in_the_board_were_changed_later(
    bundle: Bundle, board_folder: Path, host: Host
) -> None:
    boards = load_boards(bundle.path, board_folder, host)
    path = bundle.path / MANIFEST_FILE
    manifest = json.loads(path.read_text()) | {"who": "others", "licence": "CC0-1.0"}
    path.write_bytes(record_bytes(manifest))
    texts = [fault.text for fault in verify_bundle(bundle.path, boards=boards, host=host).faults]

    assert [
        "found the who 'others'; expected 'a group', which the board's index has: it was changed later",
        "found the licence 'CC0-1.0'; expected 'MIT', which the board's index has: it was changed later",
    ] == texts


def test_a_citation_that_is_not_the_one_in_the_board_was_changed_later(
    bundle: Bundle, board_folder: Path, host: Host
) -> None:
    boards = load_boards(bundle.path, board_folder, host)
    (bundle.path / "CITATION.cff").write_text("title: cite somebody else\n")
    # The root covers records, not credits, so every file of the bundle agrees with the others.
    bundle.seal()
    (fault,) = verify_bundle(bundle.path, boards=boards, host=host).faults

    assert fault.where == "manifest.json"
    assert fault.text.startswith("found the citation '")
    assert "which the board's index has: it was changed later" in fault.text
    manifest = json.loads((bundle.path / MANIFEST_FILE).read_text())
    for citation in ("suite.yaml", "other"):
        (bundle.path / MANIFEST_FILE).write_bytes(record_bytes(manifest | {"citation": citation}))
        texts = [str(each) for each in verify_bundle(bundle.path, boards=boards, host=host).faults]
        assert any("found the citation '" in text for text in texts), citation


def test_credits_of_the_same_records_can_be_published_again(
    board_folder: Path, published: Path
) -> None:
    (board,) = read_boards(board_folder.parent)
    listed = replace(board.submissions[0], status="withdrawn")
    renewed = replace(submission_of("honest", read_manifest(published)), who="b", citation="c" * 64)
    other = replace(listed, root="d" * 64, status="superseded")
    entries = replace(board, submissions=(other, listed)).with_credits(renewed).submissions

    # What was withdrawn stays so, and the entry of other records is left alone.
    assert (other, replace(renewed, status="withdrawn")) == entries


@pytest.mark.parametrize(
    ("statuses", "is_noted"),
    [(("superseded", "accepted"), False), (("superseded", "withdrawn"), True)],
)
def test_the_last_entry_of_a_name_says_whether_it_is_ranked(
    published: Path, host: Host, tmp_path: Path, statuses: tuple[str, str], is_noted: bool
) -> None:
    manifest = json.loads((published / MANIFEST_FILE).read_text())
    suite = plan_suite("quickstart", host).suite
    listed = submission_of("honest", manifest)
    entries = tuple(
        replace(listed, root=root, status=status)
        for root, status in zip(("e" * 64, listed.root), statuses, strict=True)
    )
    write_board(tmp_path, Board("quickstart", suite.title, {}, (), planned_axes(suite), entries))
    boards = load_boards(published, tmp_path / "boards", host)
    found = verify_bundle(published, boards=boards, host=host)

    assert [] == found.faults
    notes = [note for note in found.notes if "the board's index says" in note]
    expected = f"the board's index says that this submission is {statuses[-1]}"
    assert ([expected] if is_noted else []) == notes


def test_records_of_an_earlier_submission_are_credited_to_it(
    bundle: Bundle, copy_bundle: Callable[[str], Bundle], board_folder: Path, host: Host
) -> None:
    copy = copy_bundle("quickstart/copied")
    boards = load_boards(copy.path, board_folder, host)
    naive = verify_bundle(copy.path, boards=boards, host=host)
    assert "found the name 'honest'; expected 'copied', its folder" in naive.faults[0].text
    copy.seal()
    notes = {
        path.name: " ".join(verify_bundle(path, boards=boards, host=host).notes)
        for path in (bundle.path, copy.path)
    }

    assert "252 records are those of 'honest', and are credited to it" in notes["copied"]
    assert "credited" not in notes["honest"]


def test_a_source_with_other_weights_than_the_board_has_is_named(
    bundle: Bundle, copy_bundle: Callable[[str], Bundle], board_folder: Path, host: Host
) -> None:
    other = copy_bundle("quickstart/later")
    assert bundle.path.parent == other.path.parent
    (id,) = [each for each, label in other.plan["sources"].items() if label == "natural[seed=1]"]
    text = json.dumps(list(other.records.values()))
    text = text.replace(other.records[id]["weights"]["digest"], "1" * 64)
    other.records = {record["id"]: record for record in json.loads(text)}
    other.write()
    other.seal()
    boards = load_boards(other.path, board_folder, host)
    found = verify_bundle(other.path, boards=boards, host=host)

    assert [] == found.faults
    assert "1 sources and fits have other weights than in 'honest'" in " ".join(found.notes)


def test_another_board_than_that_of_the_checkout_is_a_fault(
    bundle: Bundle, boards: LocalBoards, host: Host
) -> None:
    bundle.board = "b" * 64
    bundle.seal()
    found = verify_bundle(bundle.path, boards=boards, host=host)

    assert [MANIFEST_FILE] == [fault.where for fault in found.faults]
    assert "found the board bbbbbbbbbbbb; expected one of this checkout" in found.faults[0].text


def test_without_a_board_a_bundle_is_not_verified_unless_one_says_so(
    copy_bundle: Callable[[str], Bundle], tmp_path: Path
) -> None:
    bundle = copy_bundle("mine/honest")
    bundle.plan["suite"] = "mine"
    bundle.write()
    (bundle.path / "suite.yaml").rename(tmp_path / "suite.yaml")
    shutil.copy(tmp_path / "suite.yaml", bundle.path)
    bundle.seal()
    arguments = ["verify", str(bundle.path), "--boards", str(tmp_path / "boards")]
    refused = CliRunner().invoke(main, arguments)
    accepted = CliRunner().invoke(main, [*arguments, "--no-board"])

    assert (1, 0) == (refused.exit_code, accepted.exit_code)
    assert "found no board of 'mine' in this checkout; expected the one it is for" in refused.output
    assert "give --no-board if the suite is new here" in refused.output
    assert "verified: nothing is wrong" not in accepted.output
    assert "own suite has its record or a reason" in accepted.output
    last = accepted.output.splitlines()[-1]
    assert last.startswith(
        "verified without a board: held against its own suite alone; completeness is"
    )


def test_a_bundle_of_a_board_that_the_release_does_not_plan_is_not_said_to_be_complete(
    bundle: Bundle, board_folder: Path, host: Host
) -> None:
    """A board's file lists no trials, so that those that are missing are not seen."""
    known = load_boards(bundle.path, board_folder, host)
    found = verify_bundle(bundle.path, boards=replace(known, planned=None), host=host)

    assert [] == found.faults
    assert any("plans no suite of this board" in note for note in found.notes)
    last = verification_lines(found)[-1]
    assert last.startswith("verified against the ids in its board's file")
    assert "completeness is not checked" in last
