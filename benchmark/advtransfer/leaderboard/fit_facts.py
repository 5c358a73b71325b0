"""Facts that transfers state of their fits, as the columns of ``fit``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from advtransfer.leaderboard.costs import GRADIENT_PASSES
from advtransfer.leaderboard.result_data import Metric
from advtransfer.types.metric_names import VALIDATION_METRICS

OTHERWISE_SHOWN = frozenset({"labels_used", "folds", GRADIENT_PASSES, *VALIDATION_METRICS.values()})
"""Facts of the host, and those that are the columns of ``cost`` and ``validation``."""


def stated_facts(fit: Mapping[str, Any]) -> dict[str, Metric]:  # Any: a record's JSON
    """Return the facts of a fit's record by name, such as ``teacher_clean_accuracy``."""
    return {
        name: Metric(float(value), float(value))
        for name, value in fit.get("facts", {}).items()
        if name not in OTHERWISE_SHOWN
    }
