"""The page of a run as one HTML file: no request, no other file, no script but its own.

Every table can be sorted and filtered, and each row of a results table opens its evidence. All
foreign text is escaped; a Content-Security-Policy allows the file's own script and style by their
sha256 and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from advtransfer.export.evidence import NAME_AXES, EvidenceIndex
from advtransfer.export.figure_uri import figure_uri
from advtransfer.export.page_blocks import (
    Block,
    BulletList,
    FigureLink,
    Folded,
    Heading,
    PageTable,
    Paragraph,
    Text,
    parse_page,
    plain_text,
)
from advtransfer.leaderboard.table_rows import LeaderboardRow
from advtransfer.text import ABSENT, printable_text
from advtransfer.toolkit.plot_style import DARK_SCHEME
from advtransfer.types import Json

ReadFigure: TypeAlias = "Callable[[str], bytes | None]"
"""Returns the content of a figure by its path from the page; None where there is none."""

NUMBER = re.compile(r"[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:e[-+]?\d+)?")
JSON_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def html_page(markdown: str, *, title: str, evidence: EvidenceIndex, figures: ReadFigure) -> str:
    """Return the page as one HTML document.

    Args:
        markdown: The page.
        title: Title of the document.
        evidence: Evidence of the rows of the results tables.
        figures: Reads the figures that the page shows.
    """
    style, script = _asset("page.css"), _asset("page.js")
    policy = (
        f"default-src 'none'; script-src {_source_hash(script)}; style-src {_source_hash(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    writer = _PageWriter(evidence, figures)
    body = "\n".join(writer.render(parse_page(markdown)))
    return (
        "<!doctype html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{escape_html(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f"<main>\n{body}\n</main>\n"
        f'<script type="application/json" id="evidence">{script_json(evidence.to_json())}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def escape_html(text: str) -> str:
    """Return a text as content of an element or a quoted attribute."""
    return html.escape(printable_text(text), quote=True)


def script_json(value: Json) -> str:
    """Return a value as JSON that cannot end the script element around it."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.translate(JSON_ESCAPES)


def sort_value(cell: Text, *, is_number: bool) -> str:
    """Return what a cell is sorted by; an empty text is sorted last."""
    text = plain_text(cell).strip()
    if text == ABSENT:
        return ""
    if not is_number:
        return text.casefold()
    match = NUMBER.search(text.replace("\u2212", "-"))
    return match[0].replace(",", "") if match else ""


def text_html(text: Text) -> str:
    """Return a text with its styles as HTML; only links to web pages stay links."""
    parts: list[str] = []
    for span in text:
        part = escape_html(span.text)
        if span.code:
            part = f"<code>{part}</code>"
        if span.target.startswith(("https://", "http://")):
            part = f'<a href="{escape_html(span.target)}" rel="noopener noreferrer">{part}</a>'
        parts.append(f"<strong>{part}</strong>" if span.bold else part)
    return "".join(parts)


class _PageWriter:
    """Writes the blocks of a page; remembers which results table it is in."""

    def __init__(self, evidence: EvidenceIndex, figures: ReadFigure) -> None:
        self._evidence = evidence
        self._figures = figures
        self._rows: Sequence[LeaderboardRow] = ()
        self._announced: Sequence[LeaderboardRow] = ()
        self._heading = ""
        self._tables = 0

    def render(self, blocks: Iterator[Block]) -> Iterator[str]:
        """Yield the HTML of each block."""
        for block in blocks:
            match block:
                case Heading():
                    # Any other heading ends the rows of a results table.
                    self._rows = self._evidence.rows_under(block.source)
                    self._announced = ()
                    self._heading = plain_text(block.text)
                    yield f"<h{block.level}>{text_html(block.text)}</h{block.level}>"
                case Paragraph():
                    announced = self._evidence.rows_announced(plain_text(block.text))
                    self._announced = announced or self._announced
                    yield f"<p>{text_html(block.text)}</p>"
                case BulletList():
                    items = "".join(f"<li>{text_html(item)}</li>" for item in block.items)
                    yield f"<ul>{items}</ul>"
                case PageTable():
                    yield self._table(block, self._announced or self._rows)
                    self._announced = ()
                case FigureLink():
                    yield self._figure(block)
                case Folded(None):
                    yield "</details>"
                case Folded(summary):
                    yield f"<details><summary>{text_html(summary or ())}</summary>"

    def _figure(self, link: FigureLink) -> str:
        alternative = escape_html(link.alternative)
        content = self._figures(link.path)
        if content is None:
            return f'<p class="note">{alternative}: this figure is not in the run.</p>'
        uri = figure_uri(link.path, content)
        if uri is None:
            note = "this figure was refused: it is no plain image (script, or links to elsewhere)"
            return f'<p class="note">{alternative}: {note}.</p>'
        # A figure that has no inks for a dark page was drawn for a white one.
        scheme = "" if DARK_SCHEME.encode() in content else ' class="light"'
        return f'<figure><img{scheme} src="{uri}" alt="{alternative}"></figure>'

    def _table(self, table: PageTable, results: Sequence[LeaderboardRow]) -> str:
        """Return a table; `results` are the rows that its lines may be, none for other tables."""
        self._tables += 1
        name = f"table{self._tables}"
        label = escape_html(self._heading or "table")
        heads: list[str] = []
        if results:
            heads.append('<th scope="col"><span class="hidden">Evidence</span></th>')
        for text, is_number in zip(table.header, table.right, strict=True):
            kind = "number" if is_number else "text"
            heads.append(
                f'<th scope="col" class="{kind}" aria-sort="none"><button type="button" '
                f'class="sort">{text_html(text)}</button></th>'
            )
        names = [plain_text(text) for text in table.header]
        keys = [self._evidence_cell(results, names, cells) for cells in table.rows]
        rows = "\n".join(
            f"<tr>{key}{_row_cells(table.right, cells)}</tr>"
            for key, cells in zip(keys, table.rows, strict=True)
        )
        return (
            f'<div class="tools"><label>Filter <input type="search" aria-controls="{name}" '
            f'aria-label="Filter the rows of: {label}"></label> '
            f'<output aria-live="polite">{len(table.rows)} rows</output></div>\n'
            f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">'
            f'<table id="{name}"><thead><tr>{"".join(heads)}</tr></thead>\n'
            f"<tbody>\n{rows}\n</tbody></table></div>"
        )

    def _evidence_cell(
        self, results: Sequence[LeaderboardRow], names: Sequence[str], cells: Sequence[Text]
    ) -> str:
        """Return the cell that opens the evidence of a row; nothing in other tables."""
        if not results:
            return ""
        texts = dict(zip(names, map(plain_text, cells), strict=True))
        key = self._evidence.row_key(results, texts)
        if key is None:
            return "<td></td>"
        label = ", ".join(texts[axis] for axis in NAME_AXES if axis in texts)
        return (
            f'<td><button type="button" class="open" data-row="{key}" aria-expanded="false" '
            f'aria-label="{escape_html(f"Evidence of {label}")}">+</button></td>'
        )


def _row_cells(right: Sequence[bool], cells: Sequence[Text]) -> str:
    parts: list[str] = []
    for cell, is_number in zip(cells, right, strict=True):
        kind = "number" if is_number else "text"
        value = escape_html(sort_value(cell, is_number=is_number))
        parts.append(f'<td class="{kind}" data-value="{value}">{text_html(cell)}</td>')
    return "".join(parts)


@lru_cache
def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text("utf-8")


def _source_hash(content: str) -> str:
    digest = hashlib.sha256(content.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
