"""Validators of located values.

Each returns the value, or adds a problem that says what was expected and what to write instead.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from advtransfer.suite.located import Located, Problems, did_you_mean, join_names, quote_name
from advtransfer.suite.yaml_core import LARGEST_INTEGER, NUMBER

_TRUE, _FALSE = ("yes", "y", "on", "true", "t"), ("no", "n", "off", "false", "f")
_DASHES = str.maketrans(
    {"\u2212": "-", "\u2013": "-", "\u2014": "-", "\u2044": "/", "\u00f7": "/", "\u2215": "/"}
)
_DECIMAL = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"


def number_step(text: str) -> str | None:
    """The next step where a text stands for a number or a list of numbers; None where it is like neither."""
    compact = re.sub(r"\s+", "", unicodedata.normalize("NFKC", text).translate(_DASHES))
    if not compact or len(compact) > 60:
        return None
    for pattern, step in _NUMBER_RULES:
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


def _unquoted_step(match: re.Match[str]) -> str:
    if re.fullmatch(r".+/0*\.?0*", match[0]):
        return f"write a number: {match[0]} divides by 0"
    return f"write {match[0].removeprefix('+')} without quotes and spaces"


def _decimal_comma_step(match: re.Match[str]) -> str:
    whole, rest = match[1], match[2]
    if len(rest) == 3 and whole.lstrip("+-") not in ("", "0"):
        return f"write {whole}{rest} or {whole}.{rest}: a comma is not part of a number"
    return f"write {whole or '0'}.{rest} with a point"


def _sexagesimal_step(match: re.Match[str]) -> str:
    total = 0
    for part in match[0].lstrip("+-").split(":"):
        total = 60 * total + int(part)
    return f"write one number, such as {total} (which YAML 1.1 made of it)"


_NUMBER_RULES: Sequence[tuple[str, Callable[[re.Match[str]], str]]] = (
    (r"[-+]?0\d+", lambda match: f"write {int(match[0])}"),
    (NUMBER, _unquoted_step),
    (
        r"[-+]?\d[\d_]*(?:\.[\d_]+)?",
        lambda match: f"write {match[0].replace('_', '')} without underscores",
    ),
    (rf"({_DECIMAL})[fFdDlL]", lambda match: f"write {match[1]}"),
    (rf"({_DECIMAL})%", lambda match: f"write {float(match[1]) / 100:g}, or {match[1]}/100"),
    (r"([-+]?\d*),(\d+)", _decimal_comma_step),
    (
        r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?",
        lambda match: f"write {match[0].replace(',', '')} without commas",
    ),
    (r"0b([01]+)", lambda match: f"write {int(match[1], 2)}"),
    (r"10\^([-+]?\d+)", lambda match: f"write 1e{match[1]}"),
    (rf"({_DECIMAL})(?:[x*]|\\times)10\^([-+]?\d+)", lambda match: f"write {match[1]}e{match[2]}"),
    (r"[-+]?\d+(?::[0-5]?\d)+", _sexagesimal_step),
    (r"\d{4}-\d\d?-\d\d?.*", lambda _: "write a number, not a date"),
    (r"[-+]?\.?(?:inf|infinity|nan)", lambda _: "write a finite number"),
    (r"[-+]?\.?(?:Inf|INF|NaN|NAN|Infinity)", lambda _: "write a finite number"),
)


def require_mapping(value: Located, *, expected: str, problems: Problems) -> Mapping[str, Located]:
    """A mapping, or an empty one and a problem."""
    if isinstance(value.value, Mapping):
        return value.value
    add_mismatch(value, expected=expected, next_step="write `name: value` lines", problems=problems)
    return {}


def require_known_names(
    entries: Mapping[str, Located], names: Iterable[str], *, of: str, problems: Problems
) -> dict[str, Located]:
    """What is set under known names; any other name is a problem."""
    allowed = list(names)
    for name in entries.keys() - set(allowed):
        problems.add(
            entries[name].name_location,
            found=f"the unknown name {quote_name(name)} in {of}",
            expected=f"one of {join_names(allowed)}" if allowed else "nothing there",
            next_step=did_you_mean(name, allowed, otherwise="remove it"),
        )
    return {name: value for name, value in entries.items() if name in allowed}


def require_closed_mapping(
    value: Located, names: Iterable[str], *, of: str, problems: Problems
) -> dict[str, Located]:
    """A mapping with known names only; a null is as good as not written."""
    entries = require_known_names(
        require_mapping(value, expected=f"{of}, a mapping", problems=problems),
        names,
        of=of,
        problems=problems,
    )
    return {name: one for name, one in entries.items() if one.value is not None}


def require_list(value: Located, *, expected: str, problems: Problems) -> tuple[Located, ...]:
    """A list with something in it, or an empty one and a problem."""
    if isinstance(value.value, tuple) and value.value:
        return value.value
    add_mismatch(value, expected=expected, next_step="write it as `[a, b]`", problems=problems)
    return ()


def require_text(value: Located, *, expected: str, problems: Problems) -> str | None:
    """A text with something in it, or None and a problem."""
    if isinstance(value.value, str) and value.value.strip():
        return value.value
    add_mismatch(
        value,
        expected=expected,
        next_step="put a text that looks like another value in quotes",
        problems=problems,
    )
    return None


def require_integer(
    value: Located,
    *,
    at_least: int,
    at_most: int = LARGEST_INTEGER,
    expected: str,
    problems: Problems,
) -> int | None:
    """An integer of some range, or None and a problem."""
    number = value.value
    if isinstance(number, int) and not isinstance(number, bool) and at_least <= number <= at_most:
        return number
    add_mismatch(value, expected=expected, next_step=correction_step(value), problems=problems)
    return None


def correction_step(value: Located) -> str:
    """The next step for a value that should be a number."""
    if isinstance(value.value, float) and value.value.is_integer():
        return f"write {int(value.value)}"
    step = number_step(value.value) if isinstance(value.value, str) else None
    return step or "correct it"


def require_count_or_all(
    value: Located, *, of: str, problems: Problems
) -> int | Literal["all"] | None:
    """A count above 0 or ``all``, or None and a problem."""
    if value.value == "all":
        return "all"
    if isinstance(value.value, str) and value.value.strip().lower() == "all":
        add_mismatch(
            value,
            expected=f"a count of {of} above 0, or all",
            next_step="write all",
            problems=problems,
        )
        return None
    return require_integer(
        value, at_least=1, expected=f"a count of {of} above 0, or all", problems=problems
    )


def add_mismatch(value: Located, *, expected: str, next_step: str, problems: Problems) -> None:
    """Note that a value is not what was expected."""
    problems.add(value.location, found=value.shown_text(), expected=expected, next_step=next_step)
