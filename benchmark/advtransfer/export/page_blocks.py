"""The page of a run as blocks: headings, paragraphs, lists, tables and figures.

The page is written as markdown by `advtransfer.leaderboard`. Other formats are made from its
blocks, so that they show the same texts and numbers. Only what the page's own writer
(`leaderboard/markdown.py`) produces is known here; anything else stays plain text.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias
from urllib.parse import unquote

ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
ENTITY = re.compile(r"&(?:[a-z]+|#\d+);")
CODE = re.compile(r"(`+)(.+?)(?<!`)\1(?!`)")
LINK = re.compile(r"\[((?:\\.|[^\[\]\\])*)\]\(([^()\s]*)\)")
IMAGE = re.compile(r"!\[((?:\\.|[^\[\]\\])*)\]\(([^()\s]*)\)")
HEADING = re.compile(r"(#{1,6}) (.+)")
SUMMARY = re.compile(r"<summary>(.*)</summary>")


class Span(NamedTuple):
    """A piece of text in one style; `target` is that of a link."""

    text: str
    bold: bool = False
    code: bool = False
    target: str = ""


Text: TypeAlias = "tuple[Span, ...]"


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading and its level, from 1; `source` is its markdown."""

    level: int
    text: Text
    source: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph."""

    text: Text


@dataclass(frozen=True, slots=True)
class BulletList:
    """A list of items."""

    items: tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class PageTable:
    """A table: its header, whether each column is aligned to the right, and its rows of cells."""

    header: tuple[Text, ...]
    right: tuple[bool, ...]
    rows: tuple[tuple[Text, ...], ...]


@dataclass(frozen=True, slots=True)
class FigureLink:
    """A figure: its alternative text, and its path from the page."""

    alternative: str
    path: str


@dataclass(frozen=True, slots=True)
class Folded:
    """Begin (with a summary) or end (None) of a part that is folded away at first."""

    summary: Text | None


Block: TypeAlias = "Heading | Paragraph | BulletList | PageTable | FigureLink | Folded"


def plain_text(text: Text) -> str:
    """Return a text without its styles."""
    return "".join(span.text for span in text)


def parse_page(markdown: str) -> Iterator[Block]:
    """Yield the blocks of a page."""
    lines = markdown.split("\n")
    at = 0
    while at < len(lines):
        line = lines[at].strip()
        if not line:
            at += 1
        elif line.startswith("|"):
            end = _end_of_run(lines, at, "|")
            yield _parse_table(lines[at:end])
            at = end
        elif line.startswith("- "):
            end = _end_of_run(lines, at, "- ")
            yield BulletList(tuple(parse_text(item.strip()[2:]) for item in lines[at:end]))
            at = end
        else:
            if line == "<details>" and at + 1 < len(lines):  # its summary is on the next line
                at += 1
                line += lines[at].strip()
            yield from _parse_line(line)
            at += 1


def parse_text(markdown: str) -> Text:
    """Return the spans of one line of markdown."""
    spans: list[Span] = []
    plain: list[str] = []
    bold = False
    at = 0

    def flush() -> None:
        if plain:
            spans.append(Span("".join(plain), bold))
            plain.clear()

    while at < len(markdown):
        if match := ESCAPED.match(markdown, at):
            plain.append(match[1])
        elif match := ENTITY.match(markdown, at):
            plain.append(html.unescape(match[0]))
        elif match := CODE.match(markdown, at):
            flush()
            spans.append(Span(match[2].replace(r"\|", "|"), bold, code=True))
        elif match := LINK.match(markdown, at):
            flush()
            spans.append(Span(plain_text(parse_text(match[1])), bold, target=match[2]))
        elif markdown.startswith("**", at):
            flush()
            bold = not bold
            at += 2
            continue
        else:
            plain.append(markdown[at])
            at += 1
            continue
        at = match.end()
    flush()
    return tuple(spans)


def _end_of_run(lines: Sequence[str], start: int, prefix: str) -> int:
    """Return the index after the lines from `start` on that begin with a prefix."""
    end = start
    while end < len(lines) and lines[end].strip().startswith(prefix):
        end += 1
    return end


def _parse_line(line: str) -> Iterator[Block]:
    """Yield the blocks of a line that is no part of a table or list."""
    if match := HEADING.fullmatch(line):
        yield Heading(len(match[1]), parse_text(match[2]), line)
    elif match := IMAGE.fullmatch(line):
        yield FigureLink(plain_text(parse_text(match[1])), unquote(match[2]))
    elif line == "</details>":
        yield Folded(None)
    elif line.startswith("<details>"):
        # Labels cannot begin a line so: their `<` is escaped.
        summary = SUMMARY.search(line)
        yield Folded(parse_text(summary[1]) if summary else ())
    else:
        yield Paragraph(parse_text(line))


def _parse_table(lines: Sequence[str]) -> PageTable:
    header, rule, *rows = (_split_cells(line) for line in lines)
    right = tuple(cell.endswith(":") for cell in rule)
    return PageTable(
        tuple(map(parse_text, header)),
        right,
        tuple(tuple(map(parse_text, row)) for row in rows),
    )


def _split_cells(line: str) -> list[str]:
    """Return the cells of a table's line; a pipe behind a backslash belongs to its cell."""
    cells = re.findall(r"((?:\\.|[^|\\])*)\|", line.strip()[1:])
    return [cell.strip() for cell in cells]
