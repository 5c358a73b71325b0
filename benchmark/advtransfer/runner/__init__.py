"""Run loop.

Reuse finished records, build missing ones, and report every event to the listeners.
"""

from advtransfer.planning.status import TrialStatus, trial_statuses
from advtransfer.runner.run import run_suite
from advtransfer.runner.run_summary import RunSummary
from advtransfer.runner.settings import RunSettings

__all__ = ["RunSettings", "RunSummary", "TrialStatus", "run_suite", "trial_statuses"]
