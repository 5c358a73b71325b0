"""Publication of a run: a submission's folder with its manifest, its board, and all pages."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from advtransfer.errors import BadInput, Problem
from advtransfer.files import (
    delete_if_present,
    remove_atomic,
    temporary_path,
    write_atomic,
)
from advtransfer.leaderboard import load_run_records
from advtransfer.leaderboard.plugin_figures import MAX_PUBLISHED_BYTES, shown_plugin_figures
from advtransfer.leaderboard.run_data import RunData, gather_run_data
from advtransfer.planning import Plan
from advtransfer.publication.board import (
    Board,
    board_of_run,
    misfits,
    read_boards,
    recorded_facts,
    write_board,
)
from advtransfer.publication.bundle_files import FOREIGN_ERRORS
from advtransfer.publication.challenge_checks import carry_challenges
from advtransfer.publication.external import Archive, move_to_archive, require_size
from advtransfer.publication.in_memory import in_memory_problems
from advtransfer.publication.manifest import MANIFEST_FILE, make_manifest, read_manifest
from advtransfer.publication.pages import submission_of, write_pages
from advtransfer.publication.registration import check_registration
from advtransfer.publication.submission_rules import (
    citation_problems,
    credit_problems,
    name_problems,
    read_citation,
    submission_problems,
    suite_name_problems,
    url_problems,
)
from advtransfer.publication.superseded_page import freeze_page
from advtransfer.result import Run
from advtransfer.result.bundle import write_bundle
from advtransfer.result.machine_paths import machine_path_problems
from advtransfer.result.run_folder import record_bytes
from advtransfer.result.validation import path_without_links

CITATION_FILE = "citation"


@dataclass(frozen=True, slots=True)
class Origin:
    """What a submission says of itself.

    Attributes:
        name: Its name, which becomes a folder's.
        who: The people who submit it.
        licence: SPDX id of the licence of the records.
        citation: A text file that says how to cite it.
    """

    name: str
    who: str
    licence: str
    citation: Path


def publish_run(
    run: Run,
    into: Path,
    origin: Origin,
    *,
    board: str | None = None,
    found: bool = False,
    pages: bool = True,
    archive: Archive | None = None,
    warn: Callable[[str], None] | None = None,
    add_examples: Callable[[Path], object] | None = None,
) -> Path:
    """Write a submission and the pages of all boards; return the submission's folder.

    Args:
        run: The run, or a bundle of one.
        into: The folder of published results.
        origin: What the submission says of itself.
        board: Suite of the board, by default the one that asks for the same.
        found: Make a board of the run's suite, or a new version of it.
        pages: Make the pages of all boards, which `rebuild_pages` does later otherwise.
        archive: Where arrays and files go that are too large for a repository.
        warn: Called with a line for each trial that is missing, and each setting of a page that the
            records cannot meet.
        add_examples: Called with the new folder when its records are written, to add examples.

    Raises:
        BadInput: Names everything that is wrong with the arguments or the run; nothing is replaced.
    """
    suite = str(run.read_plan()["suite"])
    problems = [*_origin_problems(origin), *suite_name_problems(suite)]
    problems += _archive_problems(archive)
    problems += _link_problems(run) or _damage_problems(run) or list(in_memory_problems(run))
    if problems:
        raise BadInput(problems)
    target_board = _find_board(run, into, suite=board, found=found)
    folder = into / "results" / target_board.suite / origin.name
    if problems := list(name_problems(origin.name, beside=folder.parent)):
        raise BadInput(problems)
    temporary = temporary_path(folder)
    try:
        _write_submission(run, temporary, origin, target_board, archive, add_examples)
        if problems := carry_challenges(folder, temporary, run):
            raise BadInput(problems)
        _keep_manifest(folder, into, target_board.suite)
        # Before the files go that a page shows.
        for earlier in _earlier_versions(into, target_board):
            freeze_page(into, earlier)
        if folder.exists():
            remove_atomic(folder)
        temporary.rename(folder)
    finally:
        delete_if_present(temporary)
    # Where the same records were published before, the index gets what is said of them now.
    entry = submission_of(origin.name, read_manifest(folder))
    _write_version(into, target_board.with_credits(entry))
    if warn is not None:
        for text in (*_missing_texts(Run(folder)), *_registration_texts(Run(folder))):
            warn(text)
    if pages:
        rebuild_pages(into, warn=warn)
    return folder


def rebuild_pages(into: Path, *, warn: Callable[[str], None] | None = None) -> list[Path]:
    """List every new submission in its board's index and write all pages; return their paths.

    Raises:
        BadInput: A board's file is damaged; or, after all pages are written, names each submission that
            is left out: it breaks a rule, does not fit its board, or is not the one that its board lists.
    """
    boards = {(board.suite, board.digest): board for board in read_boards(into)}
    problems: list[Problem] = []
    for path in sorted(into.glob(f"results/*/*/{MANIFEST_FILE}")):
        try:
            _list_submission(path.parent, boards, into)
        except BadInput as error:
            problems += error.problems
        except FOREIGN_ERRORS as error:
            found = f"{str(path.parent)!r} ({' '.join(str(error).split())[:200]})"
            problems.append(Problem(found, "a submission", "see `advtransfer verify`"))
    for board in boards.values():
        write_board(into, board)
    paths: list[Path] = []
    try:
        paths = write_pages(into, warn=warn)
    except BadInput as error:
        problems += error.problems
    if problems:
        raise BadInput(problems)
    return paths


def _list_submission(folder: Path, boards: dict[tuple[str, str], Board], into: Path) -> None:
    """List a submission in its board, unless it is listed.

    Raises:
        BadInput: It breaks a rule of submissions, or does not fit its board.
    """
    manifest = read_manifest(path_without_links(into, folder))
    suite, name = folder.parent.name, folder.name
    digest = str(manifest["board"])
    if (suite, digest) not in boards:
        found = f"{str(folder)!r} with the board {digest[:12]}"
        expected = f"one in {str(into / 'boards' / suite)!r}"
        raise BadInput([Problem(found, expected, "publish it again for the present board")])
    board = boards[suite, digest]
    if not board.facts and board.submissions and name == board.submissions[0].name:
        facts = recorded_facts(Run.open(folder), board.axes)
        board = boards[suite, digest] = replace(board, facts=facts)
    entry = submission_of(name, manifest)
    if any((each.name, each.root) == (name, entry.root) for each in board.submissions):
        return
    problems = [
        Problem(f"{str(folder)!r}: {each.found}", each.expected, each.next_step)
        for each in (
            *submission_problems(folder, manifest),
            *misfits(board, board_of_run(Run.open(folder)).axes),
        )
    ]
    if problems:
        raise BadInput(problems)
    boards[suite, digest] = board.with_submission(entry)


# --- the arguments and the run ---


def _origin_problems(origin: Origin) -> Iterator[Problem]:
    yield from name_problems(origin.name)
    yield from credit_problems(origin.who, origin.licence)
    yield from citation_problems(origin.citation)


def _archive_problems(archive: Archive | None) -> Iterator[Problem]:
    if archive is not None:
        yield from url_problems(archive.url)


def _link_problems(run: Run) -> list[Problem]:
    """Return a problem for each symbolic link; a link may lead out of the run folder."""
    problems: list[Problem] = []
    for folder, folder_names, file_names in os.walk(run.path):
        for name in (*folder_names, *file_names):
            path = Path(folder) / name
            if path.is_symlink():
                expected = "a file or folder of its own"
                problems.append(Problem(f"{str(path)!r}, a link", expected, "replace it by one"))
    return problems


def _damage_problems(run: Run) -> list[Problem]:
    next_step = "run the suite again, which measures it again, or ask the author of the run"
    return [
        Problem(f"a damaged record {str(run.path / path)!r} ({reason})", "intact ones", next_step)
        for path, reason in run.damaged_records().items()
    ]


def _missing_texts(run: Run) -> Iterator[str]:
    """Yield how much of its plan a run has not measured."""
    plan = Plan.from_json(run.read_plan())
    present = {str(record["id"]) for record in run.read_records()}
    planned = [trial for trial in plan.trials if not trial.skipped]
    missing = [trial for trial in planned if not present.issuperset(trial.record_ids())]
    if missing:
        yield (
            f"{len(missing)} of {len(planned)} trials are incomplete, the first one {missing[0].name}; "
            "rows with such trials are shown and not ranked"
        )


def _registration_texts(run: Run) -> Iterator[str]:
    """Yield where claims are not those of the commit that their suite names, or that this cannot be seen."""
    found = check_registration(run.path, Plan.from_json(run.read_plan()), run.read_records())
    yield from (f"{fault.where}: {fault.text}" for fault in found.faults)
    yield from found.notes


# --- the board ---


def _find_board(run: Run, into: Path, *, suite: str | None, found: bool) -> Board:
    """Return the board of a run: one that asks for the same, or a new one.

    Raises:
        BadInput: There is none, or several; or the run differs from the board that is named.
    """
    own = board_of_run(run, suite=suite)
    present = [board for board in read_boards(into) if board.superseded_by is None]
    named = [board for board in present if board.suite == own.suite]
    if found:
        listed = next((board for board in named if board.digest == own.digest), None)
        return replace(own, submissions=listed.submissions if listed else ())
    # A suite that extends the board's has a name of its own, but asks for the same.
    same = named or [board for board in present if board.digest == own.digest]
    if len(same) == 1:
        problems = list(misfits(same[0], own.axes))
        if problems:
            raise BadInput(problems)
        return same[0]
    names = ", ".join(sorted(board.suite for board in same or present)) or "none"
    problem = Problem(
        f"no board of the suite {own.suite!r} at the version {own.digest[:12]}",
        f"one of the boards in {str(into / 'boards')!r}: {names}",
        "name one by --board, or add --found to make a board of this suite",
    )
    raise BadInput([problem])


def _write_version(into: Path, board: Board) -> None:
    """Write a board; other versions of it are superseded."""
    for earlier in _earlier_versions(into, board):
        write_board(into, replace(earlier, superseded_by=board.digest))
    write_board(into, board)


def _earlier_versions(into: Path, board: Board) -> list[Board]:
    """Return the versions that a board supersedes."""
    return [
        version
        for version in read_boards(into, board.suite)
        if version.superseded_by is None and version.digest != board.digest
    ]


def _keep_manifest(folder: Path, into: Path, suite: str) -> None:
    """Keep the manifest of a submission that is about to be replaced."""
    if (folder / MANIFEST_FILE).is_file():
        manifest = read_manifest(folder)
        kept = into / "boards" / suite / "manifests" / f"{manifest['root']}.json"
        write_atomic(kept, record_bytes(manifest))


# --- the folder ---


def _write_submission(
    run: Run,
    folder: Path,
    origin: Origin,
    board: Board,
    archive: Archive | None,
    add_examples: Callable[[Path], object] | None,
) -> None:
    """Write the folder of a submission.

    Raises:
        BadInput: It is too large for a repository, or names paths of this machine.
    """
    data = gather_run_data(load_run_records(run, find_damaged=False))
    samples = {id: set(result.image_values) for id, result in data.results.items()}
    write_bundle(run, folder, samples=samples)
    _copy_shown_files(run, folder, data)
    write_atomic(folder / CITATION_FILE, read_citation(origin.citation))
    if add_examples is not None:
        add_examples(folder)
    if problems := machine_path_problems(folder):
        raise BadInput(problems)
    external = [] if archive is None else [move_to_archive(folder, archive)]
    manifest = make_manifest(
        Run(folder),
        name=origin.name,
        who=origin.who,
        licence=origin.licence,
        citation=CITATION_FILE,
        board=board.digest,
        external=external,
    )
    write_atomic(folder / MANIFEST_FILE, record_bytes(manifest))
    require_size(folder, archive)


def _copy_shown_files(run: Run, folder: Path, data: RunData) -> None:
    """Copy the files that the page shows, up to `MAX_PUBLISHED_BYTES`."""
    for figure in shown_plugin_figures(data):
        size = data.files.get(figure.path)
        if size is not None and size <= MAX_PUBLISHED_BYTES:
            source = path_without_links(run.path, run.path / figure.path)
            write_atomic(folder / figure.path, source.read_bytes())
