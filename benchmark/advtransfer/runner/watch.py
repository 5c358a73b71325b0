"""View of a run that is at work, from its folder alone: reads plan, locks and event log, and writes nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from advtransfer.cache.lock import LEASE_SECONDS
from advtransfer.errors import BadInput, Problem
from advtransfer.process_id import ProcessId
from advtransfer.result import Run
from advtransfer.runner.drivers import drivers_folder
from advtransfer.runner.run_summary import RunSummary
from advtransfer.types import Json

POLL_SECONDS = 0.3

TRIAL_ENDS = frozenset({"trial_finished", "trial_failed", "trial_skipped"})

Event = Mapping[str, Any]  # Any: events are as varied as what happens


def watch_run(run: Run, listener: Callable[[Mapping[str, Json]], object]) -> RunSummary | None:
    """Send the events of a run that is at work to a listener, from its start on, until all its drivers have ended.

    Returns:
        The summary of the driver that ended last; None if it was killed before it had one.

    Raises:
        BadInput: No driver is at work in the folder.
    """
    drivers = _DriversInView(run)
    first_drivers = drivers.at_work()
    if not first_drivers:
        problem = Problem(
            f"no run at work in {str(run.path)!r}",
            "a run to watch",
            f"start it with `advtransfer run`; `advtransfer status {run.path}` tells how far it is",
        )
        raise BadInput([problem])
    log = _LogTail(run.path / "events.jsonl")
    events = list(log.new_events())
    view = _View(listener)
    view.show(events[_first_start(events, first_drivers) :])
    while True:
        # Before the log is read: what a driver that has ended wrote is in it then.
        ended = not drivers.at_work()
        view.show(log.new_events())
        if ended:
            return view.end()
        time.sleep(POLL_SECONDS)


def _first_start(events: list[Event], drivers: list[ProcessId]) -> int:
    """Return the position of the first event ``run_started`` of drivers that are at work, or the end."""
    starts: dict[tuple[object, object], int] = {}
    for position, event in enumerate(events):
        if event.get("event") == "run_started":
            driver = event.get("driver") or {}
            starts[driver.get("host"), driver.get("pid")] = position
    keys = [(driver.host_name, driver.pid) for driver in drivers]
    return min((starts[key] for key in keys if key in starts), default=len(events))


@dataclass
class _View:
    """What is shown of the merged log of one or several drivers, as if it were one."""

    listener: Callable[[Mapping[str, Json]], object]
    started: bool = False
    last_end: Event | None = None
    ended_trials: set[tuple[str, str]] = field(default_factory=set)

    def show(self, events: Iterator[Event] | list[Event]) -> None:
        for event in events:
            kind = str(event.get("event"))
            if kind == "run_started":
                # The counts of later shards include what is shown already.
                if self.started:
                    continue
                self.started = True
            elif kind == "run_finished":
                self.last_end = event
                continue
            elif kind in TRIAL_ENDS:
                end = kind, str((event.get("trial") or {}).get("id"))
                if end in self.ended_trials:
                    continue
                self.ended_trials.add(end)
            self.listener(event)

    def end(self) -> RunSummary | None:
        if self.last_end is None:
            return None
        self.listener(self.last_end)
        return summary_from_event(self.last_end)


def summary_from_event(event: Event) -> RunSummary:
    """Return the summary that a driver has told in its last event."""
    page = event.get("page")
    profile = event.get("profile")
    return RunSummary(
        suite=str(event["suite"]),
        run=Path(str(event["run"])),
        done=event["done"],
        failed=event["failed"],
        skipped=event["skipped"],
        todo=event["todo"],
        seconds=event["seconds"],
        interrupted=event["interrupted"],
        page=Path(page) if page else None,
        stopped=event.get("stopped"),
        left=event.get("left"),
        profile=Path(profile) if profile else None,
    )


@dataclass
class _LogTail:
    """The whole lines that were appended to a log since the last look."""

    path: Path
    offset: int = 0

    def new_events(self) -> Iterator[Event]:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self.offset)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self.offset += len(whole)
        for line in whole.splitlines():
            try:
                event = json.loads(line)
            except ValueError:  # the end of a run that was killed
                continue
            if isinstance(event, dict):
                yield event


class _DriversInView:
    """The drivers at work, seen by whether their locks are renewed: the folder may be readable alone."""

    def __init__(self, run: Run) -> None:
        self._folder = drivers_folder(run)
        self._renewals: dict[Path, tuple[object, float]] = {}

    def at_work(self) -> list[ProcessId]:
        """Return the drivers that hold a lock and have not died."""
        owners = (self._living_owner(path) for path in sorted(self._folder.glob("[!.]*")))
        return [owner for owner in owners if owner is not None]

    def _living_owner(self, path: Path) -> ProcessId | None:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            state = (content["token"], path.stat().st_mtime_ns)
            owner = ProcessId(
                **cast("dict[str, Any]", content["owner"])
            )  # Any: checked by the call
        except (OSError, ValueError, KeyError, TypeError):  # it has just ended
            return None
        now = time.monotonic()
        if self._renewals.get(path, (None, 0.0))[0] != state:
            self._renewals[path] = state, now
        is_late = now - self._renewals[path][1] > LEASE_SECONDS
        return None if is_late or owner.is_alive() is False else owner
