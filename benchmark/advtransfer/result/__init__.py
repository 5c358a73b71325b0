"""Records of what was measured: what one holds, and the run folder that keeps them."""

from advtransfer.result.record import (
    Record,
    attempt_record,
    battery_record,
    fit_record,
    result_record,
    source_record,
)
from advtransfer.result.run_folder import Run

__all__ = [
    "Record",
    "Run",
    "attempt_record",
    "battery_record",
    "fit_record",
    "result_record",
    "source_record",
]
