"""The board that a bundle belongs to, from this checkout, and where the bundle asks for other things."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from advtransfer.errors import AdvTransferError
from advtransfer.host import Host
from advtransfer.planning import Plan
from advtransfer.publication.board import (
    Board,
    Submission,
    misfits,
    planned_axes,
    read_boards,
    recorded_axes,
    version_digest,
)
from advtransfer.publication.board_rows import board_faults
from advtransfer.publication.cells import (
    Fault,
    PlannedSuite,
    cell_names,
    plan_bundle,
    plan_differences,
    plan_suite,
)
from advtransfer.publication.manifest import MANIFEST_FILE, citation_digest, read_manifest
from advtransfer.publication.missing_plugins import (
    StandInPlan,
    plan_with_stand_ins,
    skip_faults,
)
from advtransfer.result import Run
from advtransfer.result.validation import record_fault
from advtransfer.suite.extends import RENAMED_SUITES, shipped_suites

RecordJson: TypeAlias = Mapping[str, Any]  # Any: JSON


@dataclass(frozen=True, slots=True)
class LocalBoards:
    """What this checkout knows of the boards of one suite.

    Attributes:
        versions: The versions in its folder of boards.
        planned: The shipped suite, planned by the installed release; None where it ships none.
    """

    versions: tuple[Board, ...] = ()
    planned: PlannedSuite | None = None

    @property
    def planned_digest(self) -> str | None:
        """The version that the installed release plans."""
        return version_digest(planned_axes(self.planned.suite)) if self.planned else None

    @property
    def suite(self) -> str | None:
        """The name of the suite, None without any board."""
        if self.versions:
            return self.versions[0].suite
        return self.planned.suite.name if self.planned else None

    def unchecked_text(self, digest: str) -> str:
        """Return what a bundle of a version is held against, and what is not checked of it then.

        Empty where the installed release plans the version, so that every trial is asked for.
        """
        if digest == self.planned_digest:
            return ""
        if self.version(digest) is None:
            return (
                "without a board: held against its own suite alone; completeness is not checked, since its "
                "author may have left out of that suite what a board asks for"
            )
        return (
            "against the ids in its board's file: the targets, subsets, references and evaluations; "
            "completeness is not checked, since the file does not list the board's trials"
        )

    def version(self, digest: str) -> Board | None:
        """Return a version by its digest, None where this checkout has no file of it."""
        return next((board for board in self.versions if board.digest == digest), None)


def load_boards(bundle: Path, boards: Path, host: Host) -> LocalBoards:
    """Return the boards of the suite that a bundle belongs to.

    It is the one of the bundle's folder, ``results/<suite>/<name>``, or else that of its plan.

    Args:
        bundle: The bundle.
        boards: A folder ``boards`` with one folder for each suite.
        host: The installed plugins.

    Raises:
        BadInput: A file in the folder is no board.
    """
    name = bundle.resolve().parent.name
    if name not in shipped_suites() and not (boards / name).is_dir():
        try:
            name = str(Run(bundle).read_plan()["suite"])
        except (AdvTransferError, OSError):
            return LocalBoards()
    versions = read_boards(boards.parent, name) if boards.name == "boards" else []
    shipped = shipped_suites().get(name)
    planned = plan_suite(str(shipped), host) if shipped else None
    return LocalBoards(tuple(versions), planned)


def check_board(
    run: Run,
    plan: Plan,
    boards: LocalBoards,
    host: Host,
    records: Mapping[str, RecordJson],
    notes: list[str],
    *,
    needs_board: bool = True,
) -> Iterator[Fault]:
    """Yield where a bundle is not what its board asks for; add to `notes` what cannot be seen.

    Args:
        run: The bundle.
        plan: Its plan, as it is written.
        boards: The boards of its suite in this checkout.
        host: The installed plugins.
        records: Its valid records, by id.
        notes: The notes of the report.
        needs_board: Whether it is a fault that there is no board at all.
    """
    try:
        manifest = read_manifest(run.path)
    except AdvTransferError:
        # Its fault is reported with the files; the plan can be held against the suite without it.
        yield from _plan_faults(run, plan, boards.planned, host, records, notes)
        return
    digest = str(manifest["board"])
    version = boards.version(digest)
    is_planned = digest == boards.planned_digest
    if version is None and not is_planned:
        expected = [board.digest[:12] for board in boards.versions] or [
            str(boards.planned_digest)[:12]
        ]
        if boards.planned or boards.versions:
            text = f"found the board {digest[:12]}; expected one of this checkout: {', '.join(expected)}"
            yield Fault(MANIFEST_FILE, "", text)
        else:
            text = f"found no board of {plan.suite[:80]!r} in this checkout"
            notes.append(f"{text}: every cell of the bundle's own suite has its record or a reason")
            if needs_board:
                next_step = (
                    "name its folder by --boards, or give --no-board if the suite is new here"
                )
                yield Fault(MANIFEST_FILE, "", f"{text}; expected the one it is for; {next_step}")
    if version is not None:
        yield from _version_faults(run, manifest, version, notes)
    if version is not None and not is_planned:
        # A suite of an earlier release, whose components have gone on since.
        is_renamed = version.suite in RENAMED_SUITES
        has_suite = boards.planned is not None or is_renamed
        plans = "another version of this board" if has_suite else "no suite of this board"
        if is_renamed:
            plans += f" ({RENAMED_SUITES[version.suite]})"
        notes.append(f"the installed release plans {plans}: its trials are those of its own plan")
        if has_suite:
            return
    yield from _plan_faults(run, plan, boards.planned, host, records, notes)


def _version_faults(  # Any: JSON of a manifest
    run: Run, manifest: Mapping[str, Any], board: Board, notes: list[str]
) -> Iterator[Fault]:
    """Yield ids that differ from those of a board's file, and a root that is not the one in its index."""
    for problem in misfits(board, recorded_axes(run)):
        yield Fault("records", "", f"found {problem.found}; expected {problem.expected}")
    named = [each for each in board.submissions if each.name == manifest.get("name")]
    # A name has several entries if it was published again; the last one counts.
    if named and named[-1].status == "accepted":
        yield from _index_faults(manifest, named[-1])
    elif named:
        notes.append(f"the board's index says that this submission is {named[-1].status}")
    if board.superseded_by:
        notes.append(f"this version of the board is superseded by {board.superseded_by[:12]}")


