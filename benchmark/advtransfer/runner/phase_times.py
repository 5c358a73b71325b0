"""Where the time of a run went: seconds of its workers by phase, from its records and its event log."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from advtransfer.planning import Plan
from advtransfer.result import Run
from advtransfer.runner.event_reader import read_events
from advtransfer.types import Json

RecordJson = Mapping[str, Any]
"""A record as parsed JSON. Any: fields differ by kind of record."""


@dataclass(frozen=True, slots=True)
class PhaseTimes:
    """Seconds of workers by phase.

    Args:
        seconds: By phase: ``sources``, ``fits``, each evaluation's label, ``batteries``.
        unrecorded: Seconds of jobs that no record tells: what they began with, and what failed or was superseded;
            None without an event log.
        waiting: Seconds in which workers had no job, while the run went on; None without an event log.
        copied: Seconds that records took which were copied from other runs; not part of `seconds`.
    """

    seconds: Mapping[str, float]
    unrecorded: float | None
    waiting: float | None
    copied: float


def phase_times(run: Run, plan: Plan) -> PhaseTimes:
    """Return where the time of a run went."""
    labels = {
        id: label for trial in plan.trials for label, ids in trial.evaluations.items() for id in ids
    }
    seconds: dict[str, float] = defaultdict(float)
    copied = 0.0
    for record in run.read_records():
        fields = cast(RecordJson, record)
        for phase, taken in _record_phases(fields, labels).items():
            if fields["observed"].get("copied_from") is None:
                seconds[phase] += taken
            else:
                copied += taken
    workers = _worker_seconds(read_events(run.path / "events.jsonl"))
    if workers is None:
        return PhaseTimes(dict(seconds), None, None, copied)
    unrecorded = max(0.0, workers.busy - math.fsum(seconds.values()))
    return PhaseTimes(dict(seconds), unrecorded, workers.waiting, copied)


def _record_phases(record: RecordJson, labels: Mapping[str, str]) -> dict[str, float]:
    """Return the seconds of one record by phase; those of a battery are in the result it was run for."""
    seconds: dict[str, float] = dict(record["observed"].get("seconds", {}))
    match record["kind"]:
        case "source":
            return {"sources": math.fsum(seconds.values())}
        case "fit":
            return {"fits": math.fsum(seconds.values())}
        case "result":
            batteries = seconds.pop("battery", 0.0)
            label = labels.get(record["id"], record["asked"]["use"])
            return {label: math.fsum(seconds.values()), "batteries": batteries}
        case _:
            return {}


class _WorkerSeconds(NamedTuple):
    """Seconds in which workers had jobs, and had none between the start of a run and its last job's end."""

    busy: float
    waiting: float


def _worker_seconds(events: Iterable[Mapping[str, Json]]) -> _WorkerSeconds | None:
    """Return what the workers of all runs in a log did; None where no job has ended."""
    total: _WorkerSeconds | None = None
    workers, began, ended, busy = 0.0, 0.0, 0.0, 0.0

    def close_run() -> None:
        nonlocal total
        if ended:
            before = total or _WorkerSeconds(0.0, 0.0)
            waiting = max(0.0, workers * (ended - began) - busy)
            total = _WorkerSeconds(before.busy + busy, before.waiting + waiting)

    for event in events:
        time = _number(event, "time")
        if event["event"] == "run_started":
            close_run()
            workers, began, ended, busy = _number(event, "jobs"), time, 0.0, 0.0
        elif event["event"] == "job_finished" and began:
            ended = time
            busy += _number(event, "seconds")
    close_run()
    return total


def _number(event: Mapping[str, Json], name: str) -> float:
    value = event.get(name)
    return float(value) if isinstance(value, int | float) else 0.0
