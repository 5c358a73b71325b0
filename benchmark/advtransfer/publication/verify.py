"""Verification of a published bundle against the board of this checkout, without torch.

Nothing that a bundle says of itself is believed where it can be made again: ids from what was asked,
numbers from outcomes, grades from the host's limits, the plan from the suite, and the suite is held
against the board's. What cannot be seen here is outcomes that were changed together with all that
follows from them; `advtransfer.publication.replay` measures trials again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from advtransfer.errors import AdvTransferError, CacheError
from advtransfer.host import Host
from advtransfer.planning import Plan, Trial
from advtransfer.publication.board import Board
from advtransfer.publication.board_check import (
    LocalBoards,
    check_board,
    credit_notes,
    ranked_before,
)
from advtransfer.publication.bundle_files import (
    MAX_BUNDLE_FILE_BYTES,
    environment_faults,
    file_faults,
    manifest_differences,
    without_folder,
)
from advtransfer.publication.bundle_records import (
    BundleRecords,
    completeness_faults,
    read_bundle_records,
)
from advtransfer.publication.cells import Fault, cell_names, record_cell, suite_file_faults
from advtransfer.publication.challenge_checks import challenge_record_faults
from advtransfer.publication.external import WholeBundle, shortening_faults, whole_bundle
from advtransfer.publication.manifest import read_manifest
from advtransfer.publication.recompute import (
    Recomputed,
    is_current_battery,
    other_images_faults,
    recompute_battery,
    recompute_result,
    repeated_outcomes,
)
from advtransfer.publication.record_names import name_faults
from advtransfer.publication.registration import check_registration
from advtransfer.publication.shared_facts import fact_faults
from advtransfer.publication.submission_rules import rule_faults
from advtransfer.result import Run
from advtransfer.result.battery_index import BatteryIndex
from advtransfer.result.bounded_reading import check_safetensors
from advtransfer.result.record import battery_ids
from advtransfer.result.sample_values import values_by_metric
from advtransfer.result.validation import battery_disagreement

RecordJson: TypeAlias = Mapping[str, Any]  # Any: JSON


@dataclass(slots=True)
class Verification:
    """What was found in one bundle.

    Attributes:
        bundle: The folder.
        faults: All that is wrong; a bundle without faults is verified.
        notes: What could not be checked here, and what is no fault but should be known.
        records: Number of records by kind.
        shares: Number of shares of images with interval that were computed again.
        checks: Number of checks against batteries that were computed again.
        means: Number of metrics that are means of published arrays, computed again.
        folds: Number of robust accuracies that were folded with batteries.
        as_recorded: Number of metrics that nothing here can compute, by evaluation.
        plan: The plan that the records were held against, None where there is none.
        unchecked: What the bundle is held against where this release does not plan its board, and what is
            not checked then (`LocalBoards.unchecked_text`).
    """

    bundle: Path
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    records: Counter[str] = field(default_factory=Counter)
    shares: int = 0
    checks: int = 0
    means: int = 0
    folds: int = 0
    as_recorded: Counter[str] = field(default_factory=Counter)
    plan: Plan | None = None
    unchecked: str = ""


def verify_bundle(
    folder: Path,
    *,
    boards: LocalBoards,
    host: Host,
    needs_board: bool = True,
    whole: WholeBundle | None = None,
) -> Verification:
    """Return everything that is wrong in a bundle, by file, line and cell.

    Args:
        folder: The bundle.
        boards: The boards of its suite in this checkout.
        host: The installed plugins.
        needs_board: Whether it is a fault that this checkout has no board of its suite.
        whole: The bundle with what its archives hold (`whole_bundle`), by default without any.
    """
    if whole is None:
        with whole_bundle(folder) as alone:
            return verify_bundle(
                folder, boards=boards, host=host, needs_board=needs_board, whole=alone
            )
    found = Verification(folder)
    found.faults += file_faults(folder) or suite_file_faults(folder)
    if found.faults:
        # A link, a file too large, or what a suite extends may not even be opened.
        found.notes.append("not read further, since files above may not be opened")
        return found
    try:
        _verify_content(Run(folder), whole, boards, found, host, needs_board=needs_board)
    except (AdvTransferError, OSError) as error:
        found.faults.append(Fault(".", "", without_folder(error, folder)))
    except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError) as error:
        # What a record was asked is any JSON, and need not be what its component takes.
        text = f"found fields of other kinds ({type(error).__name__}: {error}); expected those of a run"
        found.faults.append(Fault("records", "", text))
    return found


def _verify_content(
    run: Run,
    whole: WholeBundle,
    boards: LocalBoards,
    found: Verification,
    host: Host,
    *,
    needs_board: bool,
) -> None:
    """Add what is wrong in the content of a bundle whose files may be opened."""
    found.faults += whole.faults
    found.notes += whole.notes
    complete = Run(whole.path)
    plan = found.plan = Plan.from_json(run.read_plan())
    names = cell_names(plan)
    # First, and only these if one cannot be unpacked: every other check would unpack it again.
    records, is_readable = read_bundle_records(complete, names, found.faults, found.notes)
    found.records.update(str(record["kind"]) for record in records.by_id.values())
    if not is_readable:
        found.notes.append("not read further, since records cannot be read")
        return
    found.faults[:0] = [*rule_faults(run.path, boards.suite), *manifest_differences(run)]
    if whole.has_records:
        found.faults += shortening_faults(run, complete)
    digest = _board_digest(run)
    found.unchecked = boards.unchecked_text(digest)
    found.faults += check_board(
        run, plan, boards, host, records.by_id, found.notes, needs_board=needs_board
    )
    registration = check_registration(run.path, plan, records.by_id.values())
    found.faults += registration.faults
    found.notes += registration.notes
    used = {str(each["provenance"]["environment"]) for each in records.by_id.values()}
    found.faults += environment_faults(run.path, used)
    found.faults += _shared_fact_faults(run, records, names, boards.version(digest))
    for id, text in name_faults(records.by_id.values(), ranked_before(run, boards)):
        cell = record_cell(records.by_id[id], names)
        found.faults.append(Fault(records.places[id], cell, text))
    found.faults += completeness_faults(run, plan, records, names, found.notes)
    _recompute(complete, records, names, found, host)
    found.faults += challenge_record_faults(run.path, records.by_id)
    found.notes += credit_notes(run, records.by_id, boards)


# --- records ---


def _board_digest(run: Run) -> str:
    """Return the version of the board that a bundle names, empty where its manifest is at fault."""
    try:
        return str(read_manifest(run.path)["board"])
    except AdvTransferError:
        return ""  # Reported with the files.


def _shared_fact_faults(
    run: Run, records: BundleRecords, names: Mapping[str, str], version: Board | None
) -> Iterator[Fault]:
    """Yield records whose class shares, digests or machine are not those of others or of the board."""
    try:
        environments = run.read_environments()
    except AdvTransferError:
        return  # Reported with the files.
    facts = version.facts if version else None
    for id, text in fact_faults(records.by_id.values(), environments, facts):
        yield Fault(records.places[id], record_cell(records.by_id[id], names), text)


# --- numbers ---


def _recompute(
    run: Run,
    records: BundleRecords,
    names: Mapping[str, str],
    found: Verification,
    host: Host,
) -> None:
    """Compute again what the valid records say, and add what differs."""
    batteries = {str(record["id"]): record for record in records.of_kind("battery")}
    index = BatteryIndex(batteries.values())
    results = records.of_kind("result")
    for id, battery in batteries.items():
        cell = record_cell(battery, names)
        for fault in recompute_battery(battery):
            found.faults.append(Fault(records.places[id], cell, fault.text))
    found.notes += _release_notes(records.by_id.values(), host)
    for id, fault in other_images_faults(batteries.values()):
        found.faults.append(
            Fault(records.places[id], record_cell(batteries[id], names), fault.text)
        )
    for record in results:
        id = str(record["id"])
        where, cell = records.places[id], record_cell(record, names)
        recomputed = recompute_result(
            record, batteries, index, is_strong=lambda use: _is_strong(use, host)
        )
        found.faults += [Fault(where, cell, fault.text) for fault in recomputed.faults]
        for name in battery_ids(record):
            if name in batteries and (text := battery_disagreement(record, batteries[name])):
                found.faults.append(Fault(where, cell, text))
        _count_numbers(run, record, recomputed, found, where, cell)
    found.faults += _repetition_faults(results, records, names, found)


def _release_notes(records: Iterable[RecordJson], host: Host) -> Iterator[str]:
    """Yield what was measured by other attacks or other code than those of this release."""
    older: Counter[int] = Counter()
    changed: Counter[str] = Counter()
    for record in records:
        if record["kind"] == "battery" and not is_current_battery(record):
            older[int(record["asked"]["version"])] += 1
        changed.update(host.changed_plugins(record["observed"].get("code")))
    for version, count in sorted(older.items()):
        yield (
            f"batteries of version {version}, which has other attacks than this release's: {count:,}; "
            "run the suite again to have them measured anew"
        )
    if changed:
        named = ", ".join(f"{name} ({count:,} records)" for name, count in sorted(changed.items()))
        text = f"measured by other code of plugins than is installed here: {named}"
        yield f"{text}; `--replay K` tells whether it matters"


def _is_strong(use: str, host: Host) -> bool | None:
    try:
        return host.component(use).metadata.is_strong
    except AdvTransferError:
        return None


def _count_numbers(
    run: Run,
    record: RecordJson,
    recomputed: Recomputed,
    found: Verification,
    where: str,
    cell: str,
) -> None:
    """Count what was computed again; hold metrics that are means against their arrays."""
    found.shares += recomputed.shares
    found.checks += recomputed.checks
    folded = recomputed.folded
    found.folds += sum(bool(probe.count) for probe in folded.probes.values()) if folded else 0
    means: set[str] = set()
    described = record.get("samples")
    path = run.path / str(described["file"]) if described else run.path
    # Only the arrays that a page uses are published.
    if described and path.exists():
        published = sorted(set(described["fields"]) & set(recomputed.as_recorded))
        try:
            check_safetensors(path, limit=MAX_BUNDLE_FILE_BYTES)
            means = set(values_by_metric(run.path, record, published))
        except CacheError as error:
            found.faults.append(Fault(where, cell, without_folder(error, run.path)))
        else:
            found.faults += [
                Fault(where, f"{cell}, {name}", "found another value than the mean of its array")
                for name in published
                if name not in means
            ]
    found.means += len(means)
    found.as_recorded[str(record["asked"]["use"])] += len(set(recomputed.as_recorded) - means)


def _repetition_faults(
    results: Sequence[RecordJson],
    records: BundleRecords,
    names: Mapping[str, str],
    found: Verification,
) -> Iterator[Fault]:
    """Yield outcomes that stand under two ids; equal fits of the same images are noted."""
    trials = {trial.id: trial for trial in found.plan.trials} if found.plan else {}
    for metric, first, second in repeated_outcomes(results):
        models = [records.by_id[id]["asked"]["inputs"].get("model") for id in (first, second)]
        pair = [trials.get(str(model)) for model in models]
        one, other = pair
        if one is not None and other is not None and _may_be_equal(one, other):
            found.notes.append(
                f"{names[first]} and {names[second]} have the same outcomes of {metric}, as fits of "
                "the same images may have"
            )
            continue
        # Which of both was measured cannot be told from the records.
        for id, copied in ((first, second), (second, first)):
            text = (
                f"found the outcomes of {names.get(copied, copied[:12])} ({records.places[copied]}) as "
                "well; expected those of its own model"
            )
            yield Fault(records.places[id], f"{names.get(id, id[:12])}, {metric}", text)


def _may_be_equal(one: Trial, other: Trial) -> bool:
    """Return whether two fits can be equal: on one source and the same images."""
    same_images = (
        one.target == other.target
        and one.n == other.n
        and (one.n == "all" or one.seed == other.seed)
    )
    return same_images and one.source == other.source