def _index_faults(  # Any: JSON of a manifest
    manifest: Mapping[str, Any], listed: Submission
) -> Iterator[Fault]:
    """Yield what a manifest says otherwise than the entry of its submission in the board's index."""
    stated = {name: str(manifest[name]) for name in ("root", "who", "licence")}
    for name, found in (stated | {"citation": citation_digest(manifest)}).items():
        expected = getattr(listed, name)
        if found != expected:
            shown = 12 if name in ("root", "citation") else 80
            text = f"found the {name} {found[:shown]!r}; expected {expected[:shown]!r}"
            yield Fault(
                MANIFEST_FILE, "", f"{text}, which the board's index has: it was changed later"
            )


def _plan_faults(
    run: Run,
    plan: Plan,
    board: PlannedSuite | None,
    host: Host,
    records: Mapping[str, RecordJson],
    notes: list[str],
) -> Iterator[Fault]:
    """Yield where a bundle's plan differs from its suite, and its suite from the board's."""
    planned = plan_with_stand_ins(run.path, plan, host) or plan_bundle(run.path, host)
    if isinstance(planned, StandInPlan):
        notes.append(
            f"without the plugins {', '.join(planned.missing)}, versions and defaults of their "
            "components are as recorded; the cells and all other ids are those of the suite"
        )
        yield from skip_faults(plan)
        yield from planned.record_faults(records, cell_names(plan))
        planned = planned.planned
    if isinstance(planned, PlannedSuite):
        yield from plan_differences(plan, planned.plan)
        if board is not None:
            yield from board_faults(planned, board, frozenset(board.suite.leaderboard.open))
    else:
        yield from planned


def credit_notes(run: Run, records: Mapping[str, RecordJson], boards: LocalBoards) -> Iterator[str]:
    """Yield what each earlier submission has too: records, which are credited to it, and other weights."""
    for earlier, other in earlier_submissions(run, boards):
        shared, withdrawn, differing = 0, 0, 0
        is_withdrawn = _status_of(earlier, run, boards) == "withdrawn"
        for record in other.read_records():
            own = records.get(str(record["id"]), {})
            shared += _content(record) == _content(own)
            withdrawn += is_withdrawn and record == own
            differing += bool(own) and own.get("weights") != record.get("weights")
        if shared:
            yield f"{shared:,} records are those of {earlier!r}, and are credited to it"
        if withdrawn:
            yield f"{earlier!r} is withdrawn: {withdrawn:,} records that were copied from it are not ranked"
        if differing:
            yield (
                f"{differing:,} sources and fits have other weights than in {earlier!r}, as those of "
                "another machine or release may: only a replay tells"
            )


def ranked_before(run: Run, boards: LocalBoards) -> Iterator[RecordJson]:
    """Yield the valid records of the accepted submissions that came before a bundle."""
    for name, other in earlier_submissions(run, boards):
        if _status_of(name, run, boards) == "accepted":
            yield from (record for record in other.read_records() if record_fault(record) is None)


def _status_of(name: str, run: Run, boards: LocalBoards) -> str | None:
    """Return the status of a submission in the index of the board of a bundle."""
    board = boards.version(str(read_manifest(run.path)["board"]))
    index = board.submissions if board else ()
    return next((each.status for each in reversed(index) if each.name == name), None)


def earlier_submissions(run: Run, boards: LocalBoards) -> Iterator[tuple[str, Run]]:
    """Yield the submissions beside a bundle that came before it: by the board's index, else by date."""
    try:
        own = read_manifest(run.path)
    except AdvTransferError:
        return
    board = boards.version(str(own["board"]))
    order = [submission.name for submission in board.submissions] if board else []
    for path in sorted(run.path.resolve().parent.iterdir()):
        if path.name == run.path.resolve().name or not (path / MANIFEST_FILE).is_file():
            continue
        try:
            other = read_manifest(path)
        except AdvTransferError:
            continue
        if _submission_key(other, order) < _submission_key(own, order):
            yield path.name, Run(path)


def _submission_key(
    manifest: Mapping[str, Any], order: Iterable[str]
) -> tuple[int, str, str]:  # Any: JSON of a manifest
    """Return a key to sort submissions by: place in the index, then date, then name."""
    names = list(order)
    name = str(manifest["name"])
    place = names.index(name) if name in names else len(names)
    return place, str(manifest["date"]), name


def _content(record: RecordJson) -> tuple[object, ...]:
    """Return what two records of one measurement share, whoever measured it and when."""
    return tuple(record.get(name) for name in ("asked", "metrics", "outcomes", "weights"))
