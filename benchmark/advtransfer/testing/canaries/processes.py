"""Score an evaluation in worker processes, since many models are attacked.

Each process has one thread, trains the same networks and examines one model after the other, so that
no result depends on their number. The results come in a fixed order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import chain, islice
from multiprocessing import connection
from multiprocessing.connection import Connection
from signal import SIG_BLOCK, SIG_SETMASK, SIGINT, pthread_sigmask
from typing import cast

import torch

from advtransfer.errors import BadInput, PluginError, Problem
from advtransfer.executors.worker_process import WorkerProcess, begin_worker
from advtransfer.host import Host
from advtransfer.testing.canaries.models import (
    FEW_IMAGES,
    MAX_PASSES,
    ModelBuilder,
    ModelName,
    honest_model,
    scored_models,
)
from advtransfer.testing.canaries.score import ScoredModel, examine_model
from advtransfer.types import Evaluation, Json
from advtransfer.worker.verification import BatteryConfig, ThreatModel

POLL_SECONDS = 0.25
"""Seconds between two checks of silent workers, whose children can keep the pipe open when they are dead."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """What is scored and how, as plain data for another process.

    Args:
        evaluation: The name of the component, as ``plugin/factory``.
        options: Its options, all of them.
        threat: The threat model of its attack; the exact model is made for it.
        battery: The size of the battery.
        seed: The seed of the networks.
        is_strong: Whether the evaluation claims to be strong, as its component says.
    """

    evaluation: str
    options: Mapping[str, Json]
    threat: ThreatModel
    battery: BatteryConfig
    seed: int
    is_strong: bool


def score_evaluation(
    scoring: Scoring, *, jobs: int, report: Callable[[str], None]
) -> Generator[ScoredModel]:
    """Evaluate honest models, an exact one, then canaries on a natural and a robust network.

    Args:
        scoring: What is scored.
        jobs: The number of processes.
        report: Called with a line that says what is left out, where the evaluation is costly.

    Yields:
        The results of the models, in the order of `scored_models`.

    Raises:
        BadInput: The evaluation refuses all honest and exact models, so its refusals of canaries
            mean nothing.
        PluginError: A process ended while it examined a model.
    """
    probe = honest_model("natural", images=FEW_IMAGES)
    with ModelWorkers(scoring, jobs=jobs) as workers:
        (probed,) = workers.examine([probe])
        is_costly = probed.seen.passes > MAX_PASSES
        names = scored_models(scoring.threat.norm, is_costly=is_costly)
        if is_costly:
            report(_left_out_text(scoring, probed.seen.passes, names))
        known = [probed] if names[0] == probe else []
        rows = chain(known, workers.examine(names[len(known) :]))
        fair_models = list(islice(rows, sum(name.kind != "canary" for name in names)))
        _require_measurable(fair_models)
        yield from fair_models
        yield from rows


def _left_out_text(scoring: Scoring, passes: float, names: Sequence[ModelName]) -> str:
    whole = sum(
        name.kind == "canary" for name in scored_models(scoring.threat.norm, is_costly=False)
    )
    kept = sum(name.kind == "canary" for name in names)
    return (
        f"left out: {whole - kept} of {whole} canaries (all on the robust network, and all but the "
        f"weakest of each kind) and all images after the first {FEW_IMAGES}, since the evaluation "
        f"takes {passes:,.0f} passes of the model for each image (at most {MAX_PASSES} for all)"
    )


def _require_measurable(fair_models: Sequence[ScoredModel]) -> None:
    if any(model.seen.judged != "refused" for model in fair_models):
        return
    reason = fair_models[0].seen.reason
    found = f"every model refused, the honest ones too, the first with {reason}"
    expected = "an evaluation that measures honest models"
    raise BadInput([Problem(found, expected, "correct its options")])


class ModelWorkers:
    """Processes that examine models; leaving the context ends them.

    Args:
        scoring: What is scored.
        jobs: The number of processes.

    Attributes:
        idle: The processes that wait for a model.
    """

    def __init__(self, scoring: Scoring, *, jobs: int) -> None:
        self._scoring = scoring
        self._jobs = jobs
        self.idle: list[WorkerProcess] = []
        self._busy: dict[Connection, tuple[WorkerProcess, int, ModelName]] = {}
        self._ends = ExitStack()

    def __enter__(self) -> ModelWorkers:
        # Workers inherit the blocked signal: Ctrl-C cannot interrupt one that is starting.
        before = pthread_sigmask(SIG_BLOCK, {SIGINT})
        try:
            for _ in range(self._jobs):
                worker = WorkerProcess.start(serve_models, threads=1)
                self._ends.callback(worker.hang_up, grace=0)
                self.idle.append(worker)
        except BaseException:
            self._ends.close()
            raise
        finally:
            pthread_sigmask(SIG_SETMASK, before)
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def examine(self, names: Sequence[ModelName]) -> Iterator[ScoredModel]:
        """Yield the result of each model, in the order of the names.

        Raises:
            PluginError: A process ended while it examined a model.
        """
        waiting = deque(enumerate(names))
        finished: dict[int, ScoredModel] = {}
        for place in range(len(names)):
            while place not in finished:
                while waiting and self.idle:
                    self._assign(self.idle.pop(), *waiting.popleft())
                finished.update(self._collect())
            yield finished.pop(place)

    def _assign(self, worker: WorkerProcess, place: int, name: ModelName) -> None:
        self._busy[worker.wire] = worker, place, name
        with suppress(OSError):  # A worker that has ended is found by `_collect`.
            worker.wire.send((self._scoring, name))

    def _collect(self) -> dict[int, ScoredModel]:
        """Return the results that have arrived, by place."""
        ready = connection.wait(list(self._busy), timeout=POLL_SECONDS)
        if not ready:
            ready = [wire for wire, (worker, *_) in self._busy.items() if worker.has_ended]
        results = {}
        for wire in ready:
            worker, place, name = self._busy.pop(cast(Connection, wire))
            try:
                results[place] = worker.wire.recv()
            except (EOFError, OSError) as error:
                raise self._death(worker, name) from error
            self.idle.append(worker)
        return results

    def _death(self, worker: WorkerProcess, name: ModelName) -> PluginError:
        plugin = self._scoring.evaluation.partition("/")[0]
        strength = "" if name.strength is None else f" {name.strength:g}"
        found = f"the process that examined {name.text}{strength} ended ({worker.exit_reason()})"
        return PluginError(plugin, f"{found}; expected a result; no score without all models")


def serve_models(wire: Connection, driver: int) -> None:
    """Examine models from the connection until it is closed; a `serve` of `WorkerProcess`."""
    begin_worker(driver)
    examiner: Examiner | None = None
    with suppress(EOFError, OSError):  # The driver has closed the connection.
        while True:
            scoring, name = wire.recv()
            examiner = examiner or Examiner(scoring)
            wire.send(examiner.examine(name))


class Examiner:
    """Examines models of a scoring by name, in this process."""

    def __init__(self, scoring: Scoring) -> None:
        component = Host.discover().component(scoring.evaluation, "evaluation")
        self._scoring = scoring
        self._evaluation = cast(Evaluation, component.build(dict(scoring.options), {}))
        self._builder = ModelBuilder(scoring.threat, scoring.seed)

    def examine(self, name: ModelName) -> ScoredModel:
        """Return the result of one model."""
        subject, exact = self._builder.build(name)
        # A canary with noise draws from the global state, which no earlier model may have moved.
        torch.manual_seed(self._scoring.seed)
        seen = examine_model(
            self._evaluation,
            subject,
            battery=self._scoring.battery,
            is_strong=self._scoring.is_strong,
        )
        return ScoredModel(name.kind, name.text, name.strength, seen, exact)
