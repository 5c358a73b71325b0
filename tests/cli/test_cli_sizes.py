"""Sizes as people write and read them, and columns."""

from __future__ import annotations

import click
import pytest

from advtransfer.cli.arguments import duration, memory_size, size
from advtransfer.text import align_columns, format_bytes


@pytest.mark.parametrize(
    ("text", "bytes"),
    [
        ("0", 0),
        ("1000", 1000),
        ("2GB", 2 * 10**9),
        ("500 mb", 5 * 10**8),
        ("1GiB", 2**30),
        ("1.5 kB", 1500),
    ],
)
def test_size_is_read_with_its_unit(text: str, bytes: int) -> None:
    assert bytes == size(text)


@pytest.mark.parametrize("text", ["", "GB", "-1", "2XB", "1e3", "two"])
def test_invalid_size_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a size"):
        size(text)


def test_memory_of_nothing_is_refused() -> None:
    with pytest.raises(click.BadParameter, match="leaves no memory; expected a size above 0"):
        memory_size("0 GiB")


@pytest.mark.parametrize("text", ["0s", "3000000h", "30", "soon"])
def test_invalid_duration_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a duration; expected a number above 0"):
        duration(text)


@pytest.mark.parametrize(
    ("bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 KB"), (2 * 10**9, "2.0 GB"), (3 * 10**12, "3.0 TB")],
)
def test_size_is_written_in_its_largest_unit(bytes: int, text: str) -> None:
    assert text == format_bytes(bytes)


def test_columns_are_as_wide_as_their_widest_text_and_lines_end_without_spaces() -> None:
    assert align_columns(("a", "b"), [("xyz", "1"), ("x", "")]) == "A    B\nxyz  1\nx"
