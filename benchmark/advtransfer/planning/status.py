"""Status of each planned trial: done, failed, skipped or to do, with the reason.

One rule for `run`, `plan`, `status` and the page; the first line that holds decides:

- skipped: the plan, a build or the fit reports that the trial is not applicable, or every evaluation does.
- done: every record exists, except those of evaluations that are not applicable.
- failed: a build, the fit or an evaluation failed.
- to do: something has not been tried yet.

A result that is not applicable does not hide the other results of its trial. It has no number, enters no mean and
no rank, and is reported with its reason. The same command does not try it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from advtransfer.planning.trials import Plan, Trial
from advtransfer.result import Record, Run
from advtransfer.result.record import battery_ids
from advtransfer.types import Json

StatusName: TypeAlias = Literal["done", "failed", "skipped", "todo"]
STATUS_WORDS: Mapping[StatusName, str] = {
    "done": "done",
    "failed": "failed",
    "skipped": "skipped",
    "todo": "to do",
}
STATUS_NAMES = tuple(STATUS_WORDS)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A try that did not end in a record: failed, skipped or lost; a deterministic one would end so again."""

    status: str
    reason: str
    deterministic: bool = False


@dataclass(frozen=True, slots=True)
class TrialStatus:
    """How one trial stands, and the reason where it is not done.

    `evaluation` is the one whose result the reason is of; `final` says that the same command would not try it again;
    `skipped` are the evaluations that make no sense in this trial, with their reasons, `failures` those that failed.
    """

    value: StatusName
    reason: str | None = None
    evaluation: str | None = None
    final: bool = False
    skipped: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)

    @property
    def reason_text(self) -> str | None:
        """The reason with the evaluation that it is of, and how many others failed as well."""
        more = len(self.failures) - 1
        others = f" (and {more} more evaluation{'s' * (more > 1)} failed)" if more > 0 else ""
        return (
            self.reason
            and f"{f'{self.evaluation}: ' if self.evaluation else ''}{self.reason}{others}"
        )

    @property
    def not_applicable(self) -> bool:
        """Whether the cell itself makes no sense, and not just what would be measured in it."""
        return self.value == "skipped" and self.evaluation is None


def trial_status(
    trial: Trial,
    *,
    done: Callable[[str], bool],
    attempts: Mapping[str, Attempt],
    sources: Mapping[str, str],
) -> TrialStatus:
    """How a trial stands, by the rule above.

    Args:
        trial: The trial.
        done: Whether the record of an id is there.
        attempts: The latest try of each id that has no record.
        sources: The names of sources and references, by id.
    """
    if trial.skipped:
        return TrialStatus("skipped", trial.skipped, final=True)
    evaluations = sorted(
        trial.evaluations.items()
    )  # as plan.json holds them: all tell the same one first
    measured = {id: label for label, ids in evaluations for id in ids}
    tried = {
        id: attempts[id]
        for id in (*trial.builds, *trial.record_ids())
        if id in attempts and not done(id)
    }
    senseless = [id for id in measured if id in tried and tried[id].status == "skipped"]
    skipped = {
        label: tried[id].reason for label, ids in evaluations for id in ids if id in senseless
    }
    waiting = [id for id in (trial.id, *measured) if not done(id) and id not in senseless]
    if not waiting and senseless and not any(map(done, measured)):
        return TrialStatus(
            "skipped",
            tried[senseless[0]].reason,
            measured[senseless[0]],
            final=True,
            skipped=skipped,
        )
    if not waiting:
        return TrialStatus("done", final=True, skipped=skipped)
    failures = {
        label: _attempt_reason(tried[id], "")
        for label, ids in evaluations
        for id in reversed(ids)
        if id in waiting and id in tried
    }
    for id in (*trial.builds, *waiting):
        if id in tried:
            value: StatusName = "skipped" if tried[id].status == "skipped" else "failed"
            reason = _attempt_reason(
                tried[id], f"source {sources.get(id, id[:12])}: " if id in trial.builds else ""
            )
            needed = waiting if id in measured else [id]
            final = all(one in tried and tried[one].deterministic for one in needed)
            return TrialStatus(value, reason, measured.get(id), final, skipped, failures)
    return TrialStatus("todo", skipped=skipped)


def _attempt_reason(attempt: Attempt, of: str) -> str:
    return f"{of}{'lost: ' if attempt.status == 'lost' else ''}{attempt.reason}"


def trial_statuses(plan: Plan, run: Run, *, stale: Collection[str] = ()) -> dict[str, TrialStatus]:
    """The state of each trial, by its id; a folder that does not exist yet holds nothing.

    Records that are `stale` count as not there: the next run measures them again.
    """
    done = run.finished_ids().difference(stale)
    attempts = {
        id: _attempt_from_record(one)
        for id, one in run.latest_attempts().items()
        if id not in stale
    }
    return {
        trial.id: trial_status(
            trial, done=done.__contains__, attempts=attempts, sources=plan.sources
        )
        for trial in plan.trials
    }


def status_in_run(run: Run, trial: Trial, plan: Plan) -> TrialStatus:
    """The state of one trial at this moment, from its own files alone."""
    latest = {id: run.latest_attempt(id) for id in (*trial.builds, *trial.record_ids())}
    attempts = {id: _attempt_from_record(one) for id, one in latest.items() if one is not None}
    return trial_status(trial, done=run.has_record, attempts=attempts, sources=plan.sources)


def _attempt_from_record(record: Record) -> Attempt:
    return Attempt(
        str(record.get("status")), str(record["reason"]), bool(record.get("deterministic"))
    )


def count_skipped_evaluations(standings: Iterable[TrialStatus]) -> list[dict[str, Json]]:
    """The evaluations that make no sense in some trials: each with a reason and how many have it, the most first."""
    found = Counter(one for state in standings for one in state.skipped.items())
    return [
        {"evaluation": evaluation, "reason": reason, "trials": trials}
        for (evaluation, reason), trials in sorted(
            found.items(), key=lambda item: (-item[1], item[0])
        )
    ]


def permanently_failed(run: Run) -> set[str]:
    """The ids without a record that would end without one again."""
    return {id for id, one in run.latest_attempts().items() if one.get("deterministic")}


def results_without_battery(plan: Plan, run: Run) -> set[str]:
    """The results of a plan whose record is there, but not that of a battery which stands behind it."""
    done = run.finished_ids()
    results = {id for trial in plan.trials for ids in trial.evaluations.values() for id in ids}
    return {id for id in results & done if not done.issuperset(battery_ids(run.read_record(id)))}


def missing_records(trial: Trial, done: set[str]) -> list[str]:
    """The records of a trial that are not there."""
    return [id for id in trial.record_ids() if id not in done]
