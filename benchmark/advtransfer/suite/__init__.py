"""Suites: from a YAML file to a checked `Suite`, or to an error with every problem in it."""

from advtransfer.suite.extends import shipped_suites
from advtransfer.suite.loader import NOTHING_OVER, load, load_text
from advtransfer.suite.schema import suite_schema
from advtransfer.suite.selection import AXES, Selection
from advtransfer.suite.suite import GridEntry, Leaderboard, Subset, Suite, Target

__all__ = [
    "AXES",
    "NOTHING_OVER",
    "GridEntry",
    "Leaderboard",
    "Selection",
    "Subset",
    "Suite",
    "Target",
    "load",
    "load_text",
    "shipped_suites",
    "suite_schema",
]
