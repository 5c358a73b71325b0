"""Walks a plan: what is done stays done, what is missing is built, and every event is told to those who listen."""

from advtransfer.runner.drive import Summary, run
from advtransfer.runner.settings import Settings
from advtransfer.runner.states import State, states

__all__ = ["Settings", "State", "Summary", "run", "states"]
