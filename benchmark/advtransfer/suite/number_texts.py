"""Texts that were meant as numbers, booleans or lists: how to write them in a suite."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

from advtransfer.suite.scalars import NUMBER

_TRUE, _FALSE = ("yes", "y", "on", "true", "t"), ("no", "n", "off", "false", "f")
_DASHES = str.maketrans({"\u2212": "-", "\u2013": "-", "\u2014": "-", "\u2044": "/", "\u00f7": "/", "\u2215": "/"})
_DECIMAL = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"


def number_step(text: str) -> str | None:
    """The next step where a text stands for a number or a list of numbers; None where it is like neither."""
    compact = re.sub(r"\s+", "", unicodedata.normalize("NFKC", text).translate(_DASHES))
    if not compact or len(compact) > 60:
        return None
    for pattern, step in _RULES:
        match = re.fullmatch(pattern, compact)
        if match:
            return step(match)
    parts = [part for part in re.split(r"[\s,;]+", text.strip().strip("[]()")) if part]
    if len(parts) > 1 and all(re.fullmatch(NUMBER, part) for part in parts):
        return f"write a list: [{', '.join(parts)}]"
    return None


def boolean_step(text: str) -> str | None:
    """The next step where a text stands for true or false."""
    word = text.strip().lower()
    return "write true" if word in _TRUE else "write false" if word in _FALSE else None


def _plain(match: re.Match[str]) -> str:
    if re.fullmatch(r".+/0*\.?0*", match[0]):
        return f"write a number: {match[0]} divides by 0"
    return f"write {match[0].removeprefix('+')} without quotes and spaces"


def _comma(match: re.Match[str]) -> str:
    whole, rest = match[1], match[2]
    if len(rest) == 3 and whole.lstrip("+-") not in ("", "0"):
        return f"write {whole}{rest} or {whole}.{rest}: a comma is not part of a number"
    return f"write {whole or '0'}.{rest} with a point"


def _clock(match: re.Match[str]) -> str:
    total = 0
    for part in match[0].lstrip("+-").split(":"):
        total = 60 * total + int(part)
    return f"write one number, such as {total} (which YAML 1.1 made of it)"


_RULES: Sequence[tuple[str, Callable[[re.Match[str]], str]]] = (
    (r"[-+]?0\d+", lambda match: f"write {int(match[0])}"),
    (NUMBER, _plain),
    (r"[-+]?\d[\d_]*(?:\.[\d_]+)?", lambda match: f"write {match[0].replace('_', '')} without underscores"),
    (rf"({_DECIMAL})[fFdDlL]", lambda match: f"write {match[1]}"),
    (rf"({_DECIMAL})%", lambda match: f"write {float(match[1]) / 100:g}, or {match[1]}/100"),
    (r"([-+]?\d*),(\d+)", _comma),
    (r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?", lambda match: f"write {match[0].replace(',', '')} without commas"),
    (r"0b([01]+)", lambda match: f"write {int(match[1], 2)}"),
    (r"10\^([-+]?\d+)", lambda match: f"write 1e{match[1]}"),
    (rf"({_DECIMAL})(?:[x*]|\\times)10\^([-+]?\d+)", lambda match: f"write {match[1]}e{match[2]}"),
    (r"[-+]?\d+(?::[0-5]?\d)+", _clock),
    (r"\d{4}-\d\d?-\d\d?.*", lambda _: "write a number, not a date"),
    (r"[-+]?\.?(?:inf|infinity|nan)", lambda _: "write a finite number"),
    (r"[-+]?\.?(?:Inf|INF|NaN|NAN|Infinity)", lambda _: "write a finite number"),
)
