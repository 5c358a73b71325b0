"""Copies of a board's page that stay as they are when another version supersedes it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from urllib.parse import unquote

from advtransfer.files import write_atomic
from advtransfer.leaderboard.publish import encode_page
from advtransfer.publication.board import Board

RESULT_FILE_LINK = re.compile(r"\]\(\.\./results/(?P<bundle>[^)\s]+?)/files/(?P<file>[^)\s]+)\)")
"""A link from a page to a figure that a submission brought."""
FROZEN_NOTE = "**Superseded.** This is an earlier version of the board; "


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
