"""The YAML 1.2 core schema with fractions (``8/255``) and merge keys.

Resolving scalars, and dumping values.
"""

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
_FRACTION, _LEADING_ZERO = "!fraction", "!leading-zero"
FRACTION = r"\d+(\.\d+)?/\d+(\.\d+)?"
NUMBER = (
    rf"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|0o[0-7]+|0x[0-9a-fA-F]+|{FRACTION}"
)
"""A text that is a number where it stands without quotes and spaces."""
LARGEST_INTEGER = 2**53 - 1  # beyond it, JSON readers disagree on the number, and so would ids

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
    """YAML 1.2 core: ``1e-3`` is a number; ``no``, ``on``, ``1_000`` are texts (PyYAML itself reads YAML 1.1)."""

    # PyYAML keeps rules by first character, under None those for any; only read, so sharing it is safe.
    yaml_implicit_resolvers = {  # noqa: RUF012
        None: [(tag, re.compile(rf"(?:{rule})\Z")) for tag, rule in _SCALAR_RULES.items()]
    }


def tag_of(text: str) -> str:
    """The tag that a plain scalar gets."""
    return next((tag for tag, rule in _SCALAR_RULES.items() if re.fullmatch(rule, text)), STR)


def read_scalar(tag: str, text: str, *, mark: Location, problems: Problems) -> Located:
    """The value of a scalar; one that cannot be read is a problem, and its text."""
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
    if not re.fullmatch(
        _SCALAR_RULES.get(tag, r"(?!)"), text
    ):  # an explicit tag that says something else
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


_MAP, _SEQ = "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"
_LINE_WIDTH = 120


class _Dumper(CoreResolver, BaseDumper):
    """A dumper that quotes what the YAML 1.2 rules would otherwise read as something else."""


def dump_yaml(value: Located) -> str:
    """A suite as YAML: numbers as they were written, sections in lines, small entries in one."""
    return str(
        yaml.serialize(
            _yaml_node(value, level=0), Dumper=_Dumper, width=_LINE_WIDTH, allow_unicode=True
        )
    )


def _yaml_node(value: Located, *, level: int) -> Node:
    flow = _nesting_depth(value) <= (2 if level >= 2 else 1)
    if isinstance(value.value, Mapping):
        pairs = [
            (ScalarNode(STR, name), _yaml_node(one, level=level + 1))
            for name, one in value.value.items()
        ]
        return MappingNode(_MAP, pairs, flow_style=flow)
    if isinstance(value.value, tuple):
        return SequenceNode(
            _SEQ, [_yaml_node(one, level=level + 1) for one in value.value], flow_style=flow
        )
    if isinstance(value.value, str):
        return ScalarNode(STR, value.value)
    text = value.text or json.dumps(value.value)
    return ScalarNode(tag_of(text), text)


def _nesting_depth(value: Located) -> int:
    """How many levels of mappings and lists the value has."""
    if isinstance(value.value, Mapping):
        return 1 + max(map(_nesting_depth, value.value.values()), default=0)
    return (
        1 + max(map(_nesting_depth, value.value), default=0)
        if isinstance(value.value, tuple)
        else 0
    )
