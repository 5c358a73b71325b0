"""Boards: a suite at one version of its targets, subsets, references and evaluations.

What a plan asks for is read off its records, which hold the ids of everything that they are made
from; so a board needs neither the plugins nor the data of a submission. ``docs/publishing.md``
describes the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias, cast

from advtransfer.errors import BadInput, CacheError, Problem
from advtransfer.files import write_atomic
from advtransfer.node import content_id
from advtransfer.planning import Plan
from advtransfer.planning.nodes import SuiteIndex, further_test_node, subset_node, test_node
from advtransfer.publication.shared_facts import Facts, board_facts
from advtransfer.result import Run
from advtransfer.result.bounded_reading import read_json
from advtransfer.result.run_folder import record_bytes
from advtransfer.result.validation import ID_PATTERN, field_type_faults, path_without_links
from advtransfer.suite import Suite
from advtransfer.suite.further_tests import further_name
from advtransfer.suite.leaderboard_settings import OPEN_AXES
from advtransfer.types import Json

JsonObject: TypeAlias = Mapping[str, Any]
"""A JSON object of a file. Any: its fields are checked when it is read."""

BOARD_FORMAT = 1
MAX_BOARD_BYTES = 4 << 20
VERSION_AXES = ("targets", "subsets", "references", "evaluations")
"""Axes whose ids make the version of a board."""
AXES = (*VERSION_AXES, *OPEN_AXES)
STATUSES = ("accepted", "superseded", "withdrawn")
# Inputs that the host adds to what an evaluation or a transfer asks for.
FIT_INPUTS = frozenset({"subset", "source", "adapter"})
RESULT_INPUTS = frozenset({"model", "source", "train", "adapter", "reference", "test"})
BOARD_FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "format": int,
    "suite": str,
    "title": str,
    "digest": str,
    "superseded_by": (str, type(None)),
    "leaderboard": dict,
    "open": list,
    "submissions": list,
    **dict.fromkeys(AXES, dict),
}
SUBMISSION_FIELDS: Mapping[str, type] = {
    "name": str,
    "who": str,
    "licence": str,
    "citation": str,
    "root": str,
    "status": str,
    "date": str,
}

AxisIds: TypeAlias = "dict[str, dict[str, Json]]"
"""Ids with their labels, for each of `AXES`. The label of a subset is ``[target, n, seed]``."""


@dataclass(frozen=True, slots=True)
class Submission:
    """One submission in a board's index.

    `citation` is the sha256 of its file, and `date` that of its newest record.
    """

    name: str
    who: str
    licence: str
    citation: str
    root: str
    status: str
    date: str

    def to_json(self) -> dict[str, Json]:
        """Return the submission as the board's file holds it."""
        return {name: getattr(self, name) for name in SUBMISSION_FIELDS}


@dataclass(frozen=True, slots=True)
class Board:
    """A board at one version.

    Attributes:
        suite: Name of the suite.
        title: The suite's question.
        leaderboard: Settings of the page, as a plan holds them.
        open: Axes that submissions may add to.
        axes: What the board asks for.
        submissions: The index, in the order in which they were published.
        superseded_by: Digest of the version after this one, None for the newest.
        facts: What the first submission recorded of targets and subsets, which later ones are held to.
    """

    suite: str
    title: str
    leaderboard: JsonObject
    open: tuple[str, ...]
    axes: AxisIds
    submissions: tuple[Submission, ...] = ()
    superseded_by: str | None = None
    facts: Facts = field(default_factory=dict)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", version_digest(self.axes))

    def with_submission(self, submission: Submission) -> Board:
        """Return the board with a submission; an earlier one of its name is superseded."""
        if any(each == submission for each in self.submissions):
            return self
        earlier = [
            replace(each, status="superseded")
            if each.name == submission.name and each.status == "accepted"
            else each
            for each in self.submissions
            if each.root != submission.root or each.name != submission.name
        ]
        return replace(self, submissions=(*earlier, submission))

    def with_credits(self, submission: Submission) -> Board:
        """Return the board with what a submission that it lists says of itself, at the same status."""
        entries = [
            replace(submission, status=each.status)
            if (each.name, each.root) == (submission.name, submission.root)
            else each
            for each in self.submissions
        ]
        return replace(self, submissions=tuple(entries))

    def to_json(self) -> dict[str, Json]:
        """Return the content of the board's file."""
        return {
            "format": BOARD_FORMAT,
            "suite": self.suite,
            "title": self.title,
            "digest": self.digest,
            "superseded_by": self.superseded_by,
            "leaderboard": dict(self.leaderboard),
            "open": list(self.open),
            **{axis: dict(self.axes[axis]) for axis in AXES},
            "facts": {subject: dict(facts) for subject, facts in self.facts.items()},
            "submissions": [each.to_json() for each in self.submissions],
        }


