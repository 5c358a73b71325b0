"""The index of published pages: for each suite its answer, its best row, and the date of its records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from advtransfer.leaderboard.markdown import escape_markdown, join_parts
from advtransfer.leaderboard.page import Page

READING = (
    "Each suite asks one question. Its answer is generated from the numbers of its page: *cannot tell* "
    "means that the 95 % interval of the difference includes 0, that the row was chosen among others and "
    "does not stand out from them, or that a correlation has no p below .05. *Yes* and *no* rest on the one "
    "difference that the suite names. A best row has the best mean; its range of ranks, such as 1-3, tells that up "
    "to two others may be better. ✓ 1.5: a checked robust accuracy; the host's own attacks broke 1.5 % more of the "
    "images, and these count as broken. A page holds the tables, the evidence behind each number, and at its end "
    "what it was measured on and how its tables are read."
)
SUBMITTING = (
    "Results are submitted as a pull request that adds a folder below `results/`; "
    "[docs/submit.md](../docs/submit.md) says how, and what is checked."
)


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One page of the index.

    Attributes:
        title: The suite's question, as the suite writes it.
        link: Path of the page from the index.
        answer: The answer in markdown, empty without one.
        best_row: The best row in a sentence of markdown, empty without one.
        date: Day of the newest record, empty where no record tells.
    """

    title: str
    link: str
    answer: str = ""
    best_row: str = ""
    date: str = ""


def index_entry(page: Page, *, title: str, link: str) -> IndexEntry:
    """Return the entry of a page."""
    answer = "" if page.answer is None else page.answer.text
    return IndexEntry(title, link, answer, page.best_row, page.date)


def index_page(pages: Sequence[IndexEntry], *, findings: str = "") -> str:
    """Return the index in markdown, in the order of the entries; `findings` is the path of the page of all claims."""
    parts = ["# Leaderboards"]
    if findings:
        parts.append(f"What the papers claim, and what held here: [findings]({findings}).")
    for page in pages:
        # Angle brackets, since a suite's name may hold spaces and brackets.
        link = page.link.replace("<", "%3C").replace(">", "%3E").replace("\n", "%0A")
        date = f"Newest record: {page.date}." if page.date else ""
        heading = f"## [{escape_markdown(page.title)}](<{link}>)"
        parts.append(join_parts([heading, page.answer, join_parts([page.best_row, date], " ")]))
    parts += ["## How to read", READING, "## How to submit", SUBMITTING]
    return f"{join_parts(parts)}\n"
