"""Reads one YAML file into marked values; broken YAML, duplicate keys and alias bombs are problems with a place."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import yaml
from yaml.composer import Composer, ComposerError
from yaml.nodes import MappingNode, Node, ScalarNode
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.scanner import Scanner, ScannerError

from advtransfer.errors import Mark
from advtransfer.suite.characters import described, forbidden, joined
from advtransfer.suite.marked import Marked
from advtransfer.suite.problems import Problems, quoted
from advtransfer.suite.scalars import MERGE, STR, CoreResolver, scalar
from advtransfer.suite.source_text import source_text

LARGEST = 10_000
DEEPEST = 40
_TABS = "\\t"  # as PyYAML shows a tab in its messages


def read(path: Path, *, file: str, problems: Problems) -> tuple[Marked, str]:
    """The file's values, and its text; `file` is its name in messages.

    Raises:
        BadInput: The file cannot be read as YAML at all.
    """
    start = Mark(file, 1, 1)
    text = source_text(path, file=file, problems=problems)
    try:
        node = _Composer(text).get_single_node()
    except _TooMany as error:
        found, expected = f"more than {2 * LARGEST:,} keys and values", f"at most {LARGEST:,} values"
        mark = Mark(file, error.place.line + 1, error.place.column + 1)
        problems.stop(mark, found=found, expected=expected, next_step="write fewer")
    except ReaderError as error:
        before = text[: error.position]
        mark = Mark(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
        found = described(chr(error.character))
        problems.stop(mark, found=found, expected="printable text", next_step="remove it")
    except yaml.MarkedYAMLError as error:
        place = error.problem_mark or error.context_mark
        mark = Mark(file, place.line + 1, place.column + 1) if place else start
        found = ", ".join(filter(None, (error.context, error.problem)))
        next_step = "write spaces in place of tabs" if _TABS in found else "mend it there or just above"
        problems.stop(mark, found=f"broken YAML ({found})", expected="YAML", next_step=next_step)
    if node is None:
        problems.stop(start, found="an empty file", expected="a suite", next_step="start from `suites/quickstart.yaml`")
    return _Conversion(file, problems).value(node), text


class _Composer(Reader, Scanner, Parser, Composer, CoreResolver):
    """Text to YAML nodes with their places: no deeper than `DEEPEST`, no more than `LARGEST` keys and values."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        CoreResolver.__init__(self)
        self._depth = self._nodes = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        if self._depth == DEEPEST:
            raise ComposerError(None, None, f"nested deeper than {DEEPEST} levels", self._next())
        if self._nodes == 2 * LARGEST:
            raise _TooMany(self._next())
        self._nodes += 1
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def scan_flow_scalar_non_spaces(self, double: bool, start_mark: yaml.Mark) -> list[str]:
        try:
            return cast("list[str]", super().scan_flow_scalar_non_spaces(double, start_mark))
        except (ValueError, OverflowError) as error:  # chr() of an escape such as \UFFFFFFFF
            raise ScannerError(None, None, "an escape of no character", self.get_mark()) from error

    def _next(self) -> yaml.Mark:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it without types
        return cast(yaml.Mark, event.start_mark)


class _TooMany(Exception):
    """More keys and values than are read; holds the place of the first."""

    def __init__(self, place: yaml.Mark) -> None:
        self.place = place


class _Conversion:
    """YAML nodes to marked values, each alias counted as what it stands for."""

    def __init__(self, file: str, problems: Problems) -> None:
        self._file, self._problems = file, problems
        self._count = 0
        self._open: list[Node] = []

    def value(self, node: Node, *, key: Mark | None = None) -> Marked:
        """The value of a node; `key` is where its name stands."""
        mark = self._enter(node)
        if isinstance(node, ScalarNode):
            text = self._text(node.value, mark)
            value = scalar(node.tag, text, mark=mark, problems=self._problems)
            return Marked(value.value, mark, key, value.text)
        if node.tag not in ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            self._problems.unreadable(mark, found=f"the tag {node.tag!r}", expected="no tag", next_step="remove it")
        self._open.append(node)
        try:
            if isinstance(node, MappingNode):
                return Marked(self._mapping(node), mark, key)
            return Marked(tuple(self.value(one) for one in node.value), mark, key)
        finally:
            self._open.pop()

    def _enter(self, node: Node) -> Mark:
        mark = self._mark(node)
        self._count += 1
        if self._count > LARGEST:
            found = f"more than {LARGEST:,} values, aliases counted as what they stand for"
            self._problems.stop(mark, found=found, expected=f"at most {LARGEST:,}", next_step="write fewer")
        if any(node is one for one in self._open):
            found = "an alias inside what it stands for"
            self._problems.stop(mark, found=found, expected="an alias to something else", next_step="remove the alias")
        return mark

    def _mapping(self, node: MappingNode) -> dict[str, Marked]:
        own: dict[str, Marked] = {}
        below: dict[str, Marked] = {}
        seen: dict[str, Mark] = {}
        for name_node, value_node in node.value:
            name, mark = self._name(name_node, value_node), self._mark(name_node)
            if name is None:
                continue
            if name in seen:
                found = f"the key {name!r} again (first in line {seen[name].line})"
                self._problems.add(mark, found=found, expected="each key once", next_step="remove one of them")
                continue
            seen[name] = mark
            if name_node.tag == MERGE:
                below = self._merge(value_node)
            else:
                own[name] = self.value(value_node, key=mark)
        return {**below, **own}

    def _name(self, node: Node, below: Node) -> str | None:
        if isinstance(node, ScalarNode) and node.tag in (STR, MERGE):
            return self._text(node.value, self._mark(node))
        found = quoted(node.value) if isinstance(node, ScalarNode) else "a list or mapping"
        alone = isinstance(below, ScalarNode) and not below.value  # ``{eps: 0,031}`` has the key 031
        next_step = "write a point in place of a decimal comma" if alone else "put the key in quotes"
        self._problems.add(self._mark(node), found=f"{found} as a key", expected="a text", next_step=next_step)
        return None

    def _merge(self, node: Node) -> dict[str, Marked]:
        """What ``<<`` brings: of several mappings the first that has a key wins."""
        value = self.value(node)
        parts = value.value if isinstance(value.value, tuple) else (value,)
        brought: dict[str, Marked] = {}
        for part in parts:
            if isinstance(part.value, dict):
                brought = {**part.value, **brought}
            else:
                next_step = "name one with an alias: `<<: *name`"
                self._problems.add(part.mark, found=part.shown(), expected="a mapping to merge", next_step=next_step)
        return brought

    def _text(self, text: str, mark: Mark) -> str:
        """A text without what it may not hold, which is a problem."""
        text = joined(text)
        found = forbidden(text)
        if found is not None:
            self._problems.unreadable(mark, found=found, expected="printable text", next_step="remove it")
        return text

    def _mark(self, node: Node) -> Mark:
        return Mark(self._file, node.start_mark.line + 1, node.start_mark.column + 1)
