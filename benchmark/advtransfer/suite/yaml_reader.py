"""Reader of suite files, from UTF-8 text to located values.

Broken YAML, duplicate keys, invisible characters and alias bombs are reported with their position.
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

# Embeddings, overrides and isolates show text in another order than it is stored. Names could then
# look equal and differ (Boucher and Anderson, "Trojan Source", 2021).
_BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
# Joiners (U+200C, U+200D) and direction marks (U+200E, U+200F) are not among them, since emoji and
# several scripts are spelled with them.
_INVISIBLE = "\u200b\u2060\u2061\u2062\u2063\u2064\ufeff\ufff9\ufffa\ufffb"
_CONTROL_NAMES = {
    "\0": "NULL",
    "\x1b": "ESCAPE",
    "\x07": "BELL",
    "\x08": "BACKSPACE",
    "\x7f": "DELETE",
}


def join_surrogates(text: str) -> str:
    """Return the text with each pair of surrogates (JSON's spelling of an emoji) joined."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def forbidden_character(text: str) -> str | None:
    """Return a description of the first character that a suite must not contain, or None."""
    for character in text:
        if not _is_allowed(character):
            return describe_character(character)
    return None


def describe_character(character: str) -> str:
    """Return the code point and name of a character that cannot be printed as it is."""
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
"""Limit on the size of a suite file. Shipped suites have up to 5,000 bytes; PyYAML parses a file
beyond this limit for minutes."""

_OTHER_ENCODINGS = {
    # UTF-32 comes first, since its little-endian mark begins with that of UTF-16.
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def read_source_text(path: Path, *, file: str, problems: Problems) -> str:
    """Return the text of a file; `file` is its name in messages.

    Raises:
        BadInput: The file cannot be read, is too large, or is not UTF-8.
    """
    start = Location(file, 1, 1)
    data = _read_bytes(path, start=start, problems=problems)
    encoding = _other_encoding(data)
    if encoding is not None:
        problems.add_and_raise(
            start,
            found=f"a file in {encoding}",
            expected="UTF-8",
            next_step="save the file as UTF-8",
        )
    try:
        # Some editors begin a UTF-8 file with a byte order mark, which "utf-8-sig" drops.
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        problems.add_and_raise(
            _end_of_text(before, file=file),
            found=f"the byte 0x{data[error.start]:02x}",
            expected="UTF-8",
            next_step="save the file as UTF-8",
        )


def _read_bytes(path: Path, *, start: Location, problems: Problems) -> bytes:
    try:
        # Reading one byte more than the limit detects a large file, or an endless one such as
        # /dev/zero, without reading all of it.
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
        problems.add_and_raise(
            start,
            found=f"a file of {max(size, len(data)):,} bytes",
            expected=f"at most {MAX_FILE_BYTES:,}",
            next_step="split it into several suites; data do not belong into a suite",
        )
    return data


def _other_encoding(data: bytes) -> str | None:
    """Return the name of an encoding other than UTF-8 that the first bytes show, or None."""
    for mark, encoding in _OTHER_ENCODINGS.items():
        if data.startswith(mark):
            return encoding
    if b"\0" in data[:4]:
        return "UTF-16 or UTF-32 without a byte order mark"
    return None


def _end_of_text(before: str, *, file: str) -> Location:
    """Return the position just after a text, which is the part of the file before a mistake."""
    return Location(file, before.count("\n") + 1, len(before) - before.rfind("\n"))


MAX_VALUES = 10_000
MAX_NESTING = 40
# PyYAML's messages show a tab in this form.
_TAB_IN_MESSAGE = "\\t"


def read_yaml(path: Path, *, file: str, problems: Problems) -> tuple[Located, str]:
    """Return the values of a file and its text; `file` is its name in messages.

    Raises:
        BadInput: The file cannot be read as YAML at all.
    """
    text = read_source_text(path, file=file, problems=problems)
    return parse_yaml(text, file=file, problems=problems), text


def parse_yaml(text: str, *, file: str, problems: Problems) -> Located:
    """Return the values of a YAML text; `file` is its name in messages.

    Raises:
        BadInput: The text is not YAML, or too long.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_FILE_BYTES:
        problems.add_and_raise(
            Location(file, 1, 1),
            found=f"a text of {size:,} bytes",
            expected=f"at most {MAX_FILE_BYTES:,}",
            next_step="split it into several suites; data do not belong into a suite",
        )
    node = _compose_document(text, file=file, problems=problems)
    if node is None:
        problems.add_and_raise(
            Location(file, 1, 1),
            found="an empty file",
            expected="a suite",
            next_step="start from `suites/quickstart.yaml`",
        )
    return _NodeConverter(file, problems).to_located(node)


def _compose_document(text: str, *, file: str, problems: Problems) -> Node | None:
    """Return the root node of a YAML text, or None where it is empty.

    Raises:
        BadInput: The text is not YAML, or has too many values.
    """
    try:
        return _Composer(text).get_single_node()
    except _TooManyValues as error:
        problems.add_and_raise(
            _as_location(error.first_mark, file),
            found=f"more than {2 * MAX_VALUES:,} keys and values",
            expected=f"at most {MAX_VALUES:,} values",
            next_step="write fewer",
        )
    except ReaderError as error:
        problems.add_and_raise(
            _end_of_text(text[: error.position], file=file),
            found=describe_character(chr(error.character)),
            expected="printable text",
            next_step="remove it",
        )
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = ", ".join(filter(None, (error.context, error.problem)))
        has_tab = _TAB_IN_MESSAGE in message
        problems.add_and_raise(
            _as_location(mark, file) if mark else Location(file, 1, 1),
            found=f"broken YAML ({message})",
            expected="YAML",
            next_step="write spaces in place of tabs"
            if has_tab
            else "correct it there or just above",
        )


def _as_location(mark: yaml.Mark, file: str) -> Location:
    # PyYAML counts lines and columns from 0, editors from 1.
    return Location(file, mark.line + 1, mark.column + 1)


class _Composer(Reader, Scanner, Parser, Composer, CoreResolver):
    """Composer of YAML nodes with positions, which stops at `MAX_NESTING` and at `MAX_VALUES`."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        CoreResolver.__init__(self)
        self._depth = self._nodes = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        # The composer recurses. Without this limit a file of opening brackets would end in a
        # RecursionError, which has no position.
        if self._depth == MAX_NESTING:
            raise ComposerError(
                None, None, f"nested deeper than {MAX_NESTING} levels", self._next_mark()
            )
        # A mapping has two nodes for each value, its key and the value.
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
        # PyYAML gives an escape such as \UFFFFFFFF to chr() without a check.
        except (ValueError, OverflowError) as error:
            raise ScannerError(None, None, "an escape of no character", self.get_mark()) from error

    def _next_mark(self) -> yaml.Mark:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it without types
        return cast(yaml.Mark, event.start_mark)


class _TooManyValues(Exception):
    """More keys and values than are read; holds the position of the first one that is too many."""

    def __init__(self, mark: yaml.Mark) -> None:
        self.first_mark = mark


class _NodeConverter:
    """Converter of YAML nodes to located values.

    An alias is converted each time it is used. Its values count each time, so that a short file
    cannot stand for billions of values ("billion laughs").
    """

    def __init__(self, file: str, problems: Problems) -> None:
        self._file, self._problems = file, problems
        self._value_count = 0
        self._ancestors: list[Node] = []

    def to_located(self, node: Node, *, key: Location | None = None) -> Located:
        """Return the value of a node; `key` is the position of its key."""
        mark = self._count_node(node)
        if isinstance(node, ScalarNode):
            text = self._printable_text(node.value, mark)
            value = read_scalar(node.tag, text, mark=mark, problems=self._problems)
            return Located(value.value, mark, key, value.text)
        if node.tag not in ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            self._problems.add_unreadable(
                mark, found=f"the tag {node.tag!r}", expected="no tag", next_step="remove it"
            )
        # An alias to a node that is being converted would never end.
        self._ancestors.append(node)
        try:
            if isinstance(node, MappingNode):
                return Located(self._convert_mapping(node), mark, key)
            return Located(tuple(self.to_located(item) for item in node.value), mark, key)
        finally:
            self._ancestors.pop()

    def _count_node(self, node: Node) -> Location:
        mark = self._location_of(node)
        self._value_count += 1
        if self._value_count > MAX_VALUES:
            found = f"more than {MAX_VALUES:,} values, each use of an alias counted"
            self._problems.add_and_raise(
                mark, found=found, expected=f"at most {MAX_VALUES:,}", next_step="write fewer"
            )
        if any(node is ancestor for ancestor in self._ancestors):
            found = "an alias inside the value that it names"
            self._problems.add_and_raise(
                mark,
                found=found,
                expected="an alias to something else",
                next_step="remove the alias",
            )
        return mark

    def _convert_mapping(self, node: MappingNode) -> dict[str, Located]:
        own: dict[str, Located] = {}
        merged: dict[str, Located] = {}
        seen: dict[str, Location] = {}
        for name_node, value_node in node.value:
            name = self._convert_key(name_node, value_node)
            mark = self._location_of(name_node)
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
                merged = self._merged_values(value_node)
            else:
                own[name] = self.to_located(value_node, key=mark)
        # A mapping's own keys win over those that it merges.
        return {**merged, **own}

    def _convert_key(self, node: Node, value_node: Node) -> str | None:
        if isinstance(node, ScalarNode) and node.tag in (STR, MERGE):
            return self._printable_text(node.value, self._location_of(node))
        key_text = quote_name(node.value) if isinstance(node, ScalarNode) else "a list or mapping"
        # YAML reads `{eps: 0,031}` as eps = 0 and a second key 031 without a value.
        is_decimal_comma = isinstance(value_node, ScalarNode) and not value_node.value
        self._problems.add(
            self._location_of(node),
            found=f"{key_text} as a key",
            expected="a text",
            next_step=(
                "write a point in place of a decimal comma"
                if is_decimal_comma
                else "put the key in quotes"
            ),
        )
        return None

    def _merged_values(self, node: Node) -> dict[str, Located]:
        """Return the values of the merge key ``<<``.

        Of several mappings the first that has a key wins.
        """
        value = self.to_located(node)
        parts = value.value if isinstance(value.value, tuple) else (value,)
        merged: dict[str, Located] = {}
        for part in parts:
            if isinstance(part.value, dict):
                merged = {**part.value, **merged}
            else:
                next_step = "name one with an alias: `<<: *name`"
                self._problems.add(
                    part.location,
                    found=part.shown_text(),
                    expected="a mapping to merge",
                    next_step=next_step,
                )
        return merged

    def _printable_text(self, text: str, mark: Location) -> str:
        """Return a scalar's text, and add a problem for a forbidden character."""
        text = join_surrogates(text)
        forbidden = forbidden_character(text)
        if forbidden is not None:
            self._problems.add_unreadable(
                mark, found=forbidden, expected="printable text", next_step="remove it"
            )
        return text

    def _location_of(self, node: Node) -> Location:
        return _as_location(node.start_mark, self._file)
