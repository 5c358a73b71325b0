"""What the papers claim and what held here: one table of the claims of all boards, from their records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from advtransfer.leaderboard.claims import ClaimAnswer, verdicts_text
from advtransfer.leaderboard.claims_config import registered_commit
from advtransfer.leaderboard.claims_section import effect_text, notes_list, verdict_text
from advtransfer.leaderboard.markdown import (
    escape_markdown,
    inline_code,
    join_parts,
    markdown_table,
)
from advtransfer.leaderboard.page import Page
from advtransfer.publication.board import Board
from advtransfer.text import ABSENT

FINDINGS_FILE = "findings.md"
HEADER = ("claim", "paper", "as reported", "measured", "n", "verdict", "suite", "rule of")
INTRODUCTION = (
    "What the papers claim, and what held at the size of these suites. Each row is made from the records of its suite; "
    "the page of the suite has the margin, the corrected p and the smallest effect that its design finds, and says how "
    "a verdict comes about. *Rule of*: the commit that held claim, margin and expected power before the run, as the "
    "suite says and `advtransfer verify` checks; without one the row is exploratory. The figures as reported are of "
    "other data, networks and attacks. Notes on claims and on suites stand below the table."
)


def findings_page(pages: Mapping[str, Page], boards: Sequence[Board]) -> str:
    """Return the table of all claims in markdown, ordered by name; empty where no board has a claim.

    Args:
        pages: The page of each board, by suite.
        boards: The boards.
    """
    rows: list[tuple[tuple[str, int, str], list[str]]] = []
    answers: list[ClaimAnswer] = []
    for board in boards:
        for answer in pages[board.suite].claims:
            answers.append(answer)
            rows.append((_name_key(answer.claim.name), _row(answer, board)))
    if not rows:
        return ""
    table = markdown_table(
        HEADER,
        [cells for _, cells in sorted(rows)],
        right=[False, False, False, True, False, False, False, False],
    )
    answers.sort(key=lambda answer: _name_key(answer.claim.name))
    suites = "\n".join(
        f"- {inline_code(board.suite)}: {escape_markdown(str(note))}"
        for board in boards
        if pages[board.suite].claims and (note := board.leaderboard.get("note"))
    )
    notes = [notes_list(answers), suites]
    parts = ["# Findings", INTRODUCTION, verdicts_text(answers), table, *notes]
    return f"{join_parts(parts)}\n"


def _row(answer: ClaimAnswer, board: Board) -> list[str]:
    claim, effect = answer.claim, answer.effect
    commit = registered_commit(board.leaderboard)
    cited = escape_markdown(f"{claim.paper}, {claim.place}")
    return [
        escape_markdown(f"{claim.name}: {claim.text}"),
        cited,
        escape_markdown(claim.reported),
        ABSENT if effect is None else effect_text(effect),
        escape_markdown(answer.reason if effect is None else effect.basis),
        verdict_text(answer),
        f"[{escape_markdown(board.suite)}](<{board.suite}/README.md>)",
        inline_code(commit[:12]) if commit and claim.kind else ABSENT,
    ]


def _name_key(name: str) -> tuple[str, int, str]:
    """Return a key that sorts B2 before B10."""
    letters = name.rstrip("0123456789")
    digits = name[len(letters) :]
    return letters, int(digits or 0), name
