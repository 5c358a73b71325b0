"""Text for terminals and pages.

Foreign text without control characters, and descriptions of values and errors.
"""

from __future__ import annotations

import re

CONTROL_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?|\x1b[ -/]*[0-~]"
)
"""Control sequences of terminals, such as colours and window titles: CSI, OSC and the short ones."""

UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters but tab and line feed, marks that turn the direction of writing, and halves of characters."""


def printable_text(text: str) -> str:
    """The text without control sequences; other characters that steer a terminal or are none stand as escapes."""
    return UNPRINTABLE.sub(_unicode_escape, CONTROL_SEQUENCE.sub("", text.replace("\r\n", "\n")))


def _unicode_escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"  # as in JSON, which stays JSON


def with_article(noun: str) -> str:
    """The noun with its article: ``a source``, ``an evaluation``."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def type_text(value: object) -> str:
    """A value in words: its type, with an article, and a class by its name."""
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = type(value).__name__
    return (
        f"an {name}"
        if name.lower().startswith(("a", "e", "i", "o", "u", "nd"))
        else with_article(name)
    )


def error_text(error: BaseException) -> str:
    """An error on one line: its type and what it says."""
    try:
        text = " ".join(str(error).split())
    except Exception as unreadable:  # the error of a plugin may not even have a text
        text = f"its text fails with {type(unreadable).__name__}"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