def version_digest(axes: Mapping[str, Iterable[str]]) -> str:
    """Return the digest of a board's version: the sha256 of the canonical JSON of its sorted ids."""
    return content_id({axis: cast("list[Json]", sorted(axes[axis])) for axis in VERSION_AXES})


def recorded_axes(run: Run) -> AxisIds:
    """Return the ids that the records of a run are made from, with the labels of its plan."""
    plan = Plan.from_json(run.read_plan())
    trials = {trial.id: trial for trial in plan.trials}
    labels = {
        id: (trial, label)
        for trial in plan.trials
        for label, ids in trial.evaluations.items()
        for id in ids
    }
    axes: AxisIds = {axis: {} for axis in AXES}
    further_tests: dict[str, Json] = {}
    for record in run.read_records():
        id = str(record["id"])
        asked = cast("JsonObject", record["asked"])
        inputs = asked["inputs"]
        if trial := trials.get(id):
            axes["transfers"][_component_id(asked, "transfer", FIT_INPUTS)] = trial.transfer
            place: list[Json] = [trial.target, trial.n, trial.seed]
            found = {"subsets": place, "sources": trial.source, "adapters": trial.adapter}
            for axis, label in found.items():
                if input_id := inputs.get(axis.removesuffix("s")):
                    axes[axis][input_id] = label
        if id in labels:
            trial, label = labels[id]
            test = inputs.get("test")
            if further := plan.also.get(label):
                further_tests[str(test)] = further_name(trial.target, further.data)
            else:
                axes["evaluations"][_component_id(asked, "evaluation", RESULT_INPUTS)] = label
                if test:
                    axes["targets"][test] = trial.target
            if reference := inputs.get("reference"):
                axes["references"][reference] = plan.sources.get(reference, reference[:12])
    # The own test part of a target gives its name, also where another target has it as a further one.
    axes["targets"] = {**further_tests, **axes["targets"]}
    return axes


def planned_axes(suite: Suite) -> AxisIds:
    """Return the ids that a suite asks for."""
    index = SuiteIndex(suite)
    axes: AxisIds = {axis: {} for axis in AXES}
    further_tests: dict[str, Json] = {}
    for target in suite.targets:
        axes["targets"][test_node(target).id] = target.key
        for data in target.also:
            further_tests[further_test_node(target, data).id] = further_name(target.key, data.label)
        for position, subset in enumerate(target.subsets):
            place: list[Json] = [target.key, subset.n, subset.seed]
            axes["subsets"][subset_node(target, position).id] = place
        axes["references"] |= {cell.node.id: cell.label for cell in target.references}
    for axis in ("evaluations", *OPEN_AXES):
        entries = getattr(index, axis)
        axes[axis] = {
            cell.node.id: label
            for label, cell in entries.items()
            if not cell.facts.is_identity and cell.test_data is None
        }
    axes["targets"] = {**further_tests, **axes["targets"]}
    return axes


def board_of_run(run: Run, *, suite: str | None = None) -> Board:
    """Return the board that a run would found, without submissions."""
    plan = Plan.from_json(run.read_plan())
    settings = dict(plan.leaderboard)
    opened = settings.pop("open", None)
    axes = recorded_axes(run)
    names = tuple(axis for axis in OPEN_AXES if isinstance(opened, list) and axis in opened)
    return Board(
        suite or plan.suite, plan.title, settings, names, axes, facts=recorded_facts(run, axes)
    )


def recorded_facts(run: Run, axes: AxisIds) -> Facts:
    """Return what the records of a run say of the targets and subsets of a board."""
    return board_facts(run.read_records(), {*axes["targets"], *axes["subsets"]})


