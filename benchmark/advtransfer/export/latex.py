"""The results tables of the page as LaTeX, with rules of the package booktabs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from advtransfer.export.page_blocks import (
    Block,
    Heading,
    PageTable,
    Paragraph,
    Text,
    parse_page,
)
from advtransfer.text import printable_text

LATEX_HEADER = (
    "% Tables of an advtransfer run. In the preamble: \\usepackage{booktabs,amssymb,graphicx}\n"
    "% Then \\input this file, or copy a table out of it.\n"
)
FIT_TO_LINE = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
"""Begin of a box that is made as wide as the line where it is wider."""
MINUS_SIGN = re.compile(r"(?<![\w-])-(?=\.?\d)")
"""A hyphen in front of a number."""
LATEX_CHARACTERS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\symbol{34}",  # babel gives the plain one other meanings
    "`": r"\symbol{96}",
    "-": "-{}",
    "\u2013": "--",
    "\u2014": "---",
    "\u2212": "$-$",
    "\u0394": r"$\Delta$",
    "\u2713": r"$\checkmark$",
    "\u2020": r"\dag{}",
    "\u2021": r"\ddag{}",
    "\u00a7": r"\S{}",
    "\u00b6": r"\P{}",
    "\u25ca": r"$\lozenge$",
    "\u00d7": r"$\times$",
    "\u2019": "'",
    "\u00b1": r"$\pm$",
    "\u2264": r"$\leq$",
    "\u2265": r"$\geq$",
    "\u00a0": "~",
}
"""What stands for a character. A hyphen is followed by an empty group, since two are a ligature."""


def latex_tables(markdown: str, headings: Collection[str]) -> str:
    """Return the tables under some headings of a page, with heading and notes as captions.

    Args:
        markdown: The page.
        headings: Headings of the results tables, as the page writes them.
    """
    return LATEX_HEADER + "\n".join(_tables_under(headings, list(parse_page(markdown))))


def escape_latex(text: str) -> str:
    """Return a text that LaTeX sets as it is, with any engine.

    A character that pdfLaTeX cannot set becomes its code point, such as ``U+4E2D``.
    """
    signed = MINUS_SIGN.sub("\u2212", printable_text(text))
    return "".join(map(_latex_character, signed))


def text_latex(text: Text) -> str:
    """Return a text with its styles."""
    parts: list[str] = []
    for span in text:
        part = escape_latex(span.text)
        if span.code:
            part = rf"\texttt{{{part}}}"
        parts.append(rf"\textbf{{{part}}}" if span.bold else part)
    return "".join(parts)


def _tables_under(headings: Collection[str], blocks: list[Block]) -> Iterator[str]:
    """Yield the tables under the headings; a paragraph after a table is its note."""
    title: Text | None = None
    for block, following in zip(blocks, [*blocks[1:], None], strict=True):
        if isinstance(block, Heading):
            title = block.text if block.source in headings else None
        if isinstance(block, PageTable) and title is not None:
            note = following.text if isinstance(following, Paragraph) else ()
            yield table_latex(block, title, note)


def table_latex(table: PageTable, title: Text, note: Text) -> str:
    """Return one table, with its title and note as caption."""
    columns = "".join("r" if is_right else "l" for is_right in table.right)
    caption = f"{text_latex(title)}. {text_latex(note)}".strip()
    lines = [
        r"\begin{table}",
        r"\centering",
        r"\small",
        r"\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{caption}}}",
        FIT_TO_LINE,
        rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
        r"\toprule",
        _row_latex(table.header),
        r"\midrule",
        *map(_row_latex, table.rows),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)


def _row_latex(cells: tuple[Text, ...]) -> str:
    # A bracket after the line break of the row before would be read as its optional argument.
    texts = [text_latex(cell).replace("[", "{[}").replace("]", "{]}") for cell in cells]
    return " & ".join(texts) + r" \\"


def _latex_character(character: str) -> str:
    if character in LATEX_CHARACTERS:
        return LATEX_CHARACTERS[character]
    if character.isascii():
        return character if character.isprintable() else " "
    # The accented letters of Latin-1, without those that need another font encoding.
    if "\u00c0" <= character <= "\u00ff" and character.isalpha() and character not in "ÐðÞþ":
        return character
    return f"U+{ord(character):04X}"
