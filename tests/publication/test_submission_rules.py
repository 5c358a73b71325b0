"""Rules of names, credits and files that `publish` keeps hold for what `verify` takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from advtransfer.host import Host
from advtransfer.publication.board_check import LocalBoards, load_boards
from advtransfer.publication.manifest import MANIFEST_FILE
from advtransfer.publication.submission_rules import path_problems, rule_faults
from advtransfer.publication.verify import verify_bundle

if TYPE_CHECKING:
    from tests.publication.conftest import Bundle

SUITE = "quickstart"
RESULTS = Path(__file__).parents[2] / "leaderboard" / "results"


def texts(folder: Path, suite: str | None = SUITE) -> list[str]:
    return [fault.text for fault in rule_faults(folder, suite)]


def state(bundle: Bundle, **fields: object) -> None:
    """Change fields of a manifest."""
    path = bundle.path / MANIFEST_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*/*/")), ids=lambda path: path.parent.name)
def test_published_submissions_keep_the_rules(path: Path) -> None:
    assert [] == texts(path, path.parent.name)


@pytest.mark.parametrize(
    "name", ["\u0430dvtransfer", "adv transfer", "com1", "boards", "versions", "x" * 190, "e\u0301"]
)
def test_a_folder_that_publish_would_not_make_is_a_fault(name: str, bundle: Bundle) -> None:
    bundle.path = bundle.path.rename(bundle.path.with_name(name))
    bundle.seal()

    (text,) = texts(bundle.path)
    assert text.startswith(f"found the name {name[:80]!r}; expected a name of 1 to 64")


def test_a_name_that_differs_from_another_in_case_alone_is_a_fault(bundle: Bundle) -> None:
    other = bundle.path.with_name("Honest")
    if other.exists():
        pytest.skip("a file system that does not tell case [case]: names cannot collide")
    other.mkdir()

    (text,) = texts(bundle.path)
    assert "beside 'Honest', which is the same folder on some systems" in text


@pytest.mark.parametrize(
    ("path", "is_fault"),
    [
        ("leaderboard/results/QUICKSTART/evil", True),
        ("leaderboard/results/quickstar/evil", True),
        ("QuickStart/evil", True),
        ("leaderboard/results/quickstart/evil", False),
        ("downloads/evil", False),
    ],
)
def test_a_folder_of_another_suite_than_the_boards_is_a_fault(
    path: str,
    is_fault: bool,
    copy_bundle: Callable[[str], Bundle],
    host: Host,
) -> None:
    bundle = copy_bundle(path)
    bundle.seal()
    boards = load_boards(bundle.path, Path("boards"), host)

    assert SUITE == boards.suite
    found = texts(bundle.path, boards.suite)
    assert is_fault == any(
        "expected 'quickstart', the suite of its board" in text for text in found
    )
    assert is_fault == bool(found)
    assert [] == texts(bundle.path, None)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"licence": "All rights reserved <script>"}, "an SPDX id"),
        ({"who": "x" * 5000 + "\n![a](javascript:1)"}, "names on one line, at most 200"),
        ({"who": "  "}, "names on one line"),
        ({"citation": "suite.yaml"}, "the file citation or CITATION.cff"),
        (
            {
                "external": [
                    {"url": "javascript:alert(1)", "sha256": "a" * 64, "bytes": 5, "holds": []}
                ]
            },
            "one that begins with https://",
        ),
    ],
)
def test_credits_that_publish_would_not_take_are_faults(
    fields: dict[str, object], reason: str, bundle: Bundle
) -> None:
    state(bundle, **fields)

    (text,) = texts(bundle.path)
    assert reason in text
    assert str(bundle.path) not in text


@pytest.mark.parametrize("content", [b"\xff\xfe\x00" * 2000, b"", b" " * 2**17, b"a\0b"])
def test_a_citation_is_a_short_text(content: bytes, bundle: Bundle) -> None:
    (bundle.path / "CITATION.cff").write_bytes(content)

    (text,) = texts(bundle.path)
    assert text.startswith("found the citation 'CITATION.cff' (")


def test_files_that_no_bundle_has_are_faults_by_name(
    bundle: Bundle, boards: LocalBoards, host: Host
) -> None:
    strange = {
        "notes.html": "<script>alert(1)</script>",
        "figures/a.svg": "<svg/>",
        "records/EXTRA.jsonl": "",
        "records/extras.jsonl": "",
        "files/a.html": "<script/>",
    }
    for name, text in strange.items():
        path = bundle.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    bundle.seal()  # The manifest lists them.
    found = verify_bundle(bundle.path, boards=boards, host=host).faults

    assert set(strange) == {fault.where for fault in found if "no bundle has" in fault.text}


def test_paths_that_differ_in_case_alone_are_faults() -> None:
    id = "a" * 64
    (fault,) = path_problems([f"files/{id}/a.png", f"files/{id}/A.png", f"files/{id}/b.png"])
    assert (f"files/{id}/a.png", True) == (fault[0], "differ in more than case" in fault[1])
