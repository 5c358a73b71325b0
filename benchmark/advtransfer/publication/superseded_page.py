"""Pages of superseded boards, which stay as they are: of an earlier version, and of another suite."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

from advtransfer.errors import BadInput, Problem
from advtransfer.files import write_atomic
from advtransfer.leaderboard.markdown import escape_markdown
from advtransfer.leaderboard.publish import encode_page
from advtransfer.publication.board import Board, read_boards, write_board

RESULT_FILE_LINK = re.compile(r"\]\(\.\./results/(?P<bundle>[^)\s]+?)/files/(?P<file>[^)\s]+)\)")
"""A link from a page to a figure that a submission brought."""
SUPERSEDED = "**Superseded.**"
FROZEN_NOTE = f"{SUPERSEDED} This is an earlier version of the board; "


def freeze_page(folder: Path, board: Board) -> None:
    """Keep the page of a version that is about to be superseded, in a folder of its own.

    Args:
        folder: The folder of published results.
        board: The version.
    """
    page = folder / board.suite
    if not (page / "README.md").is_file():
        return
    kept = page / "versions" / board.digest[:16]
    kept.mkdir(parents=True, exist_ok=True)
    for path in page.iterdir():
        if path.is_file():
            shutil.copyfile(path, kept / path.name)
    text = (page / "README.md").read_text("utf-8")
    text = RESULT_FILE_LINK.sub(lambda link: _keep_figure(link, folder, kept), text)
    # Links go two folders further up from there.
    text = text.replace("](../results/", "](../../../results/")
    note = f"{FROZEN_NOTE}[the present one](../../README.md) is not comparable with it."
    write_atomic(kept / "README.md", encode_page(f"{note}\n\n{text}"))


def _keep_figure(link: re.Match[str], folder: Path, kept: Path) -> str:
    """Copy a figure of a submission, which its next version replaces, and return the link to the copy."""
    # Links are quoted, names of files are not.
    file = Path("files", unquote(link["file"]))
    copy = kept / file
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / "results" / unquote(link["bundle"]) / file, copy)
    return f"](files/{link['file']})"


def supersede_board(folder: Path, suite: str, successor: str) -> Board:
    """Mark the board of a suite as superseded by that of another one, and say so on its page.

    Records, board and page stay where they are, so that links to them hold.

    Args:
        folder: The folder of published results.
        suite: Suite of the board.
        successor: Suite of the board that takes its place.

    Returns:
        The board, as it was.

    Raises:
        BadInput: One of them has no present board, or both are the same.
    """
    boards = read_boards(folder)
    present = {board.suite: board for board in boards if board.superseded_by is None}
    expected = f"two of the present boards: {', '.join(sorted(present)) or 'none'}"
    problems: list[Problem] = []
    for name in (suite, successor):
        if name in present:
            continue
        if any(board.suite == name for board in boards):
            next_step = "nothing is to be done, or set `superseded_by` in its file to null"
            problems.append(Problem(f"{name!r}, which is superseded", expected, next_step))
        else:
            problems.append(Problem(f"no board {name!r}", expected, "correct the name"))
    if suite == successor:
        next_step = "publish it again with --found, which keeps the page of the version before"
        problems.append(Problem(f"{suite!r} in its own place", expected, next_step))
    if problems:
        raise BadInput(problems)
    page = folder / suite / "README.md"
    if page.is_file():
        note = f"{SUPERSEDED} {_page_link(successor, to='../')} takes its place; this page stays as it was."
        write_atomic(page, encode_page(f"{note}\n\n{page.read_text('utf-8')}"))
    write_board(folder, replace(present[suite], superseded_by=present[successor].digest))
    return present[suite]


def superseded_section(boards: Sequence[Board]) -> str:
    """Return the list of the boards in whose place those of other suites stand, in markdown; empty without any."""
    # Two suites may ask for the same, and have one digest: the present one is meant.
    ordered = sorted(boards, key=lambda each: each.superseded_by is None)
    suites = {board.digest: board.suite for board in ordered}
    present = {board.suite for board in boards if board.superseded_by is None}
    lines: list[str] = []
    for board in sorted(boards, key=lambda each: each.suite):
        successor = suites.get(board.superseded_by or "", board.suite)
        if board.suite not in present and successor != board.suite:
            lines.append(f"- {_page_link(board.suite)}, now {_page_link(successor)}")
    # A board whose versions are all superseded is one line.
    return "\n".join(["## Superseded", "", *dict.fromkeys(lines)]) if lines else ""


def _page_link(suite: str, *, to: str = "") -> str:
    """Return a link to the page of a suite; `to` leads to the folder of published results."""
    return f"[{escape_markdown(suite)}](<{to}{suite}/README.md>)"
