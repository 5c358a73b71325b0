"""Text for terminals and pages: foreign text without control characters, values and errors in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

ABSENT = "–"  # noqa: RUF001  # pages and the console show an en dash for absent values

CONTROL_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?|\x1b[ -/]*[0-~]"
)
"""Control sequences of terminals, such as colours and window titles: CSI, OSC and the short ones."""

UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters except tab and line feed, bidirectional controls, and lone surrogates."""

LINE_ENDS = re.compile("[\t\n]")
"""What `printable_text` leaves in a text and one line of a report may not have."""


def printable_text(text: str) -> str:
    """Return the text without control sequences and with other unprintable characters escaped."""
    return UNPRINTABLE.sub(_unicode_escape, CONTROL_SEQUENCE.sub("", text.replace("\r\n", "\n")))


def one_line(text: str) -> str:
    """Return the text of others as a part of one line: printable, with tabs and line ends escaped.

    A line of its own could pass for one that the program prints, or for a command to what reads a log.
    """
    return LINE_ENDS.sub(_unicode_escape, printable_text(text))


def _unicode_escape(match: re.Match[str]) -> str:
    # The escape of JSON, so that printed JSON stays valid.
    return f"\\u{ord(match[0]):04x}"


def with_article(noun: str) -> str:
    """Return the noun with its article: ``a source``, ``an evaluation``."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def type_text(value: object) -> str:
    """Return the type of a value with its article; for a class, ``the class`` and its name."""
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = type(value).__name__
    # "nd" for ndarray, which is spoken "an n-d array".
    spoken_vowel = name.lower().startswith(("a", "e", "i", "o", "u", "nd"))
    return f"an {name}" if spoken_vowel else with_article(name)


def error_text(error: BaseException) -> str:
    """Return an error on one line: its type and its message."""
    try:
        message = " ".join(str(error).split())
    except Exception as text_error:  # The `__str__` of a plugin's error may itself fail.
        message = f"its text fails with {type(text_error).__name__}"
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def align_columns(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows under a head, with columns as wide as their widest texts."""
    lines = [[text.upper() for text in head], *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True))
        for line in lines
    )
    return "\n".join(line.rstrip() for line in padded)


def pluralize(number: int, noun: str) -> str:
    """Return a count with its noun: ``1 trial``, ``2 trials``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


DURATION_PATTERN = r"^(?=.*[1-9])\s*(\d+(\.\d+)?\s*[smhd]\s*)+$"
MAX_DURATION = 36_500 * 86_400.0
"""Seconds, a hundred years: the system's timers take no more than some three hundred."""
SECONDS_BY_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(text: str) -> float:
    """Return the seconds of a text such as ``30m`` or ``1h30m``.

    Raises:
        ValueError: The text is not a duration above 0 and of at most a hundred years.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([smhd])", text)
    seconds = sum(float(number) * SECONDS_BY_UNIT[unit] for number, unit in parts)
    if not re.fullmatch(DURATION_PATTERN, text) or seconds > MAX_DURATION:
        raise ValueError(
            f"{text!r} is not a duration; expected a number above 0 with its unit, such as 90s, 30m or 1h30m, "
            "of at most 36500d"
        )
    return seconds


def format_duration(seconds: float) -> str:
    """Return a duration as `parse_duration` reads it: ``90s`` as ``1m30s``."""
    whole, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(whole), 60)
    parts = [
        f"{hours}h" if hours else "",
        f"{minutes}m" if minutes else "",
        f"{rest:g}s" if rest else "",
    ]
    return "".join(parts) or "0s"


BYTE_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
BYTE_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def format_bytes(bytes: int) -> str:
    """Return a number of bytes in the largest unit in which it is at least 1: ``1.2 GB``."""
    for unit in ("TB", "GB", "MB", "KB"):
        if bytes >= BYTE_UNITS[unit]:
            return f"{bytes / BYTE_UNITS[unit]:.1f} {unit}"
    return f"{bytes} B"
