"""The records of a bundle: those that are valid by themselves, and whether each cell of the plan has its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from advtransfer.errors import CacheError
from advtransfer.planning import Plan
from advtransfer.publication.bundle_files import without_folder
from advtransfer.publication.cells import Fault, record_cell
from advtransfer.publication.in_memory import EXPECTED, is_in_memory
from advtransfer.result import Run
from advtransfer.result.record import battery_ids
from advtransfer.result.validation import ID_PATTERN, record_faults
from advtransfer.types.in_memory import CANNOT_BE_REBUILT

RecordJson: TypeAlias = Mapping[str, Any]  # Any: JSON

MAX_FAULTS = 1000
"""Number of faults after which reading ends: nobody reads more of them."""


@dataclass(slots=True)
class BundleRecords:
    """The records of a bundle that are valid by themselves, by id, and where each one is."""

    by_id: dict[str, RecordJson] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)

    def of_kind(self, kind: str) -> list[RecordJson]:
        """Return the records of a kind."""
        return [record for record in self.by_id.values() if record["kind"] == kind]


def read_bundle_records(
    run: Run, names: Mapping[str, str], faults: list[Fault], notes: list[str]
) -> tuple[BundleRecords, bool]:
    """Return the valid records of a bundle, and whether all its files could be read.

    Args:
        run: The bundle.
        names: The cell of each id of the plan.
        faults: The faults of the report, to which those of records and of their order are added.
        notes: The notes of the report.
    """
    records = BundleRecords()
    last_by_file: dict[str, str] = {}
    try:
        for where, record in run.bundled_records():
            if len(faults) > MAX_FAULTS:
                notes.append(f"not read further after {MAX_FAULTS:,} faults")
                break
            if not isinstance(record, dict):
                faults.append(Fault(where, "", "found no JSON object; expected a record"))
                continue
            id = str(record.get("id"))
            cell = record_cell(record, names)
            own_faults = list(dict.fromkeys(record_faults(record)))
            if is_in_memory(record):
                own_faults.append(f"found a module {CANNOT_BE_REBUILT}; expected {EXPECTED}")
            faults += [Fault(where, cell, text) for text in own_faults]
            file = where.rpartition(":")[0]
            if id in records.places:
                text = f"found a second record of {id[:12]}; expected one, in {records.places[id]}"
                faults.append(Fault(where, cell, text))
            elif id < last_by_file.get(file, ""):
                text = f"found {id[:12]} after {last_by_file[file][:12]}; expected the order of ids"
                faults.append(Fault(where, cell, text))
            last_by_file[file] = id
            records.places[id] = where
            if not own_faults:
                records.by_id[id] = record
    except (CacheError, OSError) as error:
        faults.append(Fault("records", "", without_folder(error, run.path)))
        return records, False
    return records, True


def completeness_faults(
    run: Run,
    plan: Plan,
    records: BundleRecords,
    names: Mapping[str, str],
    notes: list[str],
) -> Iterator[Fault]:
    """Yield cells without a record or a reason, and records that no cell has."""
    reasons = {
        str(id): str(attempt.get("reason"))
        for id, attempt in run.latest_attempts().items()
        if ID_PATTERN.fullmatch(str(id))
    }
    wanted: set[str] = set()
    for trial in plan.trials:
        if trial.skipped:
            continue
        wanted |= {*trial.builds, *trial.record_ids()}
    # Results without a fit, and sources of fits, have no record of their own to be missed twice.
    missing = sorted(id for id in wanted if id not in records.places)
    unexplained = [
        id for id in missing if id not in reasons and not _parent_failed(id, plan, reasons)
    ]
    for id in unexplained:
        text = f"found no record {id[:12]}, and no reason for it; expected one"
        yield Fault("records", names.get(id, id[:12]), text)
    if explained := [id for id in missing if id not in unexplained]:
        shown = "; ".join(sorted({names.get(id, id[:12]) for id in explained})[:5])
        notes.append(
            f"{len(explained)} records are missing with a reason (failed or not applicable), "
            f"and their rows are never ranked: {shown}"
        )
    behind = {battery for record in records.of_kind("result") for battery in battery_ids(record)}
    attacked = {_attacked(record) for record in records.of_kind("result")}
    for id, record in records.by_id.items():
        is_battery = record["kind"] == "battery" and (id in behind or _attacked(record) in attacked)
        if id not in wanted and id not in plan.sources and not is_battery:
            text = "found a record that no cell of the plan has; expected none"
            yield Fault(records.places[id], record_cell(record, names), text)


def _parent_failed(id: str, plan: Plan, reasons: Mapping[str, str]) -> bool:
    """Return whether the source or the fit that a record is made from has a reason to be missing."""
    for trial in plan.trials:
        if id in trial.record_ids():
            return any(parent in reasons for parent in (*trial.builds, trial.id))
    return False


def _attacked(record: RecordJson) -> tuple[str, str]:
    inputs = record["asked"]["inputs"]
    return str(inputs.get("model")), str(inputs.get("test"))
