from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from advtransfer.errors import BadInput, Location
from advtransfer.suite.located import Problems
from advtransfer.suite.yaml_reader import read_yaml
from advtransfer.types import Json


@pytest.fixture
def plain(tmp_path: Path) -> Callable[[str], Json]:
    """The plain values of a YAML text without mistakes."""

    def plain(text: str) -> Json:
        problems = Problems("x.yaml")
        value, _ = read_yaml(written(tmp_path, text), file="x.yaml", problems=problems)
        problems.raise_if_any()
        return value.to_plain()

    return plain


@pytest.fixture
def mistake(plain: Callable[[str], Json]) -> Callable[[str], str]:
    """The first problem of a YAML text."""

    def mistake(text: str) -> str:
        with pytest.raises(BadInput) as caught:
            plain(text)
        return str(caught.value.problems[0])

    return mistake


def written(folder: Path, text: str) -> Path:
    path = folder / "x.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("-2.5E+2", -250.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("8/255", 8 / 255),
        ("0.5/255", 0.5 / 255),
        ("7", 7),
        ("+7", 7),
        ("0", 0),
        ("0o17", 15),
        ("0x1F", 31),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
    ],
)
def test_yaml_12_scalars_are_values(plain: Callable[[str], Json], text: str, value: Json) -> None:
    assert plain(f"a: {text}") == {"a": value}
    assert type(plain(f"[{text or 'null'}]")[0]) is type(value)  # type: ignore[index]  # it is a list


@pytest.mark.parametrize(
    "text", ["no", "on", "off", "yes", "y", "1_000", "1:30", "2020-01-01", "'8/255'", '"1"', "<"]
)
def test_yaml_1_1_values_are_texts(plain: Callable[[str], Json], text: str) -> None:
    assert plain(f"a: {text}") == {"a": text.strip("'\"")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("012", "a number without a leading zero"),
        ("-00", "a number without a leading zero"),
        (".nan", "a finite number"),
        ("-.inf", "a finite number"),
        ("1e999", "a finite number"),
        ("1/0", "a finite number"),
        ("9007199254740992", "an integer between"),
        ("1" * 5000, "an integer between"),
        ("!!int x", "a plain value without the tag 'tag:yaml.org,2002:int'"),
        ("!secret 3", "a plain value without the tag '!secret'"),
        ("!!set {a}", "no tag"),
    ],
)
def test_scalar_that_is_no_json_value_is_a_problem(
    mistake: Callable[[str], str], text: str, expected: str
) -> None:
    problem = mistake(f"a: {text}")

    assert problem.startswith("x.yaml:1:4: found ")
    assert f"expected {expected}" in problem


def test_explicit_tag_may_repeat_the_type_or_mark_a_text(
    plain: Callable[[str], Json],
) -> None:
    assert plain('{a: !!str 012, b: !!int "3", c: !!str no}') == {"a": "012", "b": 3, "c": "no"}


def test_duplicate_keys_are_problems_with_both_lines(mistake: Callable[[str], str]) -> None:
    assert mistake("a: 1\nb: 2\na: 3\n").startswith(
        "x.yaml:3:1: found the key 'a' again (first in line 1)"
    )


def test_key_must_be_a_text(mistake: Callable[[str], str]) -> None:
    assert mistake("a:\n  1: x\n").startswith("x.yaml:2:3: found '1' as a key; expected a text")
    assert mistake("? [a]\n: x\n").startswith("x.yaml:1:3: found a list or mapping as a key")


def test_merge_keys_add_missing_keys(plain: Callable[[str], Json]) -> None:
    text = "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc: {<<: [*a, *b], x: 0}\nd: {<<: *b}\n"

    assert plain(text) == {
        "a": {"x": 1, "y": 2},
        "b": {"y": 3, "z": 4},
        "c": {"x": 0, "y": 2, "z": 4},
        "d": {"y": 3, "z": 4},
    }


def test_quoted_merge_key_is_a_text(plain: Callable[[str], Json]) -> None:
    assert plain("{'<<': 1}") == {"<<": 1}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a: &a {x: 1}\nb: {<<: *a, <<: *a}", "2:13: found the key '<<' again"),
        ("b: &b {<<: *b}", "1:4: found an alias inside the value that it names"),
        ("b: {<<: 3}", "1:9: found 3; expected a mapping to merge"),
        ("b: {<<: [3]}", "1:10: found 3; expected a mapping to merge"),
    ],
)
def test_merge_keys_are_allowed_once_and_not_onto_themselves(
    mistake: Callable[[str], str], text: str, found: str
) -> None:
    assert mistake(text).startswith(f"x.yaml:{found}")


def test_alias_bomb_is_refused_before_it_is_built(mistake: Callable[[str], str]) -> None:
    levels = [
        f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 10)
    ]

    assert "more than 10,000 values" in mistake("\n".join(["a0: &a0 [1]", *levels]))


def test_ten_thousand_values_are_allowed_and_one_more_is_not(
    plain: Callable[[str], Json], mistake: Callable[[str], str]
) -> None:
    assert len(plain(f"[{','.join('1' * 9_999)}]")) == 9_999  # type: ignore[arg-type]  # it is a list
    assert "more than 10,000 values" in mistake(f"[{','.join('1' * 10_000)}]")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a: [1, 2", "1:9: found broken YAML (while parsing a flow sequence"),
        ("a:\n\tb: 1", "2:1: found broken YAML"),
        ("a: *b", "1:4: found broken YAML (found undefined alias 'b')"),
        ("---\na: 1\n---\nb: 1", "3:1: found broken YAML (expected a single document"),
        ("[" * 100 + "]" * 100, "1:41: found broken YAML (nested deeper than 40 levels)"),
        ("a: &a [*a]", "1:4: found an alias inside the value that it names"),
        ("a: 1\nb: \x01", "2:4: found the character U+0001"),
        ("", "1:1: found an empty file"),
    ],
)
def test_broken_yaml_is_a_problem_at_its_position(
    mistake: Callable[[str], str], text: str, found: str
) -> None:
    assert mistake(text).startswith(f"x.yaml:{found}")


def test_file_that_is_not_utf8_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"a: \xff")

    with pytest.raises(BadInput, match=r"x\.yaml:1:4: found the byte 0xff; expected UTF-8"):
        read_yaml(path, file="x.yaml", problems=Problems("x.yaml"))


def test_folder_is_no_suite(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"x\.yaml:1:1: found .*; expected a file that can be read"):
        read_yaml(tmp_path, file="x.yaml", problems=Problems("x.yaml"))


def test_every_value_has_its_position_and_that_of_its_key(tmp_path: Path) -> None:
    path = written(tmp_path, "\ufeffa:\n  - {b: 8/255}\n")

    value, _ = read_yaml(path, file="x.yaml", problems=Problems("x.yaml"))

    inner = value.find_innermost(("a", 0, "b"))
    assert (Location("x.yaml", 2, 9), Location("x.yaml", 2, 6), "8/255") == (
        inner.location,
        inner.key_location,
        inner.text,
    )
    assert Location("x.yaml", 2, 5) == value.find_innermost(("a", 0, "missing")).location
