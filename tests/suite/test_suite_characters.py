"""Texts, names and labels that are not plain text, and files that are not plain UTF-8."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from advtransfer.errors import BadInput
from advtransfer.host import Host
from advtransfer.planning import make_plan
from advtransfer.result import Run
from advtransfer.suite import Suite, load

CAT = "\U0001f408"
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"


def document_of(**changed: object) -> dict[str, object]:
    """A suite as plain data."""
    plain: dict[str, object] = {
        "title": "Plain",
        "datasets": {"low": {"use": "toy/images"}},
        "sources": {"natural": {"use": "toy/trained", "data": "low"}},
        "targets": {"task": {"data": "low", "n": 20}},
        "transfers": {"probe": {"use": "toy/probe"}},
        "evaluations": {"clean": {"use": "toy/accuracy"}},
    }
    return plain | changed


@pytest.mark.parametrize("escape", [True, False])
def test_emoji_in_json_is_one_character_whether_escaped_or_not(
    host: Host, write: Callable[[str, str], Path], escape: bool
) -> None:
    text = json.dumps(document_of(title=f"{CAT} results {FAMILY}"), ensure_ascii=escape)
    write("toy.yaml", text)
    loaded = load("toy.yaml", host)

    assert loaded.title == f"{CAT} results {FAMILY}"
    Run(Path("runs/toy")).write_plan(make_plan(loaded, host).to_json())
    assert json.loads(Path("runs/toy/plan.json").read_text("utf-8"))["title"] == loaded.title


def test_emoji_in_a_parent_reads_back_from_what_is_stored(
    host: Host, write: Callable[[str, str], Path]
) -> None:
    write("parent.yaml", json.dumps(document_of(title=f"{CAT} results")))
    write("toy.yaml", "extends: parent\n")

    assert yaml.safe_load(load("toy.yaml", host).text)["title"] == f"{CAT} results"


@pytest.mark.parametrize(
    ("escape", "named"),
    [
        (r"\ud83d", r"U\+D83D \(half of a surrogate pair\)"),
        (r"\udc08\ud83d", r"U\+DC08"),
        (r"\0", r"U\+0000 \(NULL\)"),
        (r"\e]0;title\a", r"U\+001B \(ESCAPE\)"),
        (r"\u009b31m", r"U\+009B"),
        (r"\u202eevil", r"U\+202E \(RIGHT-TO-LEFT OVERRIDE\)"),
        (r"\u2066evil", r"U\+2066"),
        (r"pgd\u200b", r"U\+200B \(ZERO WIDTH SPACE\)"),
        (r"pgd\ufeff", r"U\+FEFF"),
        (r"a\Lb", r"U\+2028 \(LINE SEPARATOR\)"),
    ],
)
@pytest.mark.parametrize(
    "place", ['title: "T"', '"T": 1', 'evaluations: {clean: {use: toy/accuracy, label: "T"}}']
)
def test_invisible_or_misleading_character_is_refused_at_its_position(
    host: Host, write: Callable[[str, str], Path], escape: str, named: str, place: str
) -> None:
    write("toy.yaml", "# a comment\n" + place.replace("T", escape))

    with pytest.raises(BadInput, match=rf"toy\.yaml:2:\d+: found the character {named}"):
        load("toy.yaml", host)


@pytest.mark.parametrize("escape", [r"\U00110000", r"\UFFFFFFFF"])
def test_escape_of_no_character_is_broken_yaml(
    host: Host, write: Callable[[str, str], Path], escape: str
) -> None:
    write("toy.yaml", f'title: "{escape}"\n')

    with pytest.raises(
        BadInput, match=r"toy\.yaml:1:\d+: found broken YAML \(an escape of no character\)"
    ):
        load("toy.yaml", host)


@pytest.mark.parametrize(
    ("encoding", "problem"),
    [
        ("utf-16", "toy.yaml:1:1: found a file in UTF-16; expected UTF-8; save the file as UTF-8"),
        ("utf-32", "toy.yaml:1:1: found a file in UTF-32; expected UTF-8"),
        ("utf-16-le", "toy.yaml:1:1: found a file in UTF-16 or UTF-32 without a byte order mark"),
        ("latin-1", "toy.yaml:2:11: found the byte 0xe9; expected UTF-8"),
    ],
)
def test_file_in_another_encoding_is_reported_with_the_encoding(
    tmp_path: Path, host: Host, encoding: str, problem: str
) -> None:
    path = tmp_path / "toy.yaml"
    path.write_bytes("version: 1\ntitle: caf\u00e9".encode(encoding))

    with pytest.raises(BadInput) as caught:
        load(str(path), host)

    assert str(caught.value).removeprefix(f"{tmp_path}/").startswith(problem)


@pytest.mark.parametrize("newline", ["\r\n", "\r"])
def test_other_ends_of_line_and_a_byte_order_mark_change_nothing(
    host: Host, write: Callable[[str, str], Path], tmp_path: Path, newline: str
) -> None:
    write("toy.yaml", yaml.safe_dump(document_of()))
    plain = load("toy.yaml", host)
    (tmp_path / "toy.yaml").write_bytes(
        b"\xef\xbb\xbf" + yaml.safe_dump(document_of()).replace("\n", newline).encode()
    )

    assert load("toy.yaml", host).sources == plain.sources


def test_tab_before_a_key_is_reported_with_the_correction(
    host: Host, write: Callable[[str, str], Path]
) -> None:
    write("toy.yaml", "targets:\n\ttask: {}\n")

    with pytest.raises(BadInput, match=r"toy\.yaml:2:1: .*write spaces in place of tabs"):
        load("toy.yaml", host)


def test_title_is_one_line_of_limited_length(
    suite: Callable[..., Suite], mistakes: Callable[..., list[str]]
) -> None:
    assert suite(title="|\n  Two lines\n  of  it").title == "Two lines of it"
    assert "found a title of 400 characters; expected at most 300" in mistakes(title="x" * 400)[0]


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("x" * 200, "at most 160 characters"),
        ("a  b", "single spaces, none at the ends"),
        (" a", "single spaces, none at the ends"),
        ("e\u0301", "composed characters"),
        ("a\u00a0b", "one line of printable text"),
    ],
)
def test_labels_that_a_page_would_show_like_others_are_refused(
    mistakes: Callable[..., list[str]], label: str, expected: str
) -> None:
    (problem,) = mistakes(evaluations=f"clean: {{use: toy/accuracy, label: '{label}'}}")

    assert f"expected {expected}" in problem


@pytest.mark.parametrize(
    "label", [f"{CAT} | `x` <b> $y$ [z](u)", f"family {FAMILY}", "\u0633\u0644\u0627\u0645"]
)
def test_labels_may_hold_what_a_page_can_show(suite: Callable[..., Suite], label: str) -> None:
    loaded = suite(evaluations=f"clean: {{use: toy/accuracy, label: '{label}'}}")

    assert [cell.label for cell in loaded.evaluations] == [label]


def test_label_of_swept_texts_follows_the_label_rules(mistakes: Callable[..., list[str]]) -> None:
    (problem,) = mistakes(evaluations=f"pgd: {{use: toy/pgd, sweep: {{eps: [{[0.125] * 30}]}}}}")

    assert "expected at most 160 characters; give the entry a `label`" in problem


@pytest.mark.parametrize("name", ["...yaml", "a\nb.yaml", "-x.yaml", b"caf\xe9.yaml"])
def test_file_name_that_no_folder_should_have_is_refused(
    host: Host, write: Callable[[str, str], Path], name: str | bytes
) -> None:
    plain = write("toy.yaml", yaml.safe_dump(document_of()))
    path = Path(name if isinstance(name, str) else name.decode("utf-8", "surrogateescape"))
    path.write_text(plain.read_text())

    with pytest.raises(BadInput, match="found the file name"):
        load(str(path), host)
