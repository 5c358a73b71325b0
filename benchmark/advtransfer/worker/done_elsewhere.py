"""Jobs that another driver of the run folder has done, or tried, since this run began.

Importing this module does not import torch: drivers call it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

from advtransfer.jobs import Job, Report
from advtransfer.node import Node
from advtransfer.planning import JobRequest
from advtransfer.result import Run


def job_request(job: Job) -> JobRequest:
    """Return the nodes that a job carries as plain data."""
    # Any: nodes as JSON; their ids are checked against the job's
    request = cast("Mapping[str, Any]", job.asked)
    results = tuple(map(Node.from_json, request["results"]))
    return JobRequest(Node.from_json(request["node"]), results)


def report_from_elsewhere(job: Job, run: Run) -> Report | None:
    """Return the report of a job that nobody need do any more; None where something is left to do.

    What failed elsewhere is not tried again in this run, where drivers share it.
    """
    request = job_request(job)
    ids = tuple(node.id for node in (request.node, *request.results))
    missing = request.nodes_without_record(run.has_record)
    if missing:
        earlier = job.earlier_attempts
        if earlier is None:
            return None
        if not all(run.attempt_count(node.id) > earlier.get(node.id, 0) for node in missing):
            return None
        attempts = [run.latest_attempt(node.id) or {} for node in missing]
        skipped = all(attempt.get("status") == "skipped" for attempt in attempts)
        status: Literal["skipped", "failed"] = "skipped" if skipped else "failed"
        recorded = tuple(filter(run.has_record, ids))
        return Report(job.id, status, recorded, str(attempts[0].get("reason", "")), elsewhere=True)
    if all(run.is_complete(id, job.battery) for id in ids):
        return Report(job.id, "done", ids, None, elsewhere=True)
    return None
