"""Reader of suite files.

From UTF-8 text to located values; broken YAML, duplicate keys and alias bombs are reported with
their position.
"""

from __future__ import annotations

import codecs
import unicodedata
from pathlib import Path
from typing import cast

import yaml
from yaml.composer import Composer, ComposerError
from yaml.nodes import MappingNode, Node, ScalarNode
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.scanner import Scanner, ScannerError

from advtransfer.errors import Location
from advtransfer.suite.located import Located, Problems, quote_name
from advtransfer.suite.yaml_core import MERGE, STR, CoreResolver, read_scalar

# Embeddings, overrides and isolates make text read in another order than it is stored ("Trojan Source").
_BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
# Not joiners (U+200C, U+200D) and marks of direction (U+200E, U+200F): emoji and scripts are spelled with them.
_INVISIBLE = "\u200b\u2060\u2061\u2062\u2063\u2064\ufeff\ufff9\ufffa\ufffb"
_CONTROL_NAMES = {
    "\0": "NULL",
    "\x1b": "ESCAPE",
    "\x07": "BELL",
    "\x08": "BACKSPACE",
    "\x7f": "DELETE",
}


def join_surrogates(text: str) -> str:
    """The text with each pair of surrogates as the character it stands for, as JSON escapes an emoji."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def forbidden_character(text: str) -> str | None:
    """The first character of the text that it may not hold, in words."""
    found = next((one for one in text if not _is_allowed(one)), None)
    return None if found is None else describe_character(found)


def describe_character(character: str) -> str:
    """A character that cannot be shown as it is."""
    name = unicodedata.name(character, _CONTROL_NAMES.get(character, ""))
    if unicodedata.category(character) == "Cs":
        name = "half of a surrogate pair"
    return f"the character U+{ord(character):04X}" + (f" ({name})" if name else "")


def _is_allowed(character: str) -> bool:
    if character in "\t\n\r":
        return True
    return (
        unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
        and character not in _BIDI + _INVISIBLE
    )


MAX_FILE_BYTES = 250_000
"""The largest suites that come with advtransfer have 5,000 bytes; what is larger would be parsed for minutes."""

_OTHER_ENCODINGS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def read_source_text(path: Path, *, file: str, problems: Problems) -> str:
    """The text of a file; `file` is its name in messages.

    Raises:
        BadInput: It cannot be read, is too large, or is not UTF-8.
    """
    start = Location(file, 1, 1)
    try:
        with path.open("rb") as opened:
            data = opened.read(MAX_FILE_BYTES + 1)
        size = path.stat().st_size
    except OSError as error:
        problems.add_and_raise(
            start,
            found=str(error.strerror),
            expected="a file that can be read",
            next_step="check its path",
        )
    if len(data) > MAX_FILE_BYTES:
        found = f"a file of {max(size, len(data)):,} bytes"
        next_step = "split it into several suites; data do not belong into a suite"
        problems.add_and_raise(
            start, found=found, expected=f"at most {MAX_FILE_BYTES:,}", next_step=next_step
        )
    encoding = next(
        (name for mark, name in _OTHER_ENCODINGS.items() if data.startswith(mark)), None
    )
    if encoding is None and b"\0" in data[:4]:
        encoding = "UTF-16 or UTF-32 without a byte order mark"
    if encoding is not None:
        problems.add_and_raise(
            start,
            found=f"a file in {encoding}",
            expected="UTF-8",
            next_step="save the file as UTF-8",
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        mark = Location(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
        found = f"the byte 0x{data[error.start]:02x}"
        problems.add_and_raise(
            mark, found=found, expected="UTF-8", next_step="save the file as UTF-8"
        )


MAX_VALUES = 10_000
MAX_NESTING = 40
_TAB_IN_MESSAGE = "\\t"  # as PyYAML shows a tab in its messages


def read_yaml(path: Path, *, file: str, problems: Problems) -> tuple[Located, str]:
    """The file's values, and its text; `file` is its name in messages.

    Raises:
        BadInput: The file cannot be read as YAML at all.
    """
    start = Location(file, 1, 1)
    text = read_source_text(path, file=file, problems=problems)
    try:
        node = _Composer(text).get_single_node()
    except _TooManyValues as error:
        found, expected = (
            f"more than {2 * MAX_VALUES:,} keys and values",
            f"at most {MAX_VALUES:,} values",
        )
        mark = Location(file, error.first_mark.line + 1, error.first_mark.column + 1)
        problems.add_and_raise(mark, found=found, expected=expected, next_step="write fewer")
    except ReaderError as error:
        before = text[: error.position]
        mark = Location(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
        found = describe_character(chr(error.character))
        problems.add_and_raise(mark, found=found, expected="printable text", next_step="remove it")
    except yaml.MarkedYAMLError as error:
        place = error.problem_mark or error.context_mark
        mark = Location(file, place.line + 1, place.column + 1) if place else start
        found = ", ".join(filter(None, (error.context, error.problem)))
        next_step = (
            "write spaces in place of tabs"
            if _TAB_IN_MESSAGE in found
            else "mend it there or just above"
        )
        problems.add_and_raise(
            mark, found=f"broken YAML ({found})", expected="YAML", next_step=next_step
        )
    if node is None:
        problems.add_and_raise(
            start,
            found="an empty file",
            expected="a suite",
            next_step="start from `suites/quickstart.yaml`",
        )
    return _NodeConverter(file, problems).to_located(node), text


class _Composer(Reader, Scanner, Parser, Composer, CoreResolver):
    """Text to YAML nodes with their places: no deeper than `MAX_NESTING`, no more than `MAX_VALUES` keys and values."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        CoreResolver.__init__(self)
        self._depth = self._nodes = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        if self._depth == MAX_NESTING:
            raise ComposerError(
                None, None, f"nested deeper than {MAX_NESTING} levels", self._next_mark()
            )
        if self._nodes == 2 * MAX_VALUES:
            raise _TooManyValues(self._next_mark())
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

    def _next_mark(self) -> yaml.Mark:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it without types
        return cast(yaml.Mark, event.start_mark)


