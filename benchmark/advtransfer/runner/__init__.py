"""Walks a plan: what is done stays done, what is missing is built, and every event is told to those who listen."""

from advtransfer.plan.status import State, states
from advtransfer.runner.drive import Summary, run
from advtransfer.runner.settings import Settings

__all__ = ["Settings", "State", "Summary", "run", "states"]
