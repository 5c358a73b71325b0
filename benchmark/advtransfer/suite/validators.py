"""Validators of located values.

Each returns the value, or adds a problem that says what was expected and what to write instead.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from advtransfer.node import canonical_json
from advtransfer.suite.located import Located, Problems, did_you_mean, join_names, quote_name
from advtransfer.suite.yaml_core import LARGEST_INTEGER, NUMBER

# The booleans of YAML 1.1, which are texts in YAML 1.2.
_TRUE, _FALSE = ("yes", "y", "on", "true", "t"), ("no", "n", "off", "false", "f")
# Minus signs, dashes and slashes as word processors and web pages write them.
_DASHES = str.maketrans(
    {"\u2212": "-", "\u2013": "-", "\u2014": "-", "\u2044": "/", "\u00f7": "/", "\u2215": "/"}
)
_DECIMAL = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"


def number_step(text: str) -> str | None:
    """Return the next step for a text meant as a number or a list of numbers, else None."""
    # NFKC turns full-width digits, superscripts and the like into ASCII.
    normalized = unicodedata.normalize("NFKC", text).translate(_DASHES)
    compact = re.sub(r"\s+", "", normalized)
    # The rules' patterns backtrack; no number that somebody types is longer than this.
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
    """Return the next step for a text that was meant as true or false, else None."""
    word = text.strip().lower()
    if word in _TRUE:
        return "write true"
    return "write false" if word in _FALSE else None


def _unquoted_step(match: re.Match[str]) -> str:
    if re.fullmatch(r".+/0*\.?0*", match[0]):
        return f"write a number: {match[0]} divides by 0"
    return f"write {match[0].removeprefix('+')} without quotes and spaces"


def _decimal_comma_step(match: re.Match[str]) -> str:
    whole, decimals = match[1], match[2]
    # `1,234` may be a thousand or a fraction, and only the author knows which.
    if len(decimals) == 3 and whole.lstrip("+-") not in ("", "0"):
        return f"write {whole}{decimals} or {whole}.{decimals}: a comma is not part of a number"
    return f"write {whole or '0'}.{decimals} with a point"


def _sexagesimal_step(match: re.Match[str]) -> str:
    # YAML 1.1 reads `1:30` as a number in base 60.
    total = 0
    for part in match[0].lstrip("+-").split(":"):
        total = 60 * total + int(part)
    return f"write one number, such as {total} (which YAML 1.1 made of it)"


# The first pattern that matches decides, so special spellings come before general ones.
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
    """Return the mapping, or add a problem and return an empty one."""
    if isinstance(value.value, Mapping):
        return value.value
    add_mismatch(value, expected=expected, next_step="write `name: value` lines", problems=problems)
    return {}


def require_known_names(
    entries: Mapping[str, Located],
    names: Iterable[str],
    *,
    of: str,
    problems: Problems,
    moved: Mapping[str, str] | None = None,
) -> dict[str, Located]:
    """Return the values under known names, and add a problem for any other name.

    Null values are returned as well; `require_closed_mapping` drops them. `moved` has the next step
    for names that belong elsewhere.
    """
    allowed = list(names)
    for name in entries.keys() - set(allowed):
        problems.add(
            entries[name].name_location,
            found=f"the unknown name {quote_name(name)} in {of}",
            expected=f"one of {join_names(allowed)}" if allowed else "nothing there",
            next_step=(moved or {}).get(name) or did_you_mean(name, allowed, otherwise="remove it"),
        )
    return {name: value for name, value in entries.items() if name in allowed}


def require_closed_mapping(
    value: Located, names: Iterable[str], *, of: str, problems: Problems
) -> dict[str, Located]:
    """Return a mapping whose keys are all in `names`; keys with a null value count as absent."""
    entries = require_known_names(
        require_mapping(value, expected=f"{of}, a mapping", problems=problems),
        names,
        of=of,
        problems=problems,
    )
    return {name: entry for name, entry in entries.items() if entry.value is not None}


def require_list(value: Located, *, expected: str, problems: Problems) -> tuple[Located, ...]:
    """Return a list that is not empty, or add a problem and return an empty one."""
    if isinstance(value.value, tuple) and value.value:
        return value.value
    add_mismatch(value, expected=expected, next_step="write it as `[a, b]`", problems=problems)
    return ()


def require_text(value: Located, *, expected: str, problems: Problems) -> str | None:
    """Return a text that is not blank, or add a problem and return None."""
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
    """Return an integer from `at_least` to `at_most`, or add a problem and return None."""
    number = value.value
    # In Python, True is the integer 1; in a suite it is a mistake.
    if isinstance(number, int) and not isinstance(number, bool) and at_least <= number <= at_most:
        return number
    add_mismatch(value, expected=expected, next_step=correction_step(value), problems=problems)
    return None


def require_boolean(value: Located, *, expected: str, problems: Problems) -> bool:
    """Return true or false; add a problem and return False for anything else."""
    if isinstance(value.value, bool):
        return value.value
    step = boolean_step(value.value) if isinstance(value.value, str) else None
    add_mismatch(
        value, expected=expected, next_step=step or "write one of the two", problems=problems
    )
    return False


def correction_step(value: Located) -> str:
    """Return the next step for a value that should be a number."""
    if isinstance(value.value, float) and value.value.is_integer():
        return f"write {int(value.value)}"
    step = number_step(value.value) if isinstance(value.value, str) else None
    return step or "correct it"


def require_count_or_all(
    value: Located, *, of: str, problems: Problems
) -> int | Literal["all"] | None:
    """Return a count above 0 or ``all``, or add a problem and return None."""
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
    """Add a problem for a value that is not what was expected."""
    problems.add(value.location, found=value.shown_text(), expected=expected, next_step=next_step)


def require_distinct(
    values: Sequence[Located], *, of: str, problems: Problems
) -> tuple[Located, ...]:
    """Return the values without repetitions, and add a problem for each repetition."""
    distinct: dict[str, Located] = {}
    for value in values:
        # Canonical JSON also compares lists and mappings, and keeps 1 and true apart.
        first = distinct.setdefault(canonical_json(value.to_plain()), value)
        if first is not value:
            expected = f"each value once in {of} (first in line {first.location.line})"
            add_mismatch(value, expected=expected, next_step="remove it", problems=problems)
    return tuple(distinct.values())


def type_correction_step(value: Located, expected: str) -> str | None:
    """Return the next step for a value that was meant as another type, else None.

    A number may be in quotes, a text may look like a number, or true may be written as ``yes``.
    """
    written = value.value
    if isinstance(written, float) and written.is_integer() and "integer" in expected:
        return f"write {int(written)}"
    if isinstance(written, str) and "boolean" in expected:
        return boolean_step(written)
    expects_number = re.search(r"number|integer|array|greater|less|multiple", expected)
    if isinstance(written, str) and expects_number:
        return number_step(written)
    is_plain = written is not None and not isinstance(written, str | tuple | Mapping)
    if is_plain and expected == "a valid string":
        return f"put it in quotes: '{value.shown_text()}'"
    return None


# pydantic's messages name its own types; these are their words in a suite.
_PYDANTIC_WORDS = {
    r"a valid array": "a list",
    r"a valid dictionary|an object": "a mapping",
    r"Tuple should have (at (?:least|most) \d+ items?) after validation, not \d+": r"a list of \1",
}


def in_suite_words(expected: str) -> str:
    """Return pydantic's expectation in the words of a suite."""
    # One expectation may name several types.
    for theirs, ours in _PYDANTIC_WORDS.items():
        expected = re.sub(theirs, ours, expected)
    return expected