class _TooManyValues(Exception):
    """More keys and values than are read; holds the place of the first."""

    def __init__(self, place: yaml.Mark) -> None:
        self.first_mark = place


class _NodeConverter:
    """YAML nodes to marked values, each alias counted as what it stands for."""

    def __init__(self, file: str, problems: Problems) -> None:
        self._file, self._problems = file, problems
        self._value_count = 0
        self._ancestors: list[Node] = []

    def to_located(self, node: Node, *, key: Location | None = None) -> Located:
        """The value of a node; `key` is where its name stands."""
        mark = self._count_node(node)
        if isinstance(node, ScalarNode):
            text = self._printable_text(node.value, mark)
            value = read_scalar(node.tag, text, mark=mark, problems=self._problems)
            return Located(value.value, mark, key, value.text)
        if node.tag not in ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            self._problems.add_unreadable(
                mark, found=f"the tag {node.tag!r}", expected="no tag", next_step="remove it"
            )
        self._ancestors.append(node)
        try:
            if isinstance(node, MappingNode):
                return Located(self._convert_mapping(node), mark, key)
            return Located(tuple(self.to_located(one) for one in node.value), mark, key)
        finally:
            self._ancestors.pop()

    def _count_node(self, node: Node) -> Location:
        mark = self._location_of(node)
        self._value_count += 1
        if self._value_count > MAX_VALUES:
            found = f"more than {MAX_VALUES:,} values, aliases counted as what they stand for"
            self._problems.add_and_raise(
                mark, found=found, expected=f"at most {MAX_VALUES:,}", next_step="write fewer"
            )
        if any(node is one for one in self._ancestors):
            found = "an alias inside what it stands for"
            self._problems.add_and_raise(
                mark,
                found=found,
                expected="an alias to something else",
                next_step="remove the alias",
            )
        return mark

    def _convert_mapping(self, node: MappingNode) -> dict[str, Located]:
        own: dict[str, Located] = {}
        below: dict[str, Located] = {}
        seen: dict[str, Location] = {}
        for name_node, value_node in node.value:
            name, mark = self._convert_key(name_node, value_node), self._location_of(name_node)
            if name is None:
                continue
            if name in seen:
                found = f"the key {name!r} again (first in line {seen[name].line})"
                self._problems.add(
                    mark, found=found, expected="each key once", next_step="remove one of them"
                )
                continue
            seen[name] = mark
            if name_node.tag == MERGE:
                below = self._merged_values(value_node)
            else:
                own[name] = self.to_located(value_node, key=mark)
        return {**below, **own}

    def _convert_key(self, node: Node, below: Node) -> str | None:
        if isinstance(node, ScalarNode) and node.tag in (STR, MERGE):
            return self._printable_text(node.value, self._location_of(node))
        found = quote_name(node.value) if isinstance(node, ScalarNode) else "a list or mapping"
        alone = (
            isinstance(below, ScalarNode) and not below.value
        )  # ``{eps: 0,031}`` has the key 031
        next_step = (
            "write a point in place of a decimal comma" if alone else "put the key in quotes"
        )
        self._problems.add(
            self._location_of(node),
            found=f"{found} as a key",
            expected="a text",
            next_step=next_step,
        )
        return None

    def _merged_values(self, node: Node) -> dict[str, Located]:
        """What ``<<`` brings: of several mappings the first that has a key wins."""
        value = self.to_located(node)
        parts = value.value if isinstance(value.value, tuple) else (value,)
        brought: dict[str, Located] = {}
        for part in parts:
            if isinstance(part.value, dict):
                brought = {**part.value, **brought}
            else:
                next_step = "name one with an alias: `<<: *name`"
                self._problems.add(
                    part.location,
                    found=part.shown_text(),
                    expected="a mapping to merge",
                    next_step=next_step,
                )
        return brought

    def _printable_text(self, text: str, mark: Location) -> str:
        """A text without what it may not hold, which is a problem."""
        text = join_surrogates(text)
        found = forbidden_character(text)
        if found is not None:
            self._problems.add_unreadable(
                mark, found=found, expected="printable text", next_step="remove it"
            )
        return text

    def _location_of(self, node: Node) -> Location:
        return Location(self._file, node.start_mark.line + 1, node.start_mark.column + 1)
