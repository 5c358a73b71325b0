"""Planning: from a suite to its trials, each with its id and, where it is skipped, the reason."""

from advtransfer.planning.grid import make_plan
from advtransfer.planning.nodes import JobRequest, job_requests
from advtransfer.planning.trials import Plan, Trial

__all__ = ["JobRequest", "Plan", "Trial", "job_requests", "make_plan"]
