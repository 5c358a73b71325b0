"""``advtransfer pages``: make the pages of all boards again."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import click

from advtransfer.cli.commands import CommandFailure, Subcommand
from advtransfer.cli.output import print_note, print_product
from advtransfer.errors import BadInput, Problem
from advtransfer.leaderboard.claims_config import read_claims
from advtransfer.publication.publish import rebuild_pages
from advtransfer.publication.superseded_page import supersede_board
from advtransfer.text import printable_text


@click.command(cls=Subcommand, short_help="Make the pages of all boards again.")
@click.argument(
    "folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path("leaderboard"),
)
@click.option("--check", is_flag=True, help="Write nothing; fail if a page would be another.")
@click.option(
    "--supersede",
    nargs=2,
    multiple=True,
    metavar="SUITE SUCCESSOR",
    help="Mark the board of SUITE as superseded by that of SUCCESSOR first. Repeatable.",
)
def command(folder: Path, check: bool, supersede: tuple[tuple[str, str], ...]) -> None:
    """Make the pages in FOLDER (by default leaderboard) from its boards and submissions.

    A submission that its board does not list yet is added to it. The same boards and submissions
    give the same bytes on any machine. The page of a superseded board stays as it was, below a line that says so.
    """
    if check and supersede:
        found, expected = "--check with --supersede", "one of them"
        raise BadInput([Problem(found, expected, "leave out --check, which writes nothing")])
    for suite, successor in supersede:
        board = supersede_board(folder, suite, successor)
        if claims := read_claims(board.leaderboard):
            names = ", ".join(claim.name for claim in claims)
            _print_warning(f"{suite}: its claims are no longer among the findings: {names}")
    if check:
        _check_pages(folder)
        return
    for page in rebuild_pages(folder, warn=_print_warning):
        print_product(str(page))


def _check_pages(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "leaderboard"
        shutil.copytree(folder, copy, symlinks=True)
        rebuild_pages(copy)
        old, new = _contents(folder), _contents(copy)
    changed = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    if changed:
        raise CommandFailure(
            f"found other pages than the boards and submissions give: {', '.join(changed)}; "
            f"run: advtransfer pages {folder}"
        )


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def _print_warning(text: str) -> None:
    print_note(f"warning: {printable_text(text)}")
