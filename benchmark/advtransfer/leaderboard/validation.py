"""What fits measured on held-out images of the training part, as the columns of ``validation``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from advtransfer.types.metric_names import VALIDATION_METRICS


def validation_metrics(fit: Mapping[str, Any]) -> dict[str, float]:  # Any: a record's JSON
    """Return the metrics of a fit's record; none where nothing was held out.

    Those of a choice are the facts of the chosen candidate. Those of a training are in the row of
    its curves of the epoch that it kept, which is the last one unless validation chose another.
    """
    row = _kept_row(fit.get("curves", ()), fit.get("chosen", {}).get("epoch"))
    measured = {**row, **fit.get("facts", {})}
    return {
        metric: float(measured[column])
        for metric, column in VALIDATION_METRICS.items()
        if column in measured
    }


def _kept_row(curves: Any, epoch: Any) -> Mapping[str, float]:  # noqa: ANN401  # Any: JSON
    """Return the curves' row of an epoch, or the last one; rows of candidates are no epochs."""
    rows = [row for row in curves if "epoch" in row]
    if epoch is not None:
        rows = [row for row in rows if row["epoch"] == epoch]
    return rows[-1] if rows else {}
