"""Records of measurements: their contents, their validation, and the run folder that stores them."""

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
