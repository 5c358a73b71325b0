"""The cells of a plan: what each record id is, and which cells a submission has to have.

The plan is made again from the bundle's suite by the planner that is installed, and held against the
board's own suite; a plan that is written in a bundle is only compared with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from advtransfer import suite as suites
from advtransfer.errors import AbsentFile, AdvTransferError, BadInput
from advtransfer.host import Host
from advtransfer.planning import Plan, Trial, make_plan
from advtransfer.planning.nodes import further_test_node, subset_node, test_node
from advtransfer.suite import Suite
from advtransfer.suite.extends import read_with_parents
from advtransfer.suite.located import Problems
from advtransfer.text import one_line

SUITE_FILE = "suite.yaml"


class PlannedSuite(NamedTuple):
    """A suite and the plan that the installed planner makes of it."""

    suite: Suite
    plan: Plan


class Fault(NamedTuple):
    """One thing that is wrong in a bundle.

    Attributes:
        where: File in the bundle, with the line in it.
        cell: Trial, evaluation and metric as far as they are known; empty for a whole file.
        text: What was found, and what was expected.
    """

    where: str
    cell: str
    text: str

    def __str__(self) -> str:
        return one_line(": ".join(part for part in self if part))


def plan_suite(name: str, host: Host, *, may_extend: bool = True) -> PlannedSuite:
    """Return a suite by its file or shipped name, with its plan; `may_extend` is that of `suite.load`.

    Raises:
        AdvTransferError: It cannot be read, or names a plugin that is not installed.
    """
    loaded = suites.load(name, host, may_extend=may_extend)
    return PlannedSuite(loaded, make_plan(loaded, host))


def suite_file_faults(folder: Path) -> list[Fault]:
    """Return why the suite of a bundle may not be read: it is no YAML, or names another file to open."""
    file = SUITE_FILE
    try:
        read_with_parents(folder / file, file=file, problems=Problems(file), may_extend=False)
    except BadInput as error:
        return [
            Fault(str(each.location or file), "", f"found {each.found}; expected {each.expected}")
            for each in error.problems
        ]
    return []


def plan_bundle(folder: Path, host: Host) -> PlannedSuite | list[Fault]:
    """Return the suite of a bundle with its plan, or why it cannot be planned here."""
    try:
        return plan_suite(str(folder / SUITE_FILE), host, may_extend=False)
    except AdvTransferError as error:
        return planning_faults(error, folder)


def planning_faults(error: AdvTransferError, folder: Path) -> list[Fault]:
    """Return why the suite of a bundle cannot be planned, without the path of the bundle."""
    problems = error.problems if isinstance(error, BadInput) else ()
    absent = [each for each in problems if isinstance(each, AbsentFile)]
    mistakes = [str(each) for each in problems if each not in absent]
    faults = [_absent_file_fault(each, folder) for each in absent]
    if mistakes or not problems:
        text = "; ".join(mistakes or str(error).splitlines()).replace(f"{folder}/", "")
        faults.append(Fault(SUITE_FILE, "", f"found a suite that gives no plan: {text}"))
    return faults


def _absent_file_fault(problem: AbsentFile, folder: Path) -> Fault:
    """Return the fault of a file that a bundle's suite names, and that the verifier lacks."""
    where = str(problem.location).replace(f"{folder}/", "")
    next_step = (
        "ids hold the content of files, so the suite cannot be planned without it: ask the "
        "submitter for the file, put it under this path into the folder ADVTRANSFER_DATA, and verify again"
    )
    text = f"found {problem.found}, which is not on this machine; expected {problem.expected}"
    return Fault(where, "", f"{text}; {next_step}")


def cell_names(plan: Plan) -> dict[str, str]:
    """Return what each record id is: a source, a trial, or an evaluation of a trial."""
    names = {id: f"source {label}" for id, label in plan.sources.items()}
    for trial in plan.trials:
        names[trial.id] = trial.name
        for label, ids in trial.evaluations.items():
            names |= dict.fromkeys(ids, f"{trial.name}, {label}")
    return names


def plan_differences(written: Plan, planned: Plan) -> Iterator[Fault]:
    """Yield where the plan in a bundle differs from the one that its suite gives."""
    ours = {trial_position(trial): trial for trial in planned.trials}
    theirs = {trial_position(trial): trial for trial in written.trials}
    for position, trial in ours.items():
        if position not in theirs:
            yield Fault(
                "plan.json", trial.name, "found no such trial; expected it, from suite.yaml"
            )
    for position, trial in theirs.items():
        if position not in ours:
            yield Fault("plan.json", trial.name, "found a trial that suite.yaml does not give")
        elif trial != ours[position]:
            yield Fault("plan.json", trial.name, _trial_difference(trial, ours[position]))
    if not ours.keys() ^ theirs.keys():
        for index, (one, other) in enumerate(zip(written.trials, planned.trials, strict=True)):
            if one.id != other.id and trial_position(one) != trial_position(other):
                text = f"found trial {index + 1} of the plan; expected {other.name} there"
                yield Fault("plan.json", one.name, text)
                break
    if dict(written.also) != dict(planned.also):
        shown = [", ".join(sorted(plan.also)) or "none" for plan in (written, planned)]
        text = f"found the evaluations on further data {shown[0]}; expected {shown[1]}"
        yield Fault("plan.json", "also", f"{text}, from suite.yaml")
    if dict(written.sources) != dict(planned.sources):
        for id in written.sources.keys() ^ planned.sources.keys():
            label = written.sources.get(id) or planned.sources[id]
            origin = "suite.yaml does not give" if id in written.sources else "the plan lacks"
            yield Fault("plan.json", f"source {label}", f"found the id {id[:12]}, which {origin}")


