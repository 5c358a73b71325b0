"""The budget of a run: which costs are read for it, when it ends, and what it left."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from advtransfer.result import Run
from advtransfer.runner.job_costs import MOST_TRIALS_READ, JobCosts, read_known_costs
from advtransfer.runner.job_queue import Budget, PendingJob
from advtransfer.runner.settings import RunSettings
from advtransfer.text import format_duration, pluralize

TRIALS_FOR_ORDER = 50
"""Recorded trials that the order of jobs rests on: enough for it, and read in a moment."""


def read_costs_for_order(folder: Run, settings: RunSettings) -> JobCosts:
    """Return the recorded costs by which jobs are ordered, more of them where a budget needs them."""
    most = TRIALS_FOR_ORDER if settings.budget is None else MOST_TRIALS_READ
    return read_known_costs(folder, settings, most_trials=most)


def start_budget(settings: RunSettings, costs: JobCosts) -> Budget | None:
    """Return the budget of a run whose first job begins now."""
    if settings.budget is None:
        return None
    return Budget(time.monotonic() + settings.budget, lambda job: costs.job_seconds(job.request))


def left_text(left_over: Sequence[PendingJob], settings: RunSettings) -> str | None:
    """Return what the budget left, and why; None where it left nothing."""
    if not left_over or settings.budget is None:
        return None
    trials = {trial.id for job in left_over for trial in job.trials}
    return (
        f"{pluralize(len(left_over), 'job')} of {pluralize(len(trials), 'trial')}, which would have "
        f"ended later than the budget of {format_duration(math.ceil(settings.budget))}"
    )
