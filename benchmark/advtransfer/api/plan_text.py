"""A plan as text and as JSON.

The axes of its grid, the status of its trials, and the reasons of failures and skips.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from advtransfer.console.formatting import StatusCounts
from advtransfer.planning import Plan
from advtransfer.planning.status import STATUS_WORDS
from advtransfer.planning.trials import SubsetSize, Trial
from advtransfer.runner import TrialStatus
from advtransfer.runner.record_reuse import StaleRecords
from advtransfer.suite import GridEntry, Suite
from advtransfer.suite.grid_entries import training_start
from advtransfer.suite.placeholders import Placeholder
from advtransfer.text import ABSENT, align_columns, pluralize, printable_text
from advtransfer.types import Json


@dataclass(frozen=True, slots=True)
class SubsetDraws:
    """Training subsets of one target: each of `n` with each of `seeds`."""

    n: tuple[SubsetSize, ...]
    seeds: tuple[int, ...]

    def to_json(self) -> dict[str, Json]:
        return {"n": list(self.n), "seeds": list(self.seeds)}

    def __str__(self) -> str:
        sizes = ", ".join(map(str, self.n))
        noun = "seeds" if len(self.seeds) > 1 else "seed"
        return f"n {sizes} with {noun} {_seeds_text(self.seeds)}"


def grid_text(plan: Plan, suite: Suite | None = None) -> str:
    """Return the axes of a plan, one per line, under its counts.

    With its suite, the references are shown as well.
    """
    rows = grid_rows(plan, suite)
    return f"{plan_header(plan)}\n\n{align_columns(('axis', 'cells'), rows)}"


def grid_rows(plan: Plan, suite: Suite | None = None) -> list[tuple[str, str]]:
    """Return the axes of a plan, each with its cells in words."""
    axes = {
        name: (name, ", ".join(labels) or ABSENT) for name, labels in _axis_labels(plan).items()
    }
    targets = [
        ("target", f"{name}: {'; '.join(map(str, draws))}")
        for name, draws in target_draws(plan).items()
    ]
    references = [
        ("reference", f"{name}: {', '.join(map(_reference_text, cells))}")
        for name, cells in _target_references(suite).items()
    ]
    also = [
        ("also", f"{name}: {', '.join(labels)}") for name, labels in _further_data(suite).items()
    ]
    return [
        axes["source"],
        axes["adapter"],
        *targets,
        *also,
        *references,
        axes["transfer"],
        axes["evaluation"],
    ]


def grid_json(plan: Plan, suite: Suite | None = None) -> dict[str, Json]:
    """Return the axes and counts of a plan as plain data."""
    targets: dict[str, Json] = {
        name: [draw.to_json() for draw in draws] for name, draws in target_draws(plan).items()
    }
    references: dict[str, Json] = {
        name: [{"label": cell.label, "start": training_start(cell.node)} for cell in cells]
        for name, cells in _target_references(suite).items()
    }
    return {
        "suite": plan.suite,
        "title": plan.title,
        **{f"{name}s": labels for name, labels in _axis_labels(plan).items()},
        "targets": targets,
        "references": references,
        **({"also": also} if (also := _further_data(suite)) else {}),
        "trials": len(plan.trials),
        "skipped": sum(trial.skipped is not None for trial in plan.trials),
        "results": plan.count_results(),
    }


def _further_data(suite: Suite | None) -> dict[str, list[str]]:
    """Return the labels of the further data sets of each target that has any."""
    targets = () if suite is None else suite.targets
    return {target.key: [cell.label for cell in target.also] for target in targets if target.also}


def _target_references(suite: Suite | None) -> dict[str, tuple[GridEntry, ...]]:
    """Return the references of each target that has any."""
    if suite is None:
        return {}
    return {target.key: target.references for target in suite.targets if target.references}


def _reference_text(cell: GridEntry) -> str:
    start = training_start(cell.node)
    return f"{cell.label} (start: {start})" if start else cell.label


def plan_header(plan: Plan) -> str:
    """Return the suite's name, its numbers of trials and results, and its title."""
    size = f"{pluralize(len(plan.trials), 'trial')}, {pluralize(plan.count_results(), 'result')}"
    return f"{plan.suite}: {size}\n{plan.title}".rstrip()


def target_draws(plan: Plan) -> dict[str, list[SubsetDraws]]:
    """Return the draws of each target; the n that have the same seeds are grouped."""
    seeds: dict[str, dict[SubsetSize, set[int]]] = {}
    for trial in plan.trials:
        seeds.setdefault(trial.target, {}).setdefault(trial.n, set()).add(trial.seed)
    return {target: list(_group_by_seeds(by_n)) for target, by_n in seeds.items()}


