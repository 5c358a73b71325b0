"""The largest differences that measuring the quickstart again had, on other instructions or with another torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import NamedTuple

TOLERANCE_FILE = "replay_tolerance.json"


class Tolerances(NamedTuple):
    """The largest differences that were measured, by metric without its radius, and of any share."""

    by_metric: Mapping[str, float]
    of_shares: float

    def of_metric(self, metric: str, *, is_share: bool) -> float | None:
        """Return the tolerance of a metric; None where nothing was measured for its like."""
        measured = self.by_metric.get(metric.partition("@")[0])
        return measured if measured is not None else self.of_shares if is_share else None


@cache
def read_tolerances() -> Tolerances:
    """Return the committed table of `tools/replay_tolerance.py`."""
    text = (files("advtransfer.publication") / TOLERANCE_FILE).read_text("utf-8")
    largest: dict[str, float] = {}
    for comparison in json.loads(text)["comparisons"]:
        for name, difference in comparison["metrics"].items():
            largest[name] = max(difference, largest.get(name, 0.0))
    return Tolerances(largest, max(largest.values()))
