"""One job, from its nodes to its records: a source, or a fit with its results, or results that need no fit."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from advtransfer.cache import Cache
from advtransfer.errors import Busy, Cancelled, Interrupted, Unfit
from advtransfer.node import Node, digest
from advtransfer.plan import Asked
from advtransfer.result import Run
from advtransfer.trial.failure import Ending, failed, reason_of
from advtransfer.trial.scratch import scratch_folder
from advtransfer.trial.warned import warnings_told
from advtransfer.types import Job, Json, Report

Tell = Callable[[Mapping[str, Json]], None]


def perform(job: Job, tell: Tell) -> Report:
    """Do what a job asks and report. Its records are on disk before this returns; a failure is an attempt on disk.

    Holds a lease on the job meanwhile, so that several runs can share one folder; `busy` when another one has it.
    Whatever a plugin raises, ``SystemExit`` too, is a failure of this job; only `Interrupted` passes.
    """
    started = time.time()
    try:
        cache = Cache(
            job.cache,
            line=f"{job.device.partition(':')[0]}-{job.threads}-{job.precision}",
            max_bytes=job.max_bytes,
            below=job.cache_below,
        )
        with (
            cache.lease(digest(f"job {job.id}")),
            limited_threads(job.threads),
            scratch_folder() as scratch,
        ):
            tell({"event": "job_started", "id": job.id, "worker": os.getpid(), "time": time.time()})
            return _performed(job, cache, scratch, tell)
    except Unfit as unfit:
        return Report(job.id, "busy", (), str(unfit), str(unfit))
    except Busy:
        return Report(job.id, "busy", (), "another worker is building what this job needs")
    except Interrupted:
        raise
    except BaseException as error:
        return _unbegun(job, error, started)


def _performed(job: Job, cache: Cache, scratch: Path, tell: Tell) -> Report:
    run, asked = Run(job.run), asked_of(job)
    ids = [node.id for node in (asked.node, *asked.results)]
    if all(run.is_whole(id) for id in ids):  # another driver of this folder has made it
        return Report(job.id, "done", tuple(ids), None)

    import torch

    from advtransfer.trial.steps import job_steps
    from advtransfer.trial.work import Work
    from advtransfer.trial.workshop import Workshop, installed

    work = Work(job, run, Workshop(job, run, cache, torch.device(job.device), scratch, tell, installed()))
    written: list[str] = []
    trouble: list[Ending] = []
    with deterministic():
        for step, make in job_steps(work, asked.node, list(asked.results)):
            started = time.time()
            tell({"event": "step_started", "id": job.id, "step": step.id, "use": step.use, "time": started})
            try:
                with warnings_told(tell, job):
                    make()
                written.append(step.id)
            except (Busy, Cancelled, Interrupted):
                raise
            except BaseException as error:  # SystemExit too: a plugin that exits fails, and ends no worker
                nodes = [step] if step.kind == "result" else asked.lacking(run.has)
                trouble += [failed(job, run, node, error, started) for node in nodes]
                if step.kind != "result":
                    break
    retire_worker = "; ".join(dict.fromkeys(work.left_behind)) or None
    if not trouble:
        return Report(job.id, "done", tuple(written), None, retire_worker)
    status, reason = min(trouble, key=lambda one: one[0])  # "failed" is told before "skipped"
    return Report(job.id, status, tuple(written), reason, retire_worker)


def _unbegun(job: Job, error: BaseException, started: float) -> Report:
    """The report of a job that failed outside its steps: an attempt on disk, where one can be written."""
    try:
        run, asked = Run(job.run), asked_of(job)
        for node in asked.lacking(run.has):
            failed(job, run, node, error, started)
    except Exception as unwritten:  # the driver tells it, and tries to record it
        return Report(job.id, "lost", (), f"{reason_of(error)}; and this could not be recorded: {unwritten}")
    return Report(job.id, "failed", (), reason_of(error))


def asked_of(job: Job) -> Asked:
    """The nodes that a job carries as plain data."""
    asked = cast("Mapping[str, Any]", job.asked)  # Any: nodes as JSON; their ids are checked against the job's
    return Asked(Node.from_json(asked["node"]), tuple(map(Node.from_json, asked["results"])))


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Inside, torch and the BLAS libraries use this many CPU threads (each keeps its own count)."""
    import threadpoolctl
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with threadpoolctl.threadpool_limits(threads):
            yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def deterministic() -> Iterator[None]:
    """Inside, torch picks algorithms that give the same bits again; an operation that has none fails by name.

    Float32 numbers are computed in full, see `full_float32`.
    """
    import torch

    from advtransfer.trial.precision import full_float32

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it torch refuses cuBLAS here
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        with full_float32():
            yield
    finally:
        torch.use_deterministic_algorithms(before)
