"""What a worker of Ray does with a job. Ray calls these functions in its own processes on any node."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import ray

from advtransfer.errors import BadInput, Problem
from advtransfer.exchange import FolderMarks, Refusal, perform_on_node
from advtransfer.jobs import Job, Report
from advtransfer.types import Json
from advtransfer_ray.driver_actor import ActorFiles, Handle, send_news

EXIT_SECONDS = 0.5
"""Seconds after which an unfit process ends: its report has left by then."""


@dataclass(frozen=True, slots=True)
class RefusedBy:
    """A refusal, and the node that it came from."""

    node: str
    refusal: Refusal


def perform_in_task(job: Job, actor: Handle, marks: FolderMarks) -> Report | RefusedBy:
    """Perform a job; its news are with the driver before the report is."""
    last: list[Handle] = []

    def tell(event: Mapping[str, Json]) -> None:
        last[:] = [send_news(actor, event)]

    outcome = perform_on_node(job, ActorFiles(actor), marks, tell)
    if last:
        ray.get(last[0])  # Messages of one process arrive in order.
    if isinstance(outcome, Refusal):
        return RefusedBy(ray.get_runtime_context().get_node_id(), outcome)
    if outcome.retire_worker is not None:
        _end_process_soon()
    return outcome


def call_in_task(function: Callable[[], object]) -> object:
    """Return what a function returns, or the problems that it raised."""
    try:
        return function()
    except BadInput as error:
        return Problems(error.problems)


@dataclass(frozen=True, slots=True)
class Problems:
    """Problems of a BadInput, since Ray cannot rebuild the error itself."""

    problems: tuple[Problem, ...]


def _end_process_soon() -> None:
    """End this process, which a plugin has changed, when its report has left.

    A job that begins in it meanwhile is started again by Ray, like that of any process that died.
    """

    def end() -> None:
        time.sleep(EXIT_SECONDS)
        os._exit(0)

    threading.Thread(target=end, daemon=True).start()
