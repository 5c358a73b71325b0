"""The text of a suite's file: UTF-8 of a size that a person writes."""

from __future__ import annotations

import codecs
from pathlib import Path

from advtransfer.errors import Mark
from advtransfer.suite.problems import Problems

MOST_BYTES = 250_000
"""The largest suites that come with advtransfer have 5,000 bytes; what is larger would be parsed for minutes."""

_OTHER_ENCODINGS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def source_text(path: Path, *, file: str, problems: Problems) -> str:
    """The text of a file; `file` is its name in messages.

    Raises:
        BadInput: It cannot be read, is too large, or is not UTF-8.
    """
    start = Mark(file, 1, 1)
    try:
        with path.open("rb") as opened:
            data = opened.read(MOST_BYTES + 1)
        size = path.stat().st_size
    except OSError as error:
        problems.stop(start, found=str(error.strerror), expected="a file that can be read", next_step="check its path")
    if len(data) > MOST_BYTES:
        found = f"a file of {max(size, len(data)):,} bytes"
        next_step = "split it into several suites; data do not belong into a suite"
        problems.stop(start, found=found, expected=f"at most {MOST_BYTES:,}", next_step=next_step)
    encoding = next((name for mark, name in _OTHER_ENCODINGS.items() if data.startswith(mark)), None)
    if encoding is None and b"\0" in data[:4]:
        encoding = "UTF-16 or UTF-32 without a byte order mark"
    if encoding is not None:
        problems.stop(start, found=f"a file in {encoding}", expected="UTF-8", next_step="save the file as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        mark = Mark(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
        found = f"the byte 0x{data[error.start]:02x}"
        problems.stop(mark, found=found, expected="UTF-8", next_step="save the file as UTF-8")
