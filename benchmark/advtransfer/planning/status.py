"""Status of each planned trial: done, failed, skipped or to do, with the reason.

One rule for `run`, `plan`, `status` and the page; the first line that holds decides:

- skipped: the plan, a build or the fit reports that the trial is not applicable, or every
  evaluation does.
- done: every record exists, except those of evaluations that are not applicable.
- failed: a build, the fit or an evaluation failed.
- to do: something has not been tried yet.

A result that is not applicable does not hide the other results of its trial. It has no number,
enters no mean and no rank, and is reported with its reason. The same command does not try it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from advtransfer.planning.trials import Plan, Trial
from advtransfer.result import Record, Run
from advtransfer.types import BatterySize, Json

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
    """An attempt that did not end in a record: failed, skipped or lost.

    A deterministic one would end the same way if it was tried again.
    """

    status: str
    reason: str
    deterministic: bool = False


@dataclass(frozen=True, slots=True)
class TrialStatus:
    """The status of one trial, and the reason where it is not done.

    `evaluation` is the one whose result the reason is about. `final` means that the same command
    would not try the trial again. `skipped` holds the evaluations that are not applicable in this
    trial, and `failures` those that failed, each with its reason.
    """

    value: StatusName
    reason: str | None = None
    evaluation: str | None = None
    final: bool = False
    skipped: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)

    @property
    def reason_text(self) -> str | None:
        """The reason with its evaluation, and the number of other evaluations that failed."""
        if not self.reason:
            return self.reason
        evaluation = f"{self.evaluation}: " if self.evaluation else ""
        more = len(self.failures) - 1
        others = f" (and {more} more evaluation{'s' * (more > 1)} failed)" if more > 0 else ""
        return f"{evaluation}{self.reason}{others}"

    @property
    def not_applicable(self) -> bool:
        """True where the trial itself is not applicable, not only its evaluations."""
        return self.value == "skipped" and self.evaluation is None


def trial_status(
    trial: Trial,
    *,
    done: Callable[[str], bool],
    attempts: Mapping[str, Attempt],
    sources: Mapping[str, str],
) -> TrialStatus:
    """Return the status of a trial by the rule above.

    Args:
        trial: The trial.
        done: Returns True for the id of an existing record.
        attempts: The latest attempt of each id without a record.
        sources: The names of sources and references, by id.
    """
    if trial.skipped:
        return TrialStatus("skipped", trial.skipped, final=True)
    if all(map(done, trial.record_ids())):
        return TrialStatus("done", final=True)
    if not attempts:
        return TrialStatus("todo")
    # Sorted as in plan.json, so that every command reports the same evaluation first.
    evaluations = sorted(trial.evaluations.items())
    label_of = {id: label for label, ids in evaluations for id in ids}
    tried = {
        id: attempts[id]
        for id in (*trial.builds, *trial.record_ids())
        if id in attempts and not done(id)
    }
    # A skipped evaluation settles itself; a skipped build or fit settles the trial.
    inapplicable = [id for id in label_of if id in tried and tried[id].status == "skipped"]
    skipped = {
        label: tried[id].reason for label, ids in evaluations for id in ids if id in inapplicable
    }
    waiting = [id for id in (trial.id, *label_of) if not done(id) and id not in inapplicable]
    if not waiting:
        if inapplicable and not any(map(done, label_of)):
            first = inapplicable[0]
            reason = tried[first].reason
            return TrialStatus("skipped", reason, label_of[first], final=True, skipped=skipped)
        return TrialStatus("done", final=True, skipped=skipped)
    # Of the results of one evaluation the first that failed is reported, so it is written last.
    failures = {
        label: _attempt_reason(tried[id])
        for label, ids in evaluations
        for id in reversed(ids)
        if id in waiting and id in tried
    }
    ended = next((id for id in (*trial.builds, *waiting) if id in tried), None)
    if ended is None:
        return TrialStatus("todo", skipped=skipped)
    reason = _attempt_reason(tried[ended])
    if ended in trial.builds:
        reason = f"source {sources.get(ended, ended[:12])}: {reason}"
    # A failed build or fit settles the trial; a failed evaluation leaves the others to be tried.
    needed = waiting if ended in label_of else [ended]
    return TrialStatus(
        "skipped" if tried[ended].status == "skipped" else "failed",
        reason,
        evaluation=label_of.get(ended),
        final=all(id in tried and tried[id].deterministic for id in needed),
        skipped=skipped,
        failures=failures,
    )


def _attempt_reason(attempt: Attempt) -> str:
    return f"lost: {attempt.reason}" if attempt.status == "lost" else attempt.reason


def trial_statuses(plan: Plan, run: Run, *, stale: Collection[str] = ()) -> dict[str, TrialStatus]:
    """Return the status of each trial by its id; a folder that does not exist yet has no records.

    Records that are `stale` count as missing, since the next run measures them again.
    """
    done = run.finished_ids()
    done.difference_update(stale)
    attempts = {
        id: _attempt_from_record(record)
        for id, record in run.latest_attempts().items()
        if id not in stale
    }
    return {
        trial.id: trial_status(
            trial, done=done.__contains__, attempts=attempts, sources=plan.sources
        )
        for trial in plan.trials
    }


def status_in_run(run: Run, trial: Trial, plan: Plan) -> TrialStatus:
    """Return the status of one trial at this moment, read from its own files alone."""
    latest = {id: run.latest_attempt(id) for id in (*trial.builds, *trial.record_ids())}
    attempts = {
        id: _attempt_from_record(record) for id, record in latest.items() if record is not None
    }
    return trial_status(trial, done=run.has_record, attempts=attempts, sources=plan.sources)


def _attempt_from_record(record: Record) -> Attempt:
    return Attempt(
        str(record.get("status")), str(record["reason"]), bool(record.get("deterministic"))
    )


def count_skipped_evaluations(statuses: Iterable[TrialStatus]) -> list[dict[str, Json]]:
    """Return the evaluations that are not applicable in some trials, the most frequent first.

    Each comes with a reason and the number of trials that have this reason.
    """
    counts = Counter(item for status in statuses for item in status.skipped.items())
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [
        {"evaluation": evaluation, "reason": reason, "trials": trials}
        for (evaluation, reason), trials in ordered
    ]


def permanently_failed(run: Run) -> set[str]:
    """Return the ids without a record whose next attempt would end without one as well."""
    return {id for id, record in run.latest_attempts().items() if record.get("deterministic")}


def results_without_battery(plan: Plan, run: Run, size: BatterySize) -> set[str]:
    """Return the results of a plan that have a record, but lack a battery.

    A battery of an earlier version or of another size than the run's is measured again; the result
    stays as it is.
    """
    lacking = run.index().lacking_battery(size)
    if not lacking:
        return set()
    results = {id for trial in plan.trials for ids in trial.evaluations.values() for id in ids}
    return lacking & results


def missing_records(trial: Trial, done: set[str]) -> list[str]:
    """Return the ids of a trial's records that do not exist."""
    return [id for id in trial.record_ids() if id not in done]
