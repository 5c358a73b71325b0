"""Performance of one job, from its nodes to its records; a failure becomes an attempt on disk."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from advtransfer.cache import Cache
from advtransfer.errors import (
    AdvTransferError,
    Busy,
    Cancelled,
    Diverged,
    Inapplicable,
    Interrupted,
    Leaked,
    Unfit,
)
from advtransfer.jobs import Job, Report
from advtransfer.node import Node, text_sha256
from advtransfer.planning import JobRequest
from advtransfer.result import Run, attempt_record
from advtransfer.types import Json
from advtransfer.worker.process import (
    deterministic_algorithms,
    limited_threads,
    scratch_folder,
    warnings_as_events,
)

StepEnding: TypeAlias = tuple[Literal["failed", "skipped"], str]
"""What became of a step, and the reason."""


def record_failure(
    job: Job, run: Run, node: Node, error: BaseException, started: float
) -> StepEnding:
    """Put a failure on disk; what the plugins say of themselves needs no traceback to be understood, but has one."""
    from advtransfer.worker.object_builder import installed_host

    status: Literal["failed", "skipped"] = (
        "skipped" if isinstance(error, Inapplicable) else "failed"
    )
    reason = failure_reason(error)
    record = attempt_record(
        node,
        status=status,
        reason=reason,
        exception=type(error).__name__,
        traceback="".join(traceback.format_exception(error)),
        deterministic=isinstance(error, Diverged | Inapplicable | Leaked),
        environment=job.environment,
        observed={
            "asked_by": job.asked_by,
            "started": started,
            "seconds": time.time() - started,
            "code": cast(Json, installed_host().node_code(node)),
        },
    )
    run.write_attempt(record)
    return status, reason


def failure_reason(error: BaseException) -> str:
    """An error in words: its text, with its class unless it is one of ours; where it was raised, if it has no text."""
    told = str(traceback.TracebackException.from_exception(error)).strip()
    if isinstance(error, AdvTransferError) and told:
        return told
    return f"{type(error).__name__}: {told or _raised_at(error)}"


def _raised_at(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "no reason given"
    last = frames[-1]
    return f"raised without a word in {last.name} ({'/'.join(Path(last.filename).parts[-2:])}:{last.lineno})"


SendEvent = Callable[[Mapping[str, Json]], None]


def perform_job(job: Job, tell: SendEvent) -> Report:
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
            cache.hold_lock(text_sha256(f"job {job.id}")),
            limited_threads(job.threads),
            scratch_folder() as scratch,
        ):
            tell({"event": "job_started", "id": job.id, "worker": os.getpid(), "time": time.time()})
            return _perform_steps(job, cache, scratch, tell)
    except Unfit as unfit:
        return Report(job.id, "busy", (), str(unfit), str(unfit))
    except Busy:
        return Report(job.id, "busy", (), "another worker is building what this job needs")
    except Interrupted:
        raise
    except BaseException as error:
        return _report_outside_steps(job, error, started)


def _perform_steps(job: Job, cache: Cache, scratch: Path, tell: SendEvent) -> Report:
    run, asked = Run(job.run), job_request(job)
    ids = [node.id for node in (asked.node, *asked.results)]
    if all(run.is_complete(id) for id in ids):  # another driver of this folder has made it
        return Report(job.id, "done", tuple(ids), None)

    import torch

    from advtransfer.worker.object_builder import ObjectBuilder, installed_host
    from advtransfer.worker.recording import JobRecorder
    from advtransfer.worker.steps import job_steps

    work = JobRecorder(
        job,
        run,
        ObjectBuilder(job, run, cache, torch.device(job.device), scratch, tell, installed_host()),
    )
    written: list[str] = []
    trouble: list[StepEnding] = []
    with deterministic_algorithms():
        for step, make in job_steps(work, asked.node, list(asked.results)):
            started = time.time()
            tell(
                {
                    "event": "step_started",
                    "id": job.id,
                    "step": step.id,
                    "use": step.use,
                    "time": started,
                }
            )
            try:
                with warnings_as_events(tell, job):
                    make()
                written.append(step.id)
            except (Busy, Cancelled, Interrupted):
                raise
            except (
                BaseException
            ) as error:  # SystemExit too: a plugin that exits fails, and ends no worker
                nodes = (
                    [step] if step.kind == "result" else asked.nodes_without_record(run.has_record)
                )
                trouble += [record_failure(job, run, node, error, started) for node in nodes]
                if step.kind != "result":
                    break
    retire_worker = "; ".join(dict.fromkeys(work.lasting_effects)) or None
    if not trouble:
        return Report(job.id, "done", tuple(written), None, retire_worker)
    status, reason = min(trouble, key=lambda one: one[0])  # "failed" is told before "skipped"
    return Report(job.id, status, tuple(written), reason, retire_worker)


def _report_outside_steps(job: Job, error: BaseException, started: float) -> Report:
    """The report of a job that failed outside its steps: an attempt on disk, where one can be written."""
    try:
        run, asked = Run(job.run), job_request(job)
        for node in asked.nodes_without_record(run.has_record):
            record_failure(job, run, node, error, started)
    except Exception as unwritten:  # the driver tells it, and tries to record it
        return Report(
            job.id,
            "lost",
            (),
            f"{failure_reason(error)}; and this could not be recorded: {unwritten}",
        )
    return Report(job.id, "failed", (), failure_reason(error))


def job_request(job: Job) -> JobRequest:
    """The nodes that a job carries as plain data."""
    asked = cast(
        "Mapping[str, Any]", job.asked
    )  # Any: nodes as JSON; their ids are checked against the job's
    return JobRequest(Node.from_json(asked["node"]), tuple(map(Node.from_json, asked["results"])))
