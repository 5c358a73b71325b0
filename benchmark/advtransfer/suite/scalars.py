"""How plain scalars are read: the YAML 1.2 core schema, fractions (``8/255``), and merge keys."""

from __future__ import annotations

import math
import re

from yaml.resolver import BaseResolver

from advtransfer.errors import Mark
from advtransfer.suite.marked import Marked
from advtransfer.suite.problems import Problems

STR, MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_NULL, _BOOL, _INT, _FLOAT = (f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float"))
_FRACTION, _LEADING_ZERO = "!fraction", "!leading-zero"
FRACTION = r"\d+(\.\d+)?/\d+(\.\d+)?"
NUMBER = rf"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|0o[0-7]+|0x[0-9a-fA-F]+|{FRACTION}"
"""A text that is a number where it stands without quotes and spaces."""
LARGEST_INTEGER = 2**53 - 1  # beyond it, JSON readers disagree on the number, and so would ids

_RULES = {
    _NULL: r"~|null|Null|NULL|",
    _BOOL: r"true|True|TRUE|false|False|FALSE",
    _LEADING_ZERO: r"[-+]?0[0-9]+",
    _INT: r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    _FLOAT: r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
    _FRACTION: FRACTION,
    MERGE: r"<<",
}


class CoreResolver(BaseResolver):
    """YAML 1.2 core: ``1e-3`` is a number; ``no``, ``on``, ``1_000`` are texts (PyYAML itself reads YAML 1.1)."""

    # PyYAML keeps rules by first character, under None those for any; only read, so sharing it is safe.
    yaml_implicit_resolvers = {None: [(tag, re.compile(rf"(?:{rule})\Z")) for tag, rule in _RULES.items()]}  # noqa: RUF012


def tag_of(text: str) -> str:
    """The tag that a plain scalar gets."""
    return next((tag for tag, rule in _RULES.items() if re.fullmatch(rule, text)), STR)


def scalar(tag: str, text: str, *, mark: Mark, problems: Problems) -> Marked:
    """The value of a scalar; one that cannot be read is a problem, and its text."""
    try:
        return _read(tag, text, mark)
    except ValueError as error:
        next_step = "write another number, or put a text in quotes" if tag in _RULES else "remove the tag"
        if tag == _LEADING_ZERO:
            next_step = f"write {int(text)}, or put a text in quotes"
        problems.unreadable(mark, found=repr(text), expected=str(error), next_step=next_step)
        return Marked(text, mark)


def _read(tag: str, text: str, mark: Mark) -> Marked:
    if tag in (STR, MERGE):
        return Marked(text, mark)
    if not re.fullmatch(_RULES.get(tag, r"(?!)"), text):  # an explicit tag that says something else
        raise ValueError(f"a plain value without the tag {tag!r}")
    if tag == _NULL:
        return Marked(None, mark)
    if tag == _BOOL:
        return Marked(text.lower() == "true", mark)
    return Marked(_number(tag, text), mark, text=text)


def _number(tag: str, text: str) -> int | float:
    if tag == _LEADING_ZERO:
        raise ValueError("a number without a leading zero (it was octal in YAML 1.1, and is decimal in YAML 1.2)")
    if tag == _INT:
        number = int(text, {"0o": 8, "0x": 16}.get(text[:2], 10)) if len(text) <= 20 else math.inf
        if abs(number) > LARGEST_INTEGER:
            raise ValueError("an integer between -(2**53 - 1) and 2**53 - 1")
        return number
    if tag == _FRACTION:
        above, below = map(float, text.split("/"))
        number = above / below if below else math.inf
    else:
        number = math.inf if text[-1] in "fFnN" else float(text)
    if not math.isfinite(number):
        raise ValueError("a finite number")
    return number