def misfits(board: Board, axes: AxisIds) -> Iterator[Problem]:
    """Yield a problem for each id in which a submission differs from its board."""
    next_step = f"write a suite that `extends: {board.suite}`, and run it whole"
    for axis in AXES:
        ours, theirs = board.axes[axis], axes[axis]
        for id in sorted(ours.keys() - theirs.keys()):
            found = f"no {axis.removesuffix('s')} {_label_text(ours[id])} ({id[:12]})"
            yield Problem(found, "everything that the board asks for", next_step)
        for id in sorted(theirs.keys() - ours.keys()):
            if axis not in board.open:
                found = f"the {axis.removesuffix('s')} {_label_text(theirs[id])} ({id[:12]})"
                where = f"those of the board; open are {', '.join(board.open) or 'no axes'}"
                yield Problem(found, where, next_step)


def board_path(folder: Path, board: Board) -> Path:
    """Return the file of a board in a folder of published results."""
    return folder / "boards" / board.suite / f"{board.digest}.json"


def write_board(folder: Path, board: Board) -> None:
    """Write a board's file."""
    write_atomic(board_path(folder, board), record_bytes(board.to_json()))


def read_boards(folder: Path, suite: str | None = None) -> list[Board]:
    """Return the boards in a folder of published results, all or those of one suite.

    Raises:
        BadInput: Names every file that is no board.
    """
    paths = sorted((folder / "boards").glob(f"{suite or '*'}/*.json"))
    boards: list[Board] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            boards.append(_read_board(folder, path))
        except (CacheError, ValueError, TypeError, KeyError, AttributeError) as error:
            next_step = "restore it from the repository's history"
            problems.append(Problem(f"{str(path)!r} ({error})", "a board's file", next_step))
    if problems:
        raise BadInput(problems)
    return boards


def _read_board(folder: Path, path: Path) -> Board:
    value = read_json(path_without_links(folder, path), limit=MAX_BOARD_BYTES)
    faults = list(field_type_faults(value, BOARD_FIELDS))
    if not faults:
        # Boards of before have no facts; `advtransfer pages` adds them.
        faults = list(_fact_type_faults(value.get("facts", {})))
    if not faults:
        faults = list(_submission_faults(value["submissions"]))
    if faults:
        raise ValueError(faults[0])
    board = Board(
        value["suite"],
        value["title"],
        value["leaderboard"],
        tuple(axis for axis in OPEN_AXES if axis in value["open"]),
        {axis: value[axis] for axis in AXES},
        tuple(Submission(**submission) for submission in value["submissions"]),
        value["superseded_by"],
        value.get("facts", {}),
    )
    names = (board.suite, board.digest)
    if value["format"] != BOARD_FORMAT or names != (path.parent.name, path.stem):
        raise ValueError(f"its suite and ids give {board.suite}/{board.digest[:12]}")
    return board


def _fact_type_faults(facts: object) -> Iterator[str]:
    kinds = (str, int, float)
    each_is_known = isinstance(facts, dict) and all(
        isinstance(values, dict) and all(isinstance(value, kinds) for value in values.values())
        for values in facts.values()
    )
    if not each_is_known:
        yield f"found the facts {str(facts)[:80]}; expected digests and numbers by id"


def _submission_faults(submissions: Iterable[JsonObject]) -> Iterator[str]:
    for submission in submissions:
        yield from field_type_faults(submission, SUBMISSION_FIELDS, of="a submission's ")
        if submission.keys() != SUBMISSION_FIELDS.keys():
            yield f"found a submission of {', '.join(submission)}; expected {', '.join(SUBMISSION_FIELDS)}"
            continue
        digests = (submission["root"], submission["citation"])
        if submission["status"] not in STATUSES or not all(map(ID_PATTERN.fullmatch, digests)):
            expected = "a known status, and digests of root and citation"
            yield f"found the submission {str(submission)[:80]}; expected {expected}"


def _component_id(asked: JsonObject, kind: str, host_inputs: frozenset[str]) -> str:
    """Return the id of the evaluation or transfer behind a record."""
    own = {name: id for name, id in asked["inputs"].items() if name not in host_inputs}
    return content_id({**asked, "kind": kind, "inputs": own})


def _label_text(label: Json) -> str:
    if isinstance(label, list):
        target, n, seed = label
        return f"{target} n={n} seed={seed}"
    return repr(label)