def trial_position(trial: Trial) -> tuple[object, ...]:
    """Return where a trial is on the axes of the grid."""
    return tuple(trial.axes().values())


def _trial_difference(written: Trial, planned: Trial) -> str:
    if written.id != planned.id:
        return f"found the id {written.id[:12]}; expected {planned.id[:12]}, from suite.yaml"
    for label in written.evaluations.keys() | planned.evaluations.keys():
        ids, expected = written.evaluations.get(label), planned.evaluations.get(label)
        if ids != expected:
            shown = [", ".join(id[:12] for id in some or ()) or "none" for some in (ids, expected)]
            return f"found {label} with the ids {shown[0]}; expected {shown[1]}, from suite.yaml"
    return "found other builds or another reason to skip it than suite.yaml gives"


def target_faults(submitted: Suite, board: Suite) -> Iterator[Fault]:
    """Yield targets, subsets and references that are not those of the board."""
    ours = {target.key: target for target in board.targets}
    theirs = {target.key: target for target in submitted.targets}
    for key in ours.keys() | theirs.keys():
        where = ("suite.yaml", f"target {key}")
        if key not in ours or key not in theirs:
            yield Fault(
                *where, "found " + ("no such target" if key in ours else "it; the board has none")
            )
            continue
        if test_node(ours[key]).id != test_node(theirs[key]).id:
            yield Fault(*where, "found another test part than the board's")
        further = [
            {data.label: further_test_node(target, data).id for data in target.also}
            for target in (ours[key], theirs[key])
        ]
        if further[0] != further[1]:
            shown = [", ".join(sorted(each)) or "none" for each in reversed(further)]
            text = f"found the further test parts of `also` {shown[0]}; expected {shown[1]}"
            yield Fault(*where, f"{text}, the board's")
        if ours[key].leakage != theirs[key].leakage:
            text = (
                f"found leakage: {theirs[key].leakage}; expected {ours[key].leakage}, the board's"
            )
            yield Fault(*where, text)
        expected = {
            subset_node(ours[key], index).id: subset
            for index, subset in enumerate(ours[key].subsets)
        }
        found = {
            subset_node(theirs[key], index).id: subset
            for index, subset in enumerate(theirs[key].subsets)
        }
        for id in expected.keys() - found.keys():
            subset = expected[id]
            yield Fault(
                *where,
                f"found no subset n={subset.n} seed={subset.seed} as the board has it; expected it",
            )
        for id in found.keys() - expected.keys():
            subset = found[id]
            yield Fault(
                *where,
                f"found the subset n={subset.n} seed={subset.seed}, which the board does not have",
            )
        references = [
            {cell.node.id for cell in target.references} for target in (ours[key], theirs[key])
        ]
        if references[0] != references[1]:
            yield Fault(*where, "found other references than the board's")


def entry_faults(
    submitted: PlannedSuite, board: PlannedSuite, axes: frozenset[str]
) -> Iterator[Fault]:
    """Yield entries that are missing, changed, or added on an axis that is not open."""
    for axis in ("evaluations", "sources", "adapters", "transfers"):
        ours = {cell.label: cell.node for cell in getattr(board.suite, axis)}
        theirs = {cell.label: cell.node for cell in getattr(submitted.suite, axis)}
        for label in sorted(ours.keys() | theirs.keys()):
            cell = f"{axis.removesuffix('s')} {label}"
            if label not in theirs:
                yield Fault("suite.yaml", cell, "found no such entry; expected that of the board")
            elif label not in ours and axis not in axes:
                yield Fault(
                    "suite.yaml",
                    cell,
                    f"found an entry that the board lacks; its {axis} are not open",
                )
            elif label in ours and ours[label].id != theirs[label].id:
                text = f"found {theirs[label].use} {dict(theirs[label].options)}"
                expected = f"{ours[label].use} {dict(ours[label].options)}, as the board has it"
                yield Fault("suite.yaml", cell, f"{text}; expected {expected}")


def record_cell(record: Mapping[str, Any], names: Mapping[str, str]) -> str:  # Any: JSON
    """Return what a record is in the plan, by its id; of a battery, by that of its model."""
    id = str(record.get("id"))
    if id in names:
        return names[id]
    asked = record.get("asked")
    inputs = asked.get("inputs") if isinstance(asked, dict) else None
    model = inputs.get("model") if isinstance(inputs, dict) else None
    kind = str(record.get("kind"))[:20]
    if isinstance(model, str) and model in names:
        return f"{names[model]}, {kind}"
    return f"{kind} {id[:12]}"
