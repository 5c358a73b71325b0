"""Suites: from the words of a YAML file to a checked `Suite`, or to every problem in it at once."""

from advtransfer.suite.load import load
from advtransfer.suite.schema import schema
from advtransfer.suite.selection import AXES, Selection
from advtransfer.suite.shipped import shipped
from advtransfer.suite.suite import Cell, Leaderboard, Subset, Suite, Target

__all__ = ["AXES", "Cell", "Leaderboard", "Selection", "Subset", "Suite", "Target", "load", "schema", "shipped"]
