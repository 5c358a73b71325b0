"""Texts that steer a terminal, as they are shown."""

from __future__ import annotations

import json

import pytest

from advtransfer.leaderboard.markdown import escape_markdown, inline_code
from advtransfer.text import format_duration, one_line, parse_duration, printable_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, größer, 猫 🐈\tand\nlines", "plain, größer, 猫 🐈\tand\nlines"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;a title\x07after", "after"),
        ("\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b31mred\x9b0m", "red"),
        ("\x1b[2J\x1b[Hcleared", "cleared"),
        ("\x1bcreset", "reset"),
        ("over\rwritten\x08", "over\\u000dwritten\\u0008"),
        ("right \u202eto left", "right \\u202eto left"),
        ("caf\udce9", "caf\\udce9"),
        ("torn \x1b", "torn \\u001b"),
        ("\r\n", "\n"),
    ],
)
def test_control_characters_are_removed_or_escaped(text: str, shown: str) -> None:
    assert shown == printable_text(text)


def test_escaped_json_stays_valid() -> None:
    assert "\x9c\x7f" == json.loads(printable_text(json.dumps("\x9c\x7f", ensure_ascii=False)))


@pytest.mark.parametrize(
    "end", ["\n", "\r\n", "\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029", "\t"]
)
def test_one_line_stays_one_line(end: str) -> None:
    shown = one_line(f"a label{end}::error::forged \x1b[31mred")

    assert 1 == len(shown.splitlines())
    assert shown.isprintable()
    assert shown == one_line(shown)
    assert shown.startswith("a label\\u")
    assert shown.endswith("::error::forged red")


def test_page_shows_no_control_sequences() -> None:
    assert "red" == escape_markdown("\x1b[31mred\x1b[0m")
    assert "`red`" == inline_code("\x1b[31mred")


@pytest.mark.parametrize(
    ("text", "seconds", "again"),
    [
        ("90s", 90, "1m30s"),
        ("30m", 1800, "30m"),
        ("1h30m", 5400, "1h30m"),
        ("1.5 h", 5400, "1h30m"),
        ("2d", 172800, "48h"),
        (" 1m 0.5s ", 60.5, "1m0.5s"),
    ],
)
def test_durations_have_units(text: str, seconds: float, again: str) -> None:
    assert seconds == parse_duration(text)
    assert again == format_duration(seconds)
    assert seconds == parse_duration(again)


@pytest.mark.parametrize("text", ["", "30", "m", "0s", "1m30", "-1s", "1e3s", "1 week"])
def test_a_duration_without_a_unit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration; expected a number above 0"):
        parse_duration(text)
