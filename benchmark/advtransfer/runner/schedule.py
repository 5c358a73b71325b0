"""The driver's loop: a window of jobs in flight, sources before what stands on them, busy ones put back."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import cast

from advtransfer.plan import Plan, Trial
from advtransfer.result import Run, attempt
from advtransfer.runner.events import Events, place
from advtransfer.runner.settings import Settings
from advtransfer.runner.states import missing
from advtransfer.runner.tasks import Task
from advtransfer.types import Executor, Job, Json, Report

AHEAD = 2
"""Jobs in flight for each worker: one that runs, and one so that it need not wait for the driver."""

PAUSE = 1.0
"""Seconds before a job that found its node busy is tried again."""


@dataclass(frozen=True, slots=True)
class Order:
    """What every job of a run is told."""

    environment: str
    asked_by: Mapping[str, Json]
    settings: Settings

    def job(self, task: Task, folder: Run) -> Job:
        """A task as plain data for a worker."""
        settings = self.settings
        return Job(
            id=task.id,
            asked={
                "node": task.asked.node.to_json(),
                "results": [node.to_json() for node in task.asked.results],
            },
            run=folder.path.resolve(),
            cache=settings.cache.resolve(),
            environment=self.environment,
            asked_by={**self.asked_by, "name": task.name},
            device=settings.device,
            threads=settings.threads,
            precision=settings.precision,
            battery=settings.battery,
            keep_weights=settings.keep_models,
            max_bytes=settings.max_bytes,
            cpus=float(settings.threads),
            gpus=1.0 if settings.device.startswith("cuda") else 0.0,
        )


class Schedule:
    """The state of one walk over the tasks."""

    def __init__(
        self, tasks: Sequence[Task], engine: Executor, order: Order, events: Events, folder: Run, plan: Plan
    ) -> None:
        self.engine, self.order, self.events, self.folder, self.plan = engine, order, events, folder, plan
        self.tasks = {task.id: task for task in tasks}
        self.ready = deque(task for task in tasks if not task.waits)
        self.blocked = [task for task in tasks if task.waits]
        self.later: list[tuple[float, Task]] = []
        self.flying: dict[Future[Report], Task] = {}
        self.began: dict[str, Mapping[str, Json]] = {}
        self.told: set[str] = set()
        self.warnings: set[str] = set()
        asked = {one.id for task in tasks for one in (task.asked.node, *task.asked.results)}
        self.senseless = {id for id, one in folder.attempts().items() if one["status"] == "skipped"} - asked
        self.stopped = False

    def run(self, *, grace: float) -> bool:
        """Carry out the tasks; whether it was interrupted."""
        if not self.tasks:
            return False
        with self.engine.start() as engine:
            try:
                while self.ready or self.later or self.flying:
                    self._launch(engine)
                    self._collect(timeout=0.2)
            except KeyboardInterrupt:
                self.stopped = True
                engine.stop(grace=grace)
                self._collect(timeout=0)
                return True
            self._hear()
        return False

    def _launch(self, engine: Executor) -> None:
        now = time.monotonic()
        self.ready.extend(task for due, task in self.later if due <= now)
        self.later = [(due, task) for due, task in self.later if due > now]
        while self.ready and len(self.flying) < AHEAD * engine.slots:
            task = self.ready.popleft()
            self.flying[engine.submit(self.order.job(task, self.folder))] = task

    def _collect(self, *, timeout: float) -> None:
        if self.flying:
            wait(self.flying, timeout=timeout, return_when=FIRST_COMPLETED)
        else:
            time.sleep(timeout)
        self._hear()
        for future in [one for one in self.flying if one.done()]:
            self._settle(self.flying.pop(future), future.result())

    def _hear(self) -> None:
        """Pass on what workers told."""
        for news in self.engine.news():
            facts = dict(news)
            event, task = str(facts.pop("event")), self.tasks.get(str(facts["id"]))
            if event == "warned" and self._warned_before(str(facts.get("text"))):
                continue
            if event == "job_started" and task is not None:
                self.began[task.id] = facts
                facts |= {"kind": task.kind, "name": task.name}
                for trial in task.trials:
                    self.events.tell("trial_started", time=facts["time"], trial=place(trial))
            self.events.tell(event, **facts)

    def _warned_before(self, text: str) -> bool:
        """Whether a worker has told this warning: each of them, and each of its jobs, meets the same data."""
        before = text in self.warnings
        self.warnings.add(text)
        return before

    def _settle(self, task: Task, report: Report) -> None:
        """What the end of one job means for its trials and for the tasks that waited for it."""
        if report.status == "lost" and self.stopped:
            return  # we stopped it ourselves: nothing has failed, it is still to do
        if report.status == "busy":
            self.later.append((time.monotonic() + PAUSE, task))
            return
        if report.status == "lost":
            self._lost(task, report)
        if report.status == "skipped":
            nodes = (task.asked.node, *task.asked.results)
            self.senseless |= {one.id for one in nodes if not self.folder.has(one.id)}
        began = self.began.pop(task.id, {})
        self.events.tell(
            "job_finished",
            id=task.id,
            kind=task.kind,
            name=task.name,
            status=report.status,
            worker=began.get("worker"),
            seconds=time.time() - float(cast(float, began.get("time", time.time()))),
        )
        for trial in task.trials:
            self._tell(trial, report)
        if task.kind == "source":
            self._show(task, report)
            self._release(task, report)

    def _show(self, source: Task, report: Report) -> None:
        """Tell what a built source claims to be, and what its probe measured."""
        if report.status == "done":
            record = self.folder.read(source.id)
            self.events.tell(
                "source_finished", id=source.id, name=source.name, card=record["card"], probe=record["probe"]
            )

    def _release(self, source: Task, report: Report) -> None:
        """Let go what waited for a source, or tell that it cannot be."""
        waiting = [task for task in self.blocked if source.id in task.waits]
        for task in waiting:
            task.waits.discard(source.id)
            if report.status != "done":
                self.blocked.remove(task)
                for trial in task.trials:
                    self._fail(trial, f"source {source.name}: {report.reason}", skipped=report.status == "skipped")
            elif not task.waits:
                self.blocked.remove(task)
                self.ready.append(task)

    def _tell(self, trial: Trial, report: Report) -> None:
        """Tell that a trial ended, by the rule of `advtransfer.leaderboard.fate`."""
        lacking = set(missing(trial, {id for id in trial.records() if self.folder.has(id)}))
        settled = lacking <= self.senseless
        if not lacking or (settled and lacking < set(trial.records()[1:])):
            if trial.id not in self.told:
                self.told.add(trial.id)
                self.events.tell("trial_finished", trial=place(trial), metrics=self._metrics(trial))
        elif settled or report.status not in ("done", "skipped"):
            self._fail(trial, report.reason or "no evaluation makes sense here", skipped=settled)

    def _fail(self, trial: Trial, reason: str, *, skipped: bool) -> None:
        if trial.id not in self.told:
            self.told.add(trial.id)
            self.events.tell("trial_skipped" if skipped else "trial_failed", trial=place(trial), reason=reason)

    def _lost(self, task: Task, report: Report) -> None:
        record = attempt(
            task.asked.node,
            status="lost",
            reason=str(report.reason),
            exception=None,
            traceback=None,
            deterministic=False,
            environment=self.order.environment,
            observed={"asked_by": dict(self.order.asked_by)},
        )
        self.folder.write_attempt(record)

    def _metrics(self, trial: Trial) -> dict[str, Json]:
        """The numbers of a finished trial, as ``evaluation.metric``."""
        found: dict[str, Json] = {}
        for label, ids in trial.evaluations.items():
            for id in ids if all(map(self.folder.has, ids)) else ():
                metrics = cast("Mapping[str, Mapping[str, Json]]", self.folder.read(id)["metrics"])
                found |= {f"{label}.{name}": metric["value"] for name, metric in metrics.items()}
        return found
