"""``advtransfer verify``: check a published bundle against the board of this checkout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from advtransfer.cli.commands import Subcommand
from advtransfer.cli.completions import complete_run
from advtransfer.cli.output import print_note, print_product
from advtransfer.host import Host
from advtransfer.publication.board_check import load_boards
from advtransfer.publication.bundle_files import file_faults
from advtransfer.publication.challenge_checks import check_challenges
from advtransfer.publication.external import whole_bundle
from advtransfer.publication.manifest import EXAMPLE_FOLDER
from advtransfer.publication.report import verdict_line, verification_lines
from advtransfer.publication.verify import verify_bundle
from advtransfer.result.challenges import CHALLENGE_FOLDER


@click.command(cls=Subcommand, short_help="Check a published bundle without trusting it.")
@click.argument(
    "bundle", type=click.Path(path_type=Path, file_okay=False), shell_complete=complete_run
)
@click.option(
    "--boards",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("leaderboard/boards"),
    show_default=True,
    help="The folder of the boards that BUNDLE is held against.",
)
@click.option(
    "--replay",
    type=click.IntRange(min=1),
    metavar="K",
    help="Measure K trials of BUNDLE again, drawn at random.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    help="The seed of the draw, to repeat it; fresh if not given.",
)
@click.option(
    "--trust-plugins",
    "trusted",
    multiple=True,
    metavar="NAME==VERSION",
    help="A plugin of others whose code --replay may run.",
)
@click.option(
    "--no-board",
    is_flag=True,
    help="Accept a suite that has no board here; its bundle is held against itself alone.",
)
@click.option(
    "--external",
    "archives",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="An archive that the manifest of BUNDLE names, downloaded from its URL.",
)
@click.option(
    "--examples",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help="The examples of a challenge that are too large for BUNDLE; known by their sha256.",
)
@click.option(
    "--challenge",
    "required",
    multiple=True,
    metavar="ID",
    help="Fit the model of this challenge again; it is a fault if that or its examples cannot be checked.",
)
@click.pass_context
def command(
    ctx: click.Context,
    bundle: Path,
    boards: Path,
    replay: int | None,
    seed: int | None,
    trusted: tuple[str, ...],
    no_board: bool,
    archives: tuple[Path, ...],
    examples: tuple[Path, ...],
    required: tuple[str, ...],
) -> None:
    """Check BUNDLE, a folder such as leaderboard/results/quickstart/advtransfer.

    Ids, numbers, grades and verdicts are made again from what was asked and from the outcomes of
    images, and held against the board of this checkout. Nothing is run without --replay or --challenge.

    What the manifest says to be in an archive elsewhere is checked if --external gives the file, first
    by its digest, and named otherwise. Challenges are held against ball and box by their examples, and
    with --replay or --challenge against the model, fitted again.

    The exit code is 0 if nothing is wrong, and 1 otherwise.
    """
    host = Host.discover()
    local_boards = load_boards(bundle, boards, host)
    # A link or a file too large may not even be opened, nor copied.
    with whole_bundle(bundle, [] if file_faults(bundle) else archives) as whole:
        verification = verify_bundle(
            bundle, boards=local_boards, host=host, needs_board=not no_board, whole=whole
        )
        about_examples: list[str] = []
        if not verification.faults and (whole.path / EXAMPLE_FOLDER).exists():
            # Here alone, since it imports torch.
            from advtransfer.publication.example_checks import check_examples

            check = check_examples(whole.path, host=host, trusted=trusted)
            verification.faults += check.faults
            about_examples = check.lines()
        if not verification.faults and ((bundle / CHALLENGE_FOLDER).exists() or required):
            challenges = check_challenges(
                bundle,
                host=host,
                trusted=trusted,
                given=examples,
                refit=replay is not None,
                required=required,
            )
            verification.faults += challenges.faults
            about_examples += challenges.lines()
        failed = bool(verification.faults)
        for fault in verification.faults:
            print_note(f"fault: {fault}")
        lines = verification_lines(
            verification, replayed=replay is not None, examples=about_examples
        )
        print_product("\n".join(lines))
        if replay is not None and not failed:
            # Here alone, since it imports what runs suites.
            from advtransfer.publication.replay import replay_bundle

            result = replay_bundle(
                replace(verification, bundle=whole.path),
                count=replay,
                seed=seed,
                trusted=trusted,
                host=host,
            )
            verdict = verdict_line(result.fault_count, unchecked=verification.unchecked)
            print_product("\n".join([*result.lines(), verdict]))
            failed = not result.agrees
    ctx.exit(1 if failed else 0)
