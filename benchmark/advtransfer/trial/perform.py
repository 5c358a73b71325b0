"""One job, from its nodes to its records: a source, or a fit with its results, or results that need no fit."""

from __future__ import annotations

import os
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

from advtransfer.cache import Cache
from advtransfer.errors import AdvTransferError, Busy, Cancelled, Diverged, Inapplicable, Leaked
from advtransfer.node import Node, digest
from advtransfer.result import Run, attempt
from advtransfer.trial.warned import warnings_told
from advtransfer.types import Job, Json, Report


def perform(job: Job, tell: Callable[[Mapping[str, Json]], None]) -> Report:
    """Do what a job asks and report. Its records are on disk before this returns; a failure is an attempt on disk.

    Holds a lease on the job meanwhile, so that several runs can share one folder; `busy` when another one has it.
    """
    cache = Cache(
        job.cache, line=f"{job.device.partition(':')[0]}-{job.threads}-{job.precision}", max_bytes=job.max_bytes
    )
    try:
        with (
            cache.lease(digest(f"job {job.id}")),
            limited_threads(job.threads),
            tempfile.TemporaryDirectory() as scratch,
        ):
            tell({"event": "job_started", "id": job.id, "worker": os.getpid(), "time": time.time()})
            return _performed(job, cache, Path(scratch), tell)
    except Busy:
        return Report(job.id, "busy", (), "another worker is building what this job needs")


def _performed(job: Job, cache: Cache, scratch: Path, tell: Callable[[Mapping[str, Json]], None]) -> Report:
    import torch

    from advtransfer.trial.work import Work
    from advtransfer.trial.workshop import Workshop, installed

    run = Run(job.run)
    asked = cast("Mapping[str, Any]", job.asked)  # Any: nodes as JSON; their ids are checked against the job's
    node = Node.from_json(asked["node"])
    results = [Node.from_json(one) for one in asked["results"]]
    work = Work(job, run, Workshop(job, run, cache, torch.device(job.device), scratch, tell, installed()))
    written, trouble = [], []
    with deterministic():
        for step, make in work.steps(node, results):
            started = time.time()
            try:
                with warnings_told(tell, job):
                    make()
                written.append(step.id)
            except (Busy, Cancelled):
                raise
            except Exception as error:
                trouble.append(_attempted(job, run, step, error, started))
                if step.kind != "result":
                    break
    if not trouble:
        return Report(job.id, "done", tuple(written), None)
    status, reason = min(trouble, key=lambda one: one[0])  # "failed" is told before "skipped"
    return Report(job.id, status, tuple(written), reason)


def _attempted(
    job: Job, run: Run, node: Node, error: Exception, started: float
) -> tuple[Literal["failed", "skipped"], str]:
    """Put a failure on disk; what the plugins say of themselves needs no traceback to be understood, but has one."""
    status: Literal["failed", "skipped"] = "skipped" if isinstance(error, Inapplicable) else "failed"
    reason = str(error) if isinstance(error, AdvTransferError) else f"{type(error).__name__}: {error}"
    record = attempt(
        node,
        status=status,
        reason=reason,
        exception=type(error).__name__,
        traceback="".join(traceback.format_exception(error)),
        deterministic=isinstance(error, Diverged | Inapplicable | Leaked),
        environment=job.environment,
        observed={"asked_by": job.asked_by, "started": started, "seconds": time.time() - started},
    )
    run.write_attempt(record)
    return status, reason


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
    """Inside, torch picks algorithms that give the same bits again; an operation that has none fails by name."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it torch refuses cuBLAS here
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
