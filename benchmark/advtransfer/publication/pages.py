"""Pages of boards: the accepted submissions of one version of a board, ranked together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from advtransfer.errors import BadInput, Problem
from advtransfer.files import delete_if_present, write_atomic
from advtransfer.leaderboard import RunRecords, load_run_records, make_page
from advtransfer.leaderboard.index import IndexEntry, index_entry, index_page
from advtransfer.leaderboard.markdown import (
    count_noun,
    escape_markdown,
    inline_code,
    join_parts,
    markdown_table,
)
from advtransfer.leaderboard.page import Page
from advtransfer.leaderboard.publish import encode_page
from advtransfer.planning import Plan, Trial
from advtransfer.planning.trials import FurtherTest
from advtransfer.publication.board import AxisIds, Board, Submission, read_boards, recorded_axes
from advtransfer.publication.bundle_files import FOREIGN_ERRORS
from advtransfer.publication.external import shorten_record
from advtransfer.publication.findings import FINDINGS_FILE, findings_page
from advtransfer.publication.manifest import bundle_root, citation_digest
from advtransfer.publication.superseded_page import superseded_section
from advtransfer.result import Record, Run
from advtransfer.result.challenges import Challenge
from advtransfer.suite.further_tests import further_name
from advtransfer.types import Json

NO_SUBMISSION = (
    "No trial is ranked: the submissions are withdrawn or superseded, or copied from such ones."
)
SUBMISSIONS_NOTE = (
    "A row that several submissions measured is credited to the first of them. Superseded and "
    "withdrawn submissions are not ranked, nor are records that others copied from a withdrawn one: a "
    "row counts again as soon as somebody measures it. `advtransfer verify` checks a submission; its root is "
    "the Merkle root of its records (docs/publishing.md)."
)


@dataclass(slots=True)
class _Merged:
    """The rows of several submissions under the labels of their board."""

    trials: dict[str, Trial] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    attempts: list[Record] = field(default_factory=list)
    environments: dict[str, Record] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    subfolders: dict[str, str] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    challenges: list[Challenge] = field(default_factory=list)
    deterministic: set[str] = field(default_factory=set)
    datasets: dict[str, Mapping[str, Json]] = field(default_factory=dict)
    also: dict[str, FurtherTest] = field(default_factory=dict)


def merge_submissions(
    board: Board,
    submissions: Mapping[str, Run],
    withdrawn: Mapping[str, Collection[str]] | None = None,
) -> RunRecords:
    """Return the inputs of a board's page, as if one run had measured all submissions.

    Targets, subsets and evaluations have the labels of the board, whatever a submission calls them.
    A label of a source, adapter or transfer that an earlier submission gave to another component
    gets the submission's name in parentheses. What several submissions measured is the first one's.

    Args:
        board: The board.
        submissions: The folders by name, in the order in which they were published.
        withdrawn: Ids of records that are left out of each, by its name (see `withdrawn_copies`).
    """
    merged = _Merged()
    owners: AxisIds = {axis: {} for axis in ("sources", "adapters", "transfers")}
    for name, run in submissions.items():
        inputs = load_run_records(run)
        left_out = (withdrawn or {}).get(name, ())
        records = {
            str(record["id"]): dict(record)
            for record in inputs.records
            if record["id"] not in left_out
        }
        plan = _without_copies(Plan.from_json(inputs.plan), left_out, records)
        labels = _Labels.of(board, recorded_axes(run), plan, name=name, owners=owners)
        owner = name if len(submissions) > 1 else None
        for trial in plan.trials:
            relabelled = labels.relabelled(trial, plan, submission=owner)
            if trial.target in plan.datasets:
                merged.datasets.setdefault(relabelled.target, plan.datasets[trial.target])
            earlier = merged.trials.get(trial.id)
            if earlier is None or (trial.id not in merged.records and trial.id in records):
                merged.trials[trial.id] = relabelled
        for label, further in plan.also.items():
            own = labels.evaluation(further.evaluation, plan)
            merged.also[labels.evaluation(label, plan)] = further._replace(evaluation=own)
        merged.deterministic |= {labels.rename("transfers", label) for label in plan.deterministic}
        for id, label in plan.sources.items():
            merged.sources.setdefault(id, labels.rename("sources", label))
        for id, record in records.items():
            if merged.records.setdefault(id, record) is record:
                merged.subfolders[id] = name
        merged.attempts += [dict(attempt) for attempt in inputs.attempts]
        merged.environments |= {id: dict(each) for id, each in inputs.environments.items()}
        merged.files |= inputs.files
        merged.challenges += inputs.challenges
        merged.damaged |= {f"{name}/{path}": reason for path, reason in inputs.damaged.items()}
    plan = Plan(
        board.suite,
        board.title,
        board.leaderboard,
        merged.sources,
        tuple(merged.trials.values()),
        tuple(sorted(merged.deterministic)),
        merged.datasets,
        merged.also,
    )
    return RunRecords(
        plan.to_json(),
        [merged.records[id] for id in sorted(merged.records)],
        merged.attempts,
        merged.environments,
        merged.files,
        folder=f"../results/{board.suite}",
        subfolders=merged.subfolders,
        damaged=merged.damaged,
        challenges=merged.challenges,
    )


def _without_copies(plan: Plan, left_out: Collection[str], records: dict[str, Record]) -> Plan:
    """Return a plan without trials on a withdrawn fit or source; take their results from `records`."""
    kept = [trial for trial in plan.trials if not {trial.id, *trial.builds} & {*left_out}]
    dropped = {id for trial in plan.trials for id in trial.record_ids()}
    for id in dropped - {id for trial in kept for id in trial.record_ids()}:
        records.pop(id, None)
    return replace(plan, trials=tuple(kept))


@dataclass(frozen=True, slots=True)
class _Labels:
    """The labels on a board's page of what one submission calls by labels of its own."""

    targets: Mapping[str, str]
    subsets: Mapping[tuple[Json, ...], Sequence[Json]]
    evaluations: Mapping[str, str]
    renamed: Mapping[str, Mapping[str, str]]

    @classmethod
    def of(cls, board: Board, axes: AxisIds, plan: Plan, *, name: str, owners: AxisIds) -> _Labels:
        """Return the labels of a submission; `owners` has the ids by label of earlier ones."""
        ids = {axis: {str(label): id for id, label in axes[axis].items()} for axis in owners}
        # A source without a fit is only known by the plan.
        ids["sources"] |= {label: id for id, label in plan.sources.items()}
        renamed: dict[str, dict[str, str]] = {axis: {} for axis in owners}
        for axis, own in ids.items():
            taken = {label for label, id in own.items() if owners[axis].get(label, id) != id}
            renamed[axis] = {label: f"{label} ({name})" for label in sorted(taken)}
        rows = {trial.row for trial in plan.trials if trial.source in renamed["sources"]}
        for trial in plan.trials:
            # All trainings of a row move, or a mean would be over two submissions' trainings.
            if trial.row in rows and trial.source is not None:
                renamed["sources"][trial.source] = f"{trial.source} ({name})"
        renamed["rows"] = {row: f"{row} ({name})" for row in rows if row is not None}
        for axis, own in ids.items():
            for label, id in own.items():
                owners[axis].setdefault(renamed[axis].get(label, label), id)
        return cls(
            _board_labels(board, axes, "targets"),
            {
                tuple(cast("list[Json]", place)): cast("list[Json]", board.axes["subsets"][id])
                for id, place in axes["subsets"].items()
                if id in board.axes["subsets"]
            },
            _board_labels(board, axes, "evaluations"),
            renamed,
        )

    def rename(self, axis: str, label: str) -> str:
        return self.renamed[axis].get(label, label)

    def evaluation(self, label: str, plan: Plan) -> str:
        """Return the label of an evaluation on the page, also of one on a further data set."""
        further = plan.also.get(label)
        if further is None:
            return self.evaluations.get(label, label)
        own = self.evaluations.get(further.evaluation, further.evaluation)
        return further_name(own, further.data)

    def relabelled(self, trial: Trial, plan: Plan, *, submission: str | None) -> Trial:
        """Return a trial of a plan with the labels of the page."""
        place = (trial.target, trial.n, trial.seed)
        target, n, seed = self.subsets.get(place, place)
        return replace(
            trial,
            source=trial.source and self.rename("sources", trial.source),
            row=trial.row and self.rename("rows", trial.row),
            adapter=trial.adapter and self.rename("adapters", trial.adapter),
            target=self.targets.get(trial.target, str(target)),
            n=cast("int", n),
            seed=cast("int", seed),
            transfer=self.rename("transfers", trial.transfer),
            evaluations={
                self.evaluation(label, plan): ids for label, ids in trial.evaluations.items()
            },
            submission=submission,
        )


