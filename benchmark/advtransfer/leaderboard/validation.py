"""What fits recorded of their training: held-out images, as the columns of ``validation``, and curves."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

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


def held_out_row(fit: Mapping[str, Any]) -> dict[str, float]:  # Any: a record's JSON
    """Return what the curves' row that `validation_metrics` reads says of held-out images, or nothing."""
    row = _kept_row(fit.get("curves", ()), fit.get("chosen", {}).get("epoch"))
    columns = [column for column in VALIDATION_METRICS.values() if column in row]
    return {column: row[column] for column in ["epoch", *columns]} if columns else {}


def _kept_row(curves: Any, epoch: Any) -> Mapping[str, float]:  # noqa: ANN401  # Any: JSON
    """Return the curves' row of an epoch, or the last one; rows of candidates are no epochs."""
    rows = [row for row in curves if "epoch" in row]
    if epoch is not None:
        rows = [row for row in rows if row["epoch"] == epoch]
    return rows[-1] if rows else {}


class FitCurves(NamedTuple):
    """What a fit recorded after each epoch of its training.

    Attributes:
        last_epoch: The epoch at whose end the training gave the fitted model.
        columns: Epoch and value of each row, by the names that were requested.
    """

    last_epoch: int
    columns: Mapping[str, tuple[tuple[int, float], ...]]


def training_curves(
    fit: Mapping[str, Any], names: Collection[str]
) -> FitCurves | None:  # Any: JSON of a record
    """Return the requested columns of a fit's curves, None where it was not trained in epochs."""
    # Rows of candidates are no epochs.
    rows = [row for row in fit.get("curves", ()) if "epoch" in row]
    if not rows:
        return None
    columns: dict[str, tuple[tuple[int, float], ...]] = {}
    for name in names:
        values = tuple((int(row["epoch"]), float(row[name])) for row in rows if name in row)
        if values:
            columns[name] = values
    return FitCurves(int(rows[-1]["epoch"]), columns)
