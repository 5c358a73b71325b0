"""The YAML 1.2 core schema with fractions (``8/255``) and merge keys: reading and dumping."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping

import yaml
from yaml.dumper import BaseDumper
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.resolver import BaseResolver

from advtransfer.errors import Location
from advtransfer.suite.located import Located, Problems

STR, MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_NULL, _BOOL, _INT, _FLOAT = (
    f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float")
)
# Tags of this module alone, for plain scalars that YAML 1.2 reads otherwise.
_FRACTION, _LEADING_ZERO = "!fraction", "!leading-zero"
FRACTION = r"\d+(\.\d+)?/\d+(\.\d+)?"
NUMBER = (
    rf"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|0o[0-7]+|0x[0-9a-fA-F]+|{FRACTION}"
)
"""Pattern of a text that YAML reads as a number when it is written without quotes and spaces."""
# Beyond 2**53 JSON readers disagree on the number, and then so would the ids made from it.
LARGEST_INTEGER = 2**53 - 1

_SCALAR_RULES = {
    _NULL: r"~|null|Null|NULL|",
    _BOOL: r"true|True|TRUE|false|False|FALSE",
    _LEADING_ZERO: r"[-+]?0[0-9]+",
    _INT: r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    _FLOAT: r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
    _FRACTION: FRACTION,
    MERGE: r"<<",
}


class CoreResolver(BaseResolver):
    """YAML 1.2 core rules: ``1e-3`` is a number; ``no``, ``on`` and ``1_000`` are texts.

    PyYAML itself reads YAML 1.1, in which it is the other way round.
    """

    # PyYAML keeps rules by first character, under None those for any; only read, so sharing it is
    # safe.
    yaml_implicit_resolvers = {  # noqa: RUF012
        None: [(tag, re.compile(rf"(?:{rule})\Z")) for tag, rule in _SCALAR_RULES.items()]
    }


def tag_of(text: str) -> str:
    """Return the tag that the rules give to a plain scalar."""
    return next((tag for tag, rule in _SCALAR_RULES.items() if re.fullmatch(rule, text)), STR)


def read_scalar(tag: str, text: str, *, mark: Location, problems: Problems) -> Located:
    """Return the value of a scalar, or add a problem and return its text."""
    try:
        return _typed_scalar(tag, text, mark)
    except ValueError as error:
        next_step = (
            "write another number, or put a text in quotes"
            if tag in _SCALAR_RULES
            else "remove the tag"
        )
        if tag == _LEADING_ZERO:
            next_step = f"write {int(text)}, or put a text in quotes"
        problems.add_unreadable(mark, found=repr(text), expected=str(error), next_step=next_step)
        return Located(text, mark)


def _typed_scalar(tag: str, text: str, mark: Location) -> Located:
    if tag in (STR, MERGE):
        return Located(text, mark)
    # An explicit tag, such as `!!int abc`, may contradict its text; `(?!)` matches nothing.
    if not re.fullmatch(_SCALAR_RULES.get(tag, r"(?!)"), text):
        raise ValueError(f"a plain value without the tag {tag!r}")
    if tag == _NULL:
        return Located(None, mark)
    if tag == _BOOL:
        return Located(text.lower() == "true", mark)
    return Located(_parse_number(tag, text), mark, text=text)


def _parse_number(tag: str, text: str) -> int | float:
    if tag == _LEADING_ZERO:
        raise ValueError(
            "a number without a leading zero (it was octal in YAML 1.1, and is decimal in YAML 1.2)"
        )
    if tag == _INT:
        return _parse_integer(text)
    number = parse_fraction(text) if tag == _FRACTION else _parse_decimal(text)
    if not math.isfinite(number):
        raise ValueError("a finite number")
    return number


def _parse_decimal(text: str) -> float:
    # `.inf` and `.nan` are YAML's spellings, which float() does not read.
    return math.inf if text[-1] in "fFnN" else float(text)


def _parse_integer(text: str) -> int:
    # Python parses an integer of n digits in more than linear time; 20 characters exceed 2**53.
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    number = int(text, base) if len(text) <= 20 else math.inf
    if abs(number) > LARGEST_INTEGER:
        raise ValueError("an integer between -(2**53 - 1) and 2**53 - 1")
    return int(number)


def parse_fraction(text: str) -> float:
    """Return the value of ``8/255`` or of a plain number; infinity where the fraction divides by 0.

    Raises:
        ValueError: The text is neither a number nor two numbers with a slash between them.
    """
    numerator, slash, denominator = text.partition("/")
    if not slash:
        return float(text)
    divisor = float(denominator)
    return float(numerator) / divisor if divisor else math.inf


_MAP, _SEQ = "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"
_LINE_WIDTH = 120


class _Dumper(CoreResolver, BaseDumper):
    """A dumper that quotes texts which the YAML 1.2 rules would read as another type."""


def dump_yaml(value: Located) -> str:
    """Return a suite as YAML, with numbers as the file wrote them.

    Sections are in block style, small entries on one line.
    """
    return str(
        yaml.serialize(
            _yaml_node(value, level=0), Dumper=_Dumper, width=_LINE_WIDTH, allow_unicode=True
        )
    )


def _yaml_node(value: Located, *, level: int) -> Node:
    max_flow_depth = 2 if level >= 2 else 1
    flow = _nesting_depth(value) <= max_flow_depth
    if isinstance(value.value, Mapping):
        pairs = [
            (ScalarNode(STR, name), _yaml_node(item, level=level + 1))
            for name, item in value.value.items()
        ]
        return MappingNode(_MAP, pairs, flow_style=flow)
    if isinstance(value.value, tuple):
        return SequenceNode(
            _SEQ, [_yaml_node(item, level=level + 1) for item in value.value], flow_style=flow
        )
    if isinstance(value.value, str):
        return ScalarNode(STR, value.value)
    text = value.text or json.dumps(value.value)
    return ScalarNode(tag_of(text), text)


def _nesting_depth(value: Located) -> int:
    """Return the number of levels of mappings and lists in a value."""
    if isinstance(value.value, Mapping):
        return 1 + max(map(_nesting_depth, value.value.values()), default=0)
    if isinstance(value.value, tuple):
        return 1 + max(map(_nesting_depth, value.value), default=0)
    return 0