def _board_labels(board: Board, axes: AxisIds, axis: str) -> dict[str, str]:
    return {
        str(label): str(board.axes[axis][id])
        for id, label in axes[axis].items()
        if id in board.axes[axis]
    }


def make_board_page(folder: Path, board: Board, problems: list[Problem]) -> Page:
    """Return the page of a board: the page of its accepted submissions, and their list.

    Args:
        folder: The folder of published results.
        board: The board.
        problems: Gets each accepted submission that is left out: it cannot be read, or has another root
            than the board's index says.
    """
    accepted = [each for each in board.submissions if each.status == "accepted"]
    runs: dict[str, Run] = {}
    for each in accepted:
        path = folder / "results" / board.suite / each.name
        if problem := _root_problem(path, each.root):
            problems.append(problem)
        else:
            runs[each.name] = Run.open(path)
    withdrawn = withdrawn_copies(folder, board, runs)
    merged = merge_submissions(board, runs, withdrawn)
    page = make_page(replace(merged, root=folder / "results" / board.suite))
    left_out = [each.name for each in accepted if each.name not in runs]
    listed = _list_section(board, withdrawn, left_out, has_trials=bool(merged.plan["trials"]))
    return replace(page, markdown=join_parts([page.markdown.rstrip("\n"), listed]) + "\n")


