"""Writes marked values as YAML that reads back as the same values."""

from __future__ import annotations

import json
from collections.abc import Mapping

import yaml
from yaml.dumper import BaseDumper
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from advtransfer.suite.marked import Marked
from advtransfer.suite.scalars import STR, CoreResolver, tag_of

_MAP, _SEQ = "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"
_WIDTH = 120


class _Writer(CoreResolver, BaseDumper):
    """A dumper that quotes what the YAML 1.2 rules would otherwise read as something else."""


def written(value: Marked) -> str:
    """A suite as YAML: numbers as they were written, sections in lines, small entries in one."""
    return str(yaml.serialize(_node(value, level=0), Dumper=_Writer, width=_WIDTH, allow_unicode=True))


def _node(value: Marked, *, level: int) -> Node:
    flow = _depth(value) <= (2 if level >= 2 else 1)
    if isinstance(value.value, Mapping):
        pairs = [(ScalarNode(STR, name), _node(one, level=level + 1)) for name, one in value.value.items()]
        return MappingNode(_MAP, pairs, flow_style=flow)
    if isinstance(value.value, tuple):
        return SequenceNode(_SEQ, [_node(one, level=level + 1) for one in value.value], flow_style=flow)
    if isinstance(value.value, str):
        return ScalarNode(STR, value.value)
    text = value.text or json.dumps(value.value)
    return ScalarNode(tag_of(text), text)


def _depth(value: Marked) -> int:
    """How many levels of mappings and lists the value has."""
    if isinstance(value.value, Mapping):
        return 1 + max(map(_depth, value.value.values()), default=0)
    return 1 + max(map(_depth, value.value), default=0) if isinstance(value.value, tuple) else 0
