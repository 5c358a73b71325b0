"""Markdown by hand: tables that no label can break, and numbers in one style on every page."""

from __future__ import annotations

import re
from collections.abc import Sequence

from advtransfer.text import printable_text

ABSENT = "–"  # noqa: RUF001  # the en dash is what every page shows for what is absent
SMALL_NUMBER = 0.01  # below, three decimals leave less than two digits
MARKUP_CHARACTERS = re.compile(r"[\\`*<|\[~$]|(?<!\w)_|_(?!\w)")


def escape_markdown(text: str) -> str:
    """A label as plain text on one line: nothing in it is markup, and it cannot leave its table cell."""
    return MARKUP_CHARACTERS.sub(r"\\\g<0>", " ".join(printable_text(text).split())).replace(
        "&", "&amp;"
    )


def inline_code(text: str) -> str:
    """A value as code, also within a table."""
    return f"`{' '.join(printable_text(text).split()).replace('`', chr(39)).replace('|', chr(92) + '|')}`"


def markdown_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[bool]
) -> str:
    """A table of cells that are markdown already, padded so that it reads well as text; `right` aligns a column."""
    widths = [
        max(3, *(len(line[place]) for line in (header, *rows))) for place in range(len(header))
    ]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(cells, widths, right, strict=True)
        ]
        return f"| {' | '.join(padded)} |"

    rule = [
        "-" * (width - 1) + ":" if flush else "-" * width
        for width, flush in zip(widths, right, strict=True)
    ]
    return "\n".join([line(header), line(rule), *map(line, rows)])


def format_number(value: float, *, sign: bool = False, fine: bool = False) -> str:
    """Three decimals without the leading zero (``.704``), four digits from 10 on; ``sign`` writes ``+`` too.

    ``fine`` keeps two digits of what three decimals would lose (``.0061``, ``3.4e-05``): a small loss is not 0.
    """
    text = f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"
    text = f"{value:.2g}" if fine and 0 < abs(value) < SMALL_NUMBER else text
    text = re.sub(r"^(-?)0\.", r"\1.", text)
    text = ".000" if text == "-.000" else text
    return f"+{text}" if sign and value > 0 and text != ".000" else text


def format_interval(
    ends: tuple[float, float] | None, *, sign: bool = False, fine: bool = False
) -> str:
    """An interval, ``[.650, .751]``, with a leading space; nothing where there is none."""
    return (
        f" [{', '.join(format_number(end, sign=sign, fine=fine) for end in ends)}]" if ends else ""
    )


def count_noun(count: int, noun: str) -> str:
    """A count with its noun: ``1 trial``, ``1,200 trials``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def format_range(found: Sequence[int]) -> str:
    """The least and the greatest of some counts: ``5``, ``4 to 5``."""
    low, high = min(found), max(found)
    return f"{low}" if low == high else f"{low} to {high}"
