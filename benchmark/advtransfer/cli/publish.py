"""``advtransfer publish``: write a run as a submission to a board."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from advtransfer.cli.commands import Subcommand
from advtransfer.cli.completions import complete_run
from advtransfer.cli.output import print_note, print_product
from advtransfer.errors import BadInput, Problem
from advtransfer.files import default_cache_root
from advtransfer.host import Host
from advtransfer.publication.external import Archive
from advtransfer.publication.publish import Origin, publish_run
from advtransfer.result import Run
from advtransfer.text import printable_text


@click.command(cls=Subcommand, short_help="Write a run as a submission to a board.")
@click.argument("run", type=click.Path(path_type=Path), shell_complete=complete_run)
@click.option("--name", required=True, help="Name of the submission, which becomes its folder.")
@click.option("--who", required=True, help="The people who submit it.")
@click.option("--licence", required=True, help="SPDX id of the licence of the records: CC-BY-4.0.")
@click.option(
    "--citation",
    required=True,
    type=click.Path(path_type=Path),
    help="A text file that says how to cite it, such as CITATION.cff.",
)
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("leaderboard"),
    show_default=True,
    help="The folder of published results.",
)
@click.option("--board", help="Suite of the board, if several boards ask for the same.")
@click.option("--found", is_flag=True, help="Make a board of the run's suite, or a new version.")
@click.option("--no-pages", is_flag=True, help="Leave the pages to a later `advtransfer pages`.")
@click.option("--external", metavar="URL", help="Where arrays and files of a large run will be.")
@click.option(
    "--examples",
    type=click.IntRange(1, 1000),
    metavar="COUNT",
    help="Add adversarial examples of COUNT broken test images of each robust accuracy.",
)
@click.option(
    "--archive",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --external: the zip file to write, and to upload there.",
)
def command(
    run: Path,
    name: str,
    who: str,
    licence: str,
    citation: Path,
    into: Path,
    board: str | None,
    found: bool,
    no_pages: bool,
    external: str | None,
    examples: int | None,
    archive: Path | None,
) -> None:
    """Write RUN (a folder such as runs/quickstart) as results/<suite>/<name>, and all pages.

    The folder holds the records, a manifest, and a Merkle root of all of it. What the run asks for
    must be what its board asks for; a board says what submissions may add. The same records give the
    same bytes.
    """
    if (external is None) != (archive is None):
        given, missing = ("--external", "--archive") if external else ("--archive", "--external")
        raise BadInput([Problem(f"{given} alone", f"{missing} beside it", f"add {missing}")])
    kept = Archive(archive, external) if archive is not None and external is not None else None
    folder = publish_run(
        Run.open(run),
        into,
        Origin(name, who, licence, citation),
        board=board,
        found=found,
        pages=not no_pages,
        archive=kept,
        warn=lambda text: print_note(f"warning: {printable_text(text)}"),
        add_examples=None if examples is None else partial(_add_examples, count=examples),
    )
    print_product(str(folder))


def _add_examples(folder: Path, *, count: int) -> None:
    """Add examples to a submission. Its author has run its plugins before."""
    # Here alone, since it imports what fits models.
    from advtransfer.publication.examples import write_examples

    host = Host.discover()
    given, drawn = write_examples(folder, count=count, host=host, cache=default_cache_root())
    print_note(f"{given:,} examples of {drawn:,} drawn images")