def _group_by_seeds(seeds_by_n: Mapping[SubsetSize, set[int]]) -> Iterator[SubsetDraws]:
    sizes_by_seeds: dict[tuple[int, ...], list[SubsetSize]] = {}
    sizes = sorted(seeds_by_n, key=lambda n: (n == "all", 0 if n == "all" else n))
    for n in sizes:
        seeds = tuple(sorted(seeds_by_n[n]))
        sizes_by_seeds.setdefault(seeds, []).append(n)
    for seeds, group in sizes_by_seeds.items():
        yield SubsetDraws(tuple(group), seeds)


def _axis_labels(plan: Plan) -> dict[str, list[str]]:
    return {
        "source": _distinct_labels(trial.source for trial in plan.trials),
        "adapter": _distinct_labels(trial.adapter for trial in plan.trials),
        "transfer": _distinct_labels(trial.transfer for trial in plan.trials),
        "evaluation": _distinct_labels(
            label for trial in plan.trials for label in trial.evaluations
        ),
    }


def _distinct_labels(labels: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(label for label in labels if label is not None))


def _seeds_text(seeds: Sequence[int]) -> str:
    """Return seeds as a range where they are one: ``0..4``."""
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]}..{seeds[-1]}"
    return ", ".join(map(str, seeds))


def trial_json(trial: Trial) -> dict[str, Json]:
    """Return a trial's position in the grid, as `plan --json` prints it."""
    return {
        "id": trial.id,
        "name": trial.name,
        **trial.axes(),
        "evaluations": list(trial.evaluations),
    }


TrialStatuses: TypeAlias = Mapping[str, TrialStatus]


def count_statuses(statuses: TrialStatuses) -> StatusCounts:
    """Return how many trials are done, failed, skipped and to do."""
    counts = Counter(status.value for status in statuses.values())
    return StatusCounts(counts["done"], counts["failed"], counts["skipped"], counts["todo"])


def placeholder_lines(placeholders: Sequence[Placeholder], provisional: int) -> list[str]:
    """Return the missing files and folders of a plan without data, and what they leave open."""
    if not placeholders:
        return ["nothing is missing: all ids are final"]
    count = pluralize(provisional, "trial")
    return [
        *(f"missing  {item}" for item in placeholders),
        f"ids of {count} are provisional: they depend on missing content; nothing of them can be run",
    ]


def trial_lines(plan: Plan, statuses: TrialStatuses) -> Iterator[str]:
    """Yield a line for each trial: its status, its name, and the reason if there is one."""
    for trial in plan.trials:
        status = statuses[trial.id]
        yield f"{STATUS_WORDS[status.value]:7}  {trial.name}{_reason_suffix(status)}"


def reason_lines(plan: Plan, statuses: TrialStatuses, value: str) -> Iterator[str]:
    """Yield the reasons of one status, the most frequent first, with counts and first trials."""
    names_by_reason: dict[str, list[str]] = {}
    for trial in plan.trials:
        status = statuses[trial.id]
        if status.value == value:
            reason = _reason_line(status.reason_text)
            names_by_reason.setdefault(reason, []).append(trial.name)
    # sorted() is stable: equally frequent reasons keep the order of the plan.
    by_count = sorted(names_by_reason.items(), key=lambda item: -len(item[1]))
    for reason, names in by_count:
        yield f"{value} {len(names)} x  {reason}  (first: {names[0]})"


def trials_json(plan: Plan, statuses: TrialStatuses, value: str) -> list[dict[str, Json]]:
    """Return the trials of one status with their reasons, as plain data."""
    rows: list[dict[str, Json]] = []
    for trial in plan.trials:
        status = statuses[trial.id]
        if status.value == value:
            rows.append(
                {
                    "id": trial.id,
                    "name": trial.name,
                    "reason": status.reason,
                    "evaluation": status.evaluation,
                    "evaluations": dict(status.failures),
                }
            )
    return rows


def failure_lines(status: TrialStatus) -> list[str]:
    """Return why a trial failed: a line for each evaluation, or the one common reason."""
    if status.evaluation is None:
        return [_reason_line(status.reason)]
    return [
        f"{evaluation}: {_reason_line(reason)}" for evaluation, reason in status.failures.items()
    ]


def stale_lines(stale: StaleRecords, run: Path) -> list[str]:
    """Return a note on records that were made with other code than is installed."""
    if not stale:
        return []
    changed = f"the code of {', '.join(stale.plugins)} has changed under the same version"
    return [
        f"stale in {run}: {pluralize(len(stale.records), 'record')}, since {changed}; "
        "`advtransfer run` measures them again, and with --trust-versions takes them as they are"
    ]


def _reason_suffix(status: TrialStatus) -> str:
    return f"  ({_reason_line(status.reason_text)})" if status.reason_text else ""


def _reason_line(reason: str | None) -> str:
    """Return a reason on one line."""
    return " ".join(printable_text(reason or "no reason recorded").split())
