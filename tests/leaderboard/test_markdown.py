"""Numbers, labels and tables as text."""

from __future__ import annotations

import pytest

from advtransfer.leaderboard.markdown import bounds, code, escaped, listed, many, number, table


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
    assert text == number(value)


@pytest.mark.parametrize(("value", "text"), [(0.5, "+.500"), (-0.5, "-.500"), (0.0, ".000"), (0.0001, ".000")])
def test_a_signed_number_shows_its_sign_unless_it_is_zero(value: float, text: str) -> None:
    assert text == number(value, sign=True)


def test_an_interval_is_absent_or_in_brackets() -> None:
    assert ("", " [.100, .200]", " [-.100, +.200]") == (
        bounds(None),
        bounds((0.1, 0.2)),
        bounds((-0.1, 0.2), sign=True),
    )


def test_labels_are_plain_text_on_one_line() -> None:
    assert r"a\|b \\ \*c\* \_d\_ e_f &amp; \<i> \$x\$" == escaped("a|b \\ *c*\n_d_ e_f & <i> $x$")


def test_code_cannot_leave_its_cell() -> None:
    assert r"`a\|b 'c' d`" == code("a|b `c`\nd")


def test_a_table_is_padded_and_aligned() -> None:
    assert (
        "| name | value |\n"
        "| ---- | ----: |\n"
        "| a    |     1 |\n"
        "| bcd  |    22 |"
    ) == table(["name", "value"], [["a", "1"], ["bcd", "22"]], right=[False, True])  # fmt: skip


def test_counts_are_words() -> None:
    assert ("1 trial", "1,200 trials", "5", "4 to 5") == (
        many(1, "trial"),
        many(1200, "trial"),
        listed([5, 5]),
        listed([5, 4, 5]),
    )