def _root_problem(path: Path, expected: str) -> Problem | None:
    """Return why a submission is not the one that its board lists, None if it is."""
    try:
        root = bundle_root(Run.open(path))
    except FOREIGN_ERRORS as error:
        text = " ".join(str(error).split())[:200]
        found = f"the submission {str(path)!r}, which cannot be read ({text})"
        return Problem(found, "its records", "restore them, or publish it again")
    if root == expected:
        return None
    found = f"the submission {str(path)!r} with the root {root[:12]}"
    next_step = "restore its records, or publish it again"
    return Problem(found, f"{expected[:12]}, as the board says", next_step)


def withdrawn_copies(
    folder: Path, board: Board, accepted: Mapping[str, Run]
) -> dict[str, frozenset[str]]:
    """Return the ids of the records that submissions copied from withdrawn ones, by name.

    A copy is the same in every field, also in when and how fast it was measured. What was measured
    again has times of its own, and counts.
    """
    names = [each.name for each in board.submissions]
    copies: dict[str, frozenset[str]] = {}
    for position, each in enumerate(board.submissions):
        path = folder / "results" / board.suite / each.name
        if each.status != "withdrawn" or each.name in accepted or not path.is_dir():
            continue
        # Shortened, since one of both may keep its complete records in an archive.
        originals = {
            str(record["id"]): shorten_record(record) for record in Run.open(path).read_records()
        }
        for name, run in accepted.items():
            # What a withdrawn submission copied from an earlier one stays that one's.
            if names.index(name) > position:
                same = {
                    str(record["id"])
                    for record in run.read_records()
                    if originals.get(str(record["id"])) == shorten_record(record)
                }
                copies[name] = copies.get(name, frozenset()) | same
    return {name: ids for name, ids in copies.items() if ids}


