"""Markdown writer: tables that no label can break, and one number format for every page."""

from __future__ import annotations

import re
from collections.abc import Sequence

from advtransfer.text import ABSENT, printable_text

SMALL_NUMBER = 0.00995
"""Below it, three decimals show fewer than two digits; from it on, a number is rounded to .010."""
# An underscore between two word characters is no emphasis in markdown, so it stays readable.
MARKUP_CHARACTERS = re.compile(r"[\\`*<|\[~$]|(?<!\w)_|_(?!\w)")


def escape_markdown(text: str) -> str:
    """Return a label as plain text on one line, safe inside a table cell."""
    line = " ".join(printable_text(text).split())
    return MARKUP_CHARACTERS.sub(r"\\\g<0>", line).replace("&", "&amp;")


def link_text(text: str) -> str:
    """Return a label as plain text between the brackets of a link or an image, which it cannot close."""
    return escape_markdown(text).replace("]", r"\]")


def inline_code(text: str) -> str:
    """Return a value as inline code, safe inside a table cell."""
    line = " ".join(printable_text(text).split())
    # Backslashes do not escape a backtick inside inline code, so it becomes an apostrophe.
    line = line.replace("`", "'").replace("|", r"\|")
    return f"`{line}`"


def markdown_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[bool]
) -> str:
    """Return a markdown table, padded so that it is readable as text.

    Args:
        header: Column titles, already markdown.
        rows: Cells, already markdown.
        right: Whether each column is aligned to the right.
    """
    widths = []
    for column in range(len(header)):
        widths.append(max(3, *(len(cells[column]) for cells in (header, *rows))))

    def format_row(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(cells, widths, right, strict=True)
        ]
        return f"| {' | '.join(padded)} |"

    rule = [
        "-" * (width - 1) + ":" if is_right else "-" * width
        for width, is_right in zip(widths, right, strict=True)
    ]
    return "\n".join([format_row(header), format_row(rule), *map(format_row, rows)])


def format_number(value: float, *, sign: bool = False, fine: bool = False) -> str:
    """Return a number with three decimals and no leading zero (``.704``), with four digits from 10.

    Args:
        value: The number.
        sign: Write ``+`` before positive numbers.
        fine: Keep two digits of numbers below 0.01 (``.0061``, ``3.4e-05``), so that a small loss
            is not shown as 0.
    """
    text = f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"
    if fine and 0 < abs(value) < SMALL_NUMBER:
        text = f"{value:.2g}"
    text = re.sub(r"^(-?)0\.", r"\1.", text)
    if text == "-.000":  # a rounded negative number
        text = ".000"
    return f"+{text}" if sign and value > 0 and text != ".000" else text


def format_interval(
    ends: tuple[float, float] | None, *, sign: bool = False, fine: bool = False
) -> str:
    """Return an interval with a leading space, `` [.650, .751]``, or an empty string for None."""
    if ends is None:
        return ""
    low, high = (format_number(end, sign=sign, fine=fine) for end in ends)
    return f" [{low}, {high}]"


def format_p(p: float | None) -> str:
    """Return a p value with three decimals, ``<.001`` for a smaller one and a dash for None."""
    if p is None:
        return ABSENT
    # Three decimals would show a smaller p as .000, which no test can give.
    return "<.001" if p < 0.0005 else format_number(p)


def count_noun(count: int, noun: str) -> str:
    """Return a count with its noun: ``1 trial``, ``1,200 trials``."""
    plural = "" if count == 1 else "s"
    return f"{count:,} {noun}{plural}"


def format_range(counts: Sequence[int]) -> str:
    """Return the smallest and the largest of some counts: ``5``, ``4 to 5``."""
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def join_parts(parts: Sequence[str | None], separator: str = "\n\n") -> str:
    """Join the parts that are not empty; a section without content leaves no blank lines."""
    return separator.join(part for part in parts if part)
