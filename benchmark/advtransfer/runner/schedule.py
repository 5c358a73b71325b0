"""The driver's loop: a window of jobs in flight, sources before what stands on them, busy ones put back."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from advtransfer.plan import Plan, Trial
from advtransfer.plan.status import state_in
from advtransfer.result import Run, attempt
from advtransfer.runner.events import Events, place
from advtransfer.runner.settings import Settings
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
    cache: Path
    cache_below: Path | None = None

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
            cache=self.cache.resolve(),
            cache_below=self.cache_below.resolve() if self.cache_below else None,
            environment=self.environment,
            asked_by={**self.asked_by, "name": task.name},
            device=settings.device,
            threads=settings.threads,
            precision=settings.precision,
            battery=settings.battery,
            keep_weights=settings.keep_models,
            trust_versions=settings.trust_versions,
            max_bytes=settings.max_bytes,
            cpus=float(settings.threads),
            gpus=1.0 if settings.device.startswith("cuda") else 0.0,
        )


class Schedule:
    """The state of one walk over the tasks.

    `interrupted` says that the user stopped it, `ended` why it ended before everything was tried.
    """

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
        self.steps: dict[str, str] = {}
        self.unsettled = Counter(trial.id for task in tasks for trial in task.trials)
        self.interrupted = False
        self.ended: str | None = None
        self.warnings: set[str] = set()

    def run(self, *, grace: float) -> None:
        """Carry out the tasks."""
        if not self.tasks:
            return
        with self.engine.start() as engine:
            try:
                while self.flying or ((self.ready or self.later) and self.ended is None):
                    self._launch(engine)
                    self._collect(timeout=0.2)
            except KeyboardInterrupt:
                self.interrupted = True
                engine.stop(grace=grace)
                self._collect(timeout=0)
            self._hear()

    def _launch(self, engine: Executor) -> None:
        now = time.monotonic()
        self.ready.extend(task for due, task in self.later if due <= now)
        self.later = [(due, task) for due, task in self.later if due > now]
        while self.ready and len(self.flying) < AHEAD * engine.slots and self.ended is None:
            task = self.ready.popleft()
            self.flying[engine.submit(self.order.job(task, self.folder))] = task

    def _collect(self, *, timeout: float) -> None:
        if self.flying:
            wait(self.flying, timeout=timeout, return_when=FIRST_COMPLETED)
        else:
            time.sleep(timeout)
        ended = [one for one in self.flying if one.done()]
        self._hear()  # all that these jobs told before they ended
        for future in ended:
            self._settle(self.flying.pop(future), future.result())

    def _hear(self) -> None:
        """Pass on what workers told."""
        for news in self.engine.news():
            facts = dict(news)
            event, task = str(facts.pop("event")), self.tasks.get(str(facts["id"]))
            if event == "step_started":
                self.steps[str(facts["id"])] = str(facts["step"])
            if event == "warning" and self._warned_before(str(facts.get("text"))):
                continue
            if event == "job_started" and task is not None:
                self.began[task.id] = facts
                self.steps.pop(task.id, None)
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
        if report.retire_worker is not None:
            self.ended = report.retire_worker
        if report.status == "lost" and self.interrupted:
            return  # we stopped it ourselves: nothing has failed, it is still to do
        if report.status == "busy":
            self.later.append((time.monotonic() + PAUSE, task))
            return
        rest = self._lost(task, report) if report.status == "lost" else None
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
        if rest is not None:
            self.tasks[rest.id] = rest
            self.ready.append(rest)
            return
        self._count_down(task)
        if task.kind == "source":
            self._show(task, report)
            self._release(task, report)

    def _show(self, source: Task, report: Report) -> None:
        """Tell what a built source claims to be, and what its probe measured."""
        if report.status != "done" and not any(source.id in task.waits for task in self.blocked):
            self.events.warn(f"source {source.name}: {report.reason}")  # no trial would tell
        if report.status == "done":
            record = self.folder.read(source.id)
            self.events.tell(
                "source_finished", id=source.id, name=source.name, card=record["card"], probe=record["probe"]
            )

    def _release(self, source: Task, report: Report) -> None:
        """Let go what waited for a source, or give it up where there will be none."""
        built = report.status == "done" or self.folder.has(source.id)
        for task in [task for task in self.blocked if source.id in task.waits]:
            task.waits.discard(source.id)
            if not built:
                self.blocked.remove(task)
                self._count_down(task)
            elif not task.waits:
                self.blocked.remove(task)
                self.ready.append(task)

    def _count_down(self, task: Task) -> None:
        """One task less that may still change how its trials stand; those that have none left are told."""
        for trial in task.trials:
            self.unsettled[trial.id] -= 1
            if not self.unsettled[trial.id]:
                self._tell(trial)

    def _tell(self, trial: Trial) -> None:
        """Tell how a trial stands now, by the rule of `advtransfer.plan.status`."""
        state = state_in(self.folder, trial, self.plan)
        match state.value:
            case "done":
                self.events.tell("trial_finished", trial=place(trial), metrics=self._metrics(trial))
            case "skipped":
                self.events.tell("trial_skipped", trial=place(trial), reason=state.reason)
            case "failed":
                failures = dict(state.failures)
                self.events.tell("trial_failed", trial=place(trial), reason=state.text, evaluations=failures)

    def _lost(self, task: Task, report: Report) -> Task | None:
        """Put it on disk that a worker died, under the step that it was at; what is left to do without that step."""
        asked, at = task.asked, self.steps.pop(task.id, None)
        results = [one for one in asked.results if one.id == at]
        for node in results or asked.lacking(self.folder.has):
            self.folder.write_attempt(
                attempt(
                    node,
                    status="lost",
                    reason=str(report.reason),
                    exception=None,
                    traceback=None,
                    deterministic=False,
                    environment=self.order.environment,
                    observed={"asked_by": dict(self.order.asked_by)},
                )
            )
        rest = tuple(one for one in asked.results if one.id != at and not self.folder.has(one.id))
        return replace(task, asked=replace(asked, results=rest)) if results and rest else None

    def _metrics(self, trial: Trial) -> dict[str, Json]:
        """The numbers of a finished trial, as ``evaluation.metric``."""
        found: dict[str, Json] = {}
        for label, ids in trial.evaluations.items():
            for id in ids if all(map(self.folder.has, ids)) else ():
                metrics = cast("Mapping[str, Mapping[str, Json]]", self.folder.read(id)["metrics"])
                found |= {f"{label}.{name}": metric["value"] for name, metric in metrics.items()}
        return found
