"""Formatting of numbers, labels and tables."""

from __future__ import annotations

import pytest

from advtransfer.leaderboard.markdown import (
    count_noun,
    escape_markdown,
    format_interval,
    format_number,
    format_range,
    inline_code,
    markdown_table,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.7041, ".704"),
        (1.0, "1.000"),
        (0.0, ".000"),
        (-0.0001, ".000"),
        (-0.25, "-.250"),
        (9.9, "9.900"),
        (123.4, "123.4"),
    ],
)
def test_a_number_has_three_decimals_and_no_leading_zero(value: float, text: str) -> None:
    assert text == format_number(value)


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "+.500"), (-0.5, "-.500"), (0.0, ".000"), (0.0001, ".000")]
)
def test_a_signed_number_shows_its_sign_unless_it_is_zero(value: float, text: str) -> None:
    assert text == format_number(value, sign=True)


def test_an_interval_is_absent_or_in_brackets() -> None:
    assert ("", " [.100, .200]", " [-.100, +.200]") == (
        format_interval(None),
        format_interval((0.1, 0.2)),
        format_interval((-0.1, 0.2), sign=True),
    )


def test_labels_are_plain_text_on_one_line() -> None:
    assert r"a\|b \\ \*c\* \_d\_ e_f &amp; \<i> \$x\$" == escape_markdown(
        "a|b \\ *c*\n_d_ e_f & <i> $x$"
    )


def test_code_cannot_leave_its_cell() -> None:
    assert r"`a\|b 'c' d`" == inline_code("a|b `c`\nd")


def test_a_table_is_padded_and_aligned() -> None:
    assert (
        "| name | value |\n"
        "| ---- | ----: |\n"
        "| a    |     1 |\n"
        "| bcd  |    22 |"
    ) == markdown_table(["name", "value"], [["a", "1"], ["bcd", "22"]], right=[False, True])  # fmt: skip


def test_counts_and_ranges_are_formatted() -> None:
    assert ("1 trial", "1,200 trials", "5", "4 to 5") == (
        count_noun(1, "trial"),
        count_noun(1200, "trial"),
        format_range([5, 5]),
        format_range([5, 4, 5]),
    )
