"""One job in a worker on another machine than the driver's, which may or may not see the driver's folders."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from advtransfer import files
from advtransfer.errors import BadInput
from advtransfer.exchange.environment_check import differences, own_environment
from advtransfer.exchange.node_inputs import data_ids, node_ids, place_user_content
from advtransfer.exchange.node_outputs import NodeOutputs
from advtransfer.exchange.parcels import DriverFiles, JobInputs
from advtransfer.exchange.remote_cache import DriverCache
from advtransfer.exchange.shared_folders import FolderMarks
from advtransfer.files import default_cache_root
from advtransfer.jobs import Job, Report
from advtransfer.result import Run
from advtransfer.types import Json
from advtransfer.worker import perform_job
from advtransfer.worker.time_limit import copy_traces

RUN_NAME = "advtransfer-run"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A worker that may not do a job of this run: its host, and why."""

    host: str
    reason: str


def perform_on_node(
    job: Job,
    driver: DriverFiles,
    marks: FolderMarks,
    tell: Callable[[Mapping[str, Json]], None],
) -> Report | Refusal:
    """Perform a job and report how it ended, when what it made is in the driver's folders.

    Args:
        job: The job, with paths on the driver's machine.
        driver: The driver's folders, for workers that do not see them.
        marks: Files that tell whether this worker sees them.
        tell: Sends an event to the run loop.
    """
    is_shared = marks.are_visible()
    if is_shared:
        environment: Mapping[str, Json] = Run(job.run).read_environments()[job.environment]
    else:
        inputs = driver.job_inputs(node_ids(job), data_ids(job), job.environment)
        environment = inputs.environment
    own = _accepted_environment(job, environment)
    if isinstance(own, Refusal):
        return own
    placed = place_user_content(job, driver, default_cache_root())
    if is_shared:
        return perform_job(replace(placed, environment=Run(job.run).write_environment(own)), tell)
    return _perform_apart(placed, inputs, own, driver, marks.content, tell)


def job_for_worker(job: Job) -> Job | Refusal:
    """Return a job as a worker that sees the driver's folders performs it: with that worker's own environment."""
    run = Run(job.run)
    own = _accepted_environment(job, run.read_environments()[job.environment])
    if isinstance(own, Refusal):
        return own
    return replace(job, environment=run.write_environment(own))


def _accepted_environment(job: Job, environment: Mapping[str, Json]) -> dict[str, Json] | Refusal:
    """Return the environment of this worker, or why it may not do a job of a run with another one."""
    try:
        own = own_environment(
            job.device,
            job.threads,
            job.precision,
            job.kernel_batch,
            job.compiled,
            tuple(_foreign_plugins(environment)),
        )
    except BadInput as error:
        return Refusal(socket.gethostname(), str(error))
    different = differences(own, environment)
    if different and not job.mixed:
        return Refusal(socket.gethostname(), "; ".join(different))
    return own


def _perform_apart(
    job: Job,
    inputs: JobInputs,
    environment: Mapping[str, Json],
    driver: DriverFiles,
    call: str,
    tell: Callable[[Mapping[str, Json]], None],
) -> Report:
    """Perform a job in folders of this machine; send what each step made before the next one begins."""
    with run_folder(call) as run:
        cache = DriverCache(driver)
        outputs = NodeOutputs(run, driver, cache, known=_write_inputs(run, inputs))

        def send_and_tell(event: Mapping[str, Json]) -> None:
            if event["event"] == "step_started":
                outputs.send_records()
            tell(event)

        here = replace(
            job,
            run=run.path,
            cache=default_cache_root(),
            cache_below=None,
            environment=run.write_environment(environment),
        )
        report = perform_job(here, send_and_tell, cache)
        # Weights come before the record that names them.
        outputs.send_artifacts()
        outputs.send_records()
        return report


@contextmanager
def run_folder(call: str) -> Iterator[Run]:
    """Create a run folder for one job, and delete it at the end, as those of processes that have died.

    A step that ended its process at its time limit is not tried again on this machine: the new
    folder gets the traces of the processes that have died in the same call of the driver. Their
    folders stay until the next call, since other jobs may come before the one that is tried again.

    Args:
        call: What no other call of a driver has.
    """
    root = Path(tempfile.gettempdir())
    name = f"{RUN_NAME}-{call}"
    folder = files.temporary_path(root / name)
    folder.mkdir(mode=0o700)
    for stale in files.stale_temporaries(root, pattern=f".{RUN_NAME}*.tmp"):
        if not (stale.name.startswith(f".{name}.") and copy_traces(stale, folder)):
            files.delete_if_present(stale)
    try:
        yield Run(folder)
    finally:
        files.delete_if_present(folder)


def _write_inputs(run: Run, inputs: JobInputs) -> set[str]:
    """Write what a job reads into its folder here; return the ids of the records."""
    for record in inputs.records:
        run.write_record(dict(record))
    for pin in inputs.data:
        run.pin_data(str(pin["data"]), str(pin["content"]))
    return {str(record["id"]) for record in inputs.records}


def _foreign_plugins(environment: Mapping[str, Json]) -> list[str]:
    # Any: the description of `describe_environment`
    return list(cast("Mapping[str, Any]", environment.get("plugins", {})))
