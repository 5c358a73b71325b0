"""Performance of one job, from its nodes to its records; a failure becomes an attempt on disk.

Importing this module does not import torch, so that a driver can name `perform_job` to its workers.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from advtransfer.cache import Cache, RemoteCache
from advtransfer.errors import (
    AdvTransferError,
    Busy,
    Cancelled,
    ClaimLost,
    Diverged,
    Inapplicable,
    Interrupted,
    Leaked,
    Unfit,
)
from advtransfer.jobs import Job, Report
from advtransfer.node import Node
from advtransfer.result import Run, attempt_record
from advtransfer.result.claims import hold_job_claim
from advtransfer.types import Json
from advtransfer.worker.done_elsewhere import job_request, report_from_elsewhere
from advtransfer.worker.out_of_memory import (
    NEXT_STEP,
    KernelBatchTooLarge,
    bounded_cache,
    bounded_job,
    halved_bound,
    has_measurements,
    is_out_of_memory,
    recorded_bound,
    release_gpu_memory,
)
from advtransfer.worker.process import (
    deterministic_algorithms,
    limited_threads,
    scratch_folder,
    warnings_as_events,
)
from advtransfer.worker.time_limit import time_limit

if TYPE_CHECKING:
    from advtransfer.toolkit.kernel_batch import KernelBatchOption

FailureStatus: TypeAlias = Literal["failed", "skipped"]
StepFailure: TypeAlias = tuple[FailureStatus, str]
"""Status of a step that ended without a record, and the reason."""

SendEvent: TypeAlias = Callable[[Mapping[str, Json]], None]


def record_failure(
    job: Job, run: Run, node: Node, error: BaseException, started: float
) -> StepFailure:
    """Write a failed or skipped attempt, with reason and traceback."""
    from advtransfer.worker.object_builder import installed_host

    status: FailureStatus = "skipped" if isinstance(error, Inapplicable) else "failed"
    reason = failure_reason(error)
    record = attempt_record(
        node,
        status=status,
        reason=reason,
        exception=type(error).__name__,
        traceback="".join(traceback.format_exception(error)),
        # These depend on the node alone, so the same job would end in the same way.
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
    """Return the text of an error, with its class unless it is one of advtransfer's.

    An error without a text is described by where it was raised.
    """
    text = str(traceback.TracebackException.from_exception(error)).strip()
    if is_out_of_memory(error):
        return f"{type(error).__name__}: {text or 'no memory left'}; {NEXT_STEP}"
    if isinstance(error, AdvTransferError) and text:
        return text
    return f"{type(error).__name__}: {text or _raised_at(error)}"


def _raised_at(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "no reason given"
    last = frames[-1]
    file = "/".join(Path(last.filename).parts[-2:])
    return f"raised without a word in {last.name} ({file}:{last.lineno})"


def perform_job(job: Job, tell: SendEvent, remote: RemoteCache | None = None) -> Report:
    """Perform a job and report how it ended.

    Its records are on disk before this returns; a failure is an attempt on disk. The job is claimed
    meanwhile, so that several drivers can share one run folder; if another process holds the claim,
    or has taken it over, the report is `busy`. Whatever a plugin raises, including ``SystemExit``,
    is a failure of this job.

    Args:
        job: The job.
        tell: Sends an event to the run loop.
        remote: The cache of another machine, for what this one's lacks.

    Raises:
        Interrupted: The worker is asked to stop.
    """
    started = time.time()
    try:
        with hold_job_claim(job.run, job.id) as claim:
            report = _perform_claimed(job, Run(job.run, claim), tell, remote)
            if report.retire_worker is not None:
                return report
            # A late process may have found every record made by the one that took its job over.
            with claim.guard():
                return report
    except Unfit as unfit:
        return Report(job.id, "busy", (), str(unfit), str(unfit))
    except ClaimLost as loss:
        tell({"event": "claim_lost", "id": job.id, "text": str(loss), "time": time.time()})
        return Report(job.id, "busy", (), str(loss))
    except Busy:
        return Report(job.id, "busy", (), "another worker is building what this job needs")
    except Interrupted:
        raise
    except BaseException as error:
        return _report_outside_steps(job, Run(job.run), error, started)


def _perform_claimed(job: Job, run: Run, tell: SendEvent, remote: RemoteCache | None) -> Report:
    """Perform a job whose claim is held; errors outside its steps are recorded while it still is."""
    report = report_from_elsewhere(job, run)
    if report is not None:
        return report
    started = time.time()
    tell({"event": "job_started", "id": job.id, "worker": os.getpid(), "time": started})
    try:
        with limited_threads(job.threads):
            return _perform_within_memory(job, run, tell, remote)
    except (Busy, Interrupted):
        raise
    except BaseException as error:
        return _report_outside_steps(job, run, error, started)


def _perform_within_memory(
    job: Job, run: Run, tell: SendEvent, remote: RemoteCache | None
) -> Report:
    """Perform a job, again with smaller kernel batches where the memory of its GPU runs out."""
    bound = recorded_bound(job, run)
    lasting_effects: list[str] = []
    while True:
        cache = bounded_cache(job, run, bound, remote)
        attempt = bounded_job(job, run, bound)
        try:
            with scratch_folder() as scratch:
                return _perform_steps(attempt, run, cache, scratch, tell, bound, lasting_effects)
        except KernelBatchTooLarge as error:
            bound = error.bound
            text = str(error)
        # Outside of the block, since the error refers to the objects of the first try.
        release_gpu_memory()
        tell({"event": "warning", "id": job.id, "name": "", "text": text})


def _perform_steps(
    job: Job,
    run: Run,
    cache: Cache,
    scratch: Path,
    tell: SendEvent,
    bound: int | None,
    lasting_effects: list[str],
) -> Report:
    request = job_request(job)

    import torch

    from advtransfer.toolkit.compilation import compile_option
    from advtransfer.toolkit.kernel_batch import kernel_batch_option
    from advtransfer.worker.device import make_current
    from advtransfer.worker.object_builder import ObjectBuilder, installed_host
    from advtransfer.worker.profiling import profiled_to
    from advtransfer.worker.recording import JobRecorder
    from advtransfer.worker.steps import job_steps, run_step

    device = torch.device(job.device)
    make_current(device)
    objects = ObjectBuilder(job, run, cache, device, scratch, tell, installed_host())
    recorder = JobRecorder(job, run, objects, lasting_effects)
    recorded: list[str] = []
    failures: list[StepFailure] = []
    with (
        deterministic_algorithms(),
        kernel_batch_option(job.kernel_batch, bound=bound) as kernel_batch,
        compile_option(job.compiled),
        profiled_to(job.profile, device),
    ):
        for step, make in job_steps(recorder, request.node, list(request.results)):
            step_failures = _perform_step(
                job, run, step, partial(run_step, recorder, step, make), tell, kernel_batch
            )
            if step_failures is None:
                recorded.append(step.id)
                continue
            failures += step_failures
            if step.kind != "result":
                break  # without its source or fit a job can record no result
    retire_worker = "; ".join(dict.fromkeys(recorder.lasting_effects)) or None
    if not failures:
        return Report(job.id, "done", tuple(recorded), None, retire_worker)
    # The first failure in alphabetical order of the status: "failed" comes before "skipped".
    status, reason = min(failures, key=lambda failure: failure[0])
    return Report(job.id, status, tuple(recorded), reason, retire_worker)


def _perform_step(
    job: Job,
    run: Run,
    step: Node,
    make: Callable[[], None],
    tell: SendEvent,
    kernel_batch: KernelBatchOption,
) -> list[StepFailure] | None:
    """Perform one step.

    Returns:
        None if it succeeded; otherwise the failures, one per node that has no record because of it.

    Raises:
        KernelBatchTooLarge: The job is to be done again with smaller kernel batches.
    """
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
        with warnings_as_events(tell, job), time_limit(job, step):
            make()
        return None
    except (Busy, Cancelled, Interrupted):
        raise
    # SystemExit too: a plugin that exits must not end the worker.
    except BaseException as error:
        if job.device != "cpu" and is_out_of_memory(error) and not has_measurements(job, run):
            largest = kernel_batch.largest
            bound = halved_bound(largest, job.kernel_batch)
            if bound is not None:
                raise KernelBatchTooLarge(step, largest, bound) from error
        unrecorded = job_request(job).nodes_without_record(run.has_record)
        failed_nodes = [step] if step.kind == "result" else unrecorded
        return [record_failure(job, run, node, error, started) for node in failed_nodes]


def _report_outside_steps(job: Job, run: Run, error: BaseException, started: float) -> Report:
    """Report a job that failed outside its steps, after writing the attempt where possible."""
    try:
        for node in job_request(job).nodes_without_record(run.has_record):
            record_failure(job, run, node, error, started)
    except Busy:
        raise
    except Exception as unwritten:
        # Reported as lost, so that the driver tries to write the attempt instead.
        reason = f"{failure_reason(error)}; and this could not be recorded: {unwritten}"
        return Report(job.id, "lost", (), reason)
    return Report(job.id, "failed", (), failure_reason(error))