def _list_section(
    board: Board,
    withdrawn: Mapping[str, Collection[str]],
    left_out: Collection[str],
    *,
    has_trials: bool,
) -> str:
    """Return the list of a board's submissions, those left out, and how many records are withdrawn with others."""
    rows = [
        [
            escape_markdown(each.name),
            escape_markdown(each.who),
            escape_markdown(each.licence),
            escape_markdown(each.date),
            each.status,
            inline_code(each.root[:16]),
        ]
        for each in board.submissions
    ]
    head = ["submission", "by", "licence", "date", "status", "root"]
    opened = (
        f"Submissions may add {', '.join(board.open)}."
        if board.open
        else ("Submissions may repeat the suite; they may not add to it.")
    )
    version = f"Version {inline_code(board.digest[:16])} of the board. {opened}"
    table = markdown_table(head, rows, right=[False] * len(head))
    copies = "".join(
        f"- {escape_markdown(name)}: {count_noun(len(ids), 'record')} left out, copied from a withdrawn "
        "submission\n"
        for name, ids in sorted(withdrawn.items())
    ).rstrip("\n")
    changed = "\n".join(
        f"- {escape_markdown(name)}: left out, since its records are not those of its root"
        for name in left_out
    )
    reason = "" if has_trials else NO_SUBMISSION
    return join_parts(["## Submissions", reason, version, table, changed, copies, SUBMISSIONS_NOTE])


def write_pages(folder: Path, *, warn: Callable[[str], None] | None = None) -> list[Path]:
    """Write the page of every board, the index and the findings; return the paths of the boards' pages.

    Only boards and submissions are read, so that the same ones give the same bytes. The pages of
    superseded versions stay as they are.

    Raises:
        BadInput: A board's file is damaged; or, after all pages are written, names each submission that
            is not the one that its board lists, and is left out.
    """
    versions = read_boards(folder)
    boards = [board for board in versions if board.superseded_by is None]
    problems: list[Problem] = []
    pages = {board.suite: make_board_page(folder, board, problems) for board in boards}
    entries: list[IndexEntry] = []
    paths: list[Path] = []
    for board in boards:
        page = pages[board.suite]
        for problem in page.problems:
            if warn is not None:
                warn(f"{board.suite}: {problem}")
        _write_page(folder / board.suite, page)
        paths.append(folder / board.suite / "README.md")
        entries.append(index_entry(page, title=board.title, link=f"{board.suite}/README.md"))
    findings = findings_page(pages, boards)
    index = index_page(entries, findings=FINDINGS_FILE if findings else "").rstrip("\n")
    index = join_parts([index, superseded_section(versions), _roots_section(boards)])
    write_atomic(folder / "README.md", encode_page(f"{index}\n"))
    _write_findings(folder / FINDINGS_FILE, findings)
    if problems:
        raise BadInput(problems)
    return paths


def _write_findings(path: Path, findings: str) -> None:
    if findings:
        write_atomic(path, encode_page(findings))
    else:
        delete_if_present(path)


def _write_page(folder: Path, page: Page) -> None:
    # Figures first: readers of the new page then find every file that it links to.
    for name, svg in page.figures.items():
        write_atomic(folder / name, svg)
    write_atomic(folder / "README.md", encode_page(page.markdown))
    for path in folder.glob("*.svg"):
        if path.name not in page.figures:
            path.unlink()


def _roots_section(boards: Sequence[Board]) -> str:
    """Return the roots of all accepted submissions, so that a later change of one is seen."""
    lines = [
        f"- {escape_markdown(board.suite)}, {escape_markdown(each.name)}: {inline_code(each.root)}"
        for board in boards
        for each in board.submissions
        if each.status == "accepted"
    ]
    return "\n".join(["## Roots", "", *lines])


def submission_of(name: str, manifest: Mapping[str, Json]) -> Submission:
    """Return the entry of a submission in its board's index, from its manifest."""
    fields = {field: str(manifest[field]) for field in ("who", "licence", "root", "date")}
    return Submission(name=name, status="accepted", citation=citation_digest(manifest), **fields)
