"""Validation of run folders from elsewhere: records (id, format, field types, derived numbers), links."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from advtransfer.errors import CacheError
from advtransfer.node import content_id
from advtransfer.result.evidence import labels_fault
from advtransfer.result.outcome_validation import (
    interval_difference,
    number_difference,
    number_faults,
    share_faults,
    unpack_checked,
)
from advtransfer.result.record import (
    FURTHER_LEAKAGE,
    HALVED_KERNEL_BATCH,
    RECORD_FORMAT,
    arrays_path,
)
from advtransfer.result.verdict import (
    FORMER_VALUES,
    RULES_VERSION,
    WORST_FIRST,
    verdict_from_checks,
)
from advtransfer.statistics import wilson_interval
from advtransfer.types import Check, CheckStatus

RecordJson = Mapping[str, Any]  # Any: JSON

ID_PATTERN = re.compile(r"[0-9a-f]{64}")
ID_FIELDS: Mapping[str, type] = {
    "kind": str,
    "use": str,
    "version": int,
    "options": dict,
    "inputs": dict,
}
COMMON_FIELDS: Mapping[str, type | tuple[type, ...]] = {"provenance": dict, "observed": dict}
FIELDS_BY_KIND: Mapping[str, Mapping[str, type | tuple[type, ...]]] = {
    "fit": {
        "curves": list,
        "chosen": dict,
        "facts": dict,
        "leakage": (dict, type(None)),
        "weights": dict,
    },
    "source": {
        "card": dict,
        "probe": (dict, type(None)),
        "curves": list,
        "facts": dict,
        "weights": dict,
    },
    "result": {
        "metrics": dict,
        "outcomes": dict,
        "samples": (dict, type(None)),
        "checks": list,
        "battery": (str, dict, type(None)),
        "verdict": dict,
        "files": dict,
    },
    "battery": {"of": int, "outcomes": dict, "checks": list},
}
PROVENANCE_FIELDS: Mapping[str, type] = {
    "environment": str,
    "plugin": dict,
    "device": str,
    "threads": int,
    "data": dict,
}
FAILS_ABOVE_LIMIT = frozenset(
    {"legal_examples", "own_examples", "untouched", "eps_zero", "claimed_radius", "eval_mode"}
)
"""Checks of the host that fail if and only if their value is above their limit."""

NEVER_PASSES_ABOVE_LIMIT = frozenset(
    {
        "missed",
        "noise",
        "single_step",
        "transferred",
        "smoothed",
        "rounded",
        "finished",
        "huge_eps",
        "surrogate",
        # Of batteries before version 3:
        "more_steps",
        "restarts",
    }
)
"""Checks of the host that do not pass if their value is above their limit."""


def path_without_links(root: Path, path: Path) -> Path:
    """Return a path in a run folder, if no link below the folder leads out of it.

    Raises:
        CacheError: A part of the path is a link; names it.
    """
    ancestor = root
    for part in path.relative_to(root).parts:
        ancestor = ancestor / part
        if part == ".." or ancestor.is_symlink():
            raise CacheError(
                f"found {str(ancestor)!r}, a link; expected a file or folder of its own; replace it by one"
            )
    return path


def record_fault(record: object, *, id: str | None = None) -> str | None:
    """Return the first fault of a record as ``found ...; expected ...``, or None.

    Args:
        record: The parsed JSON of the record.
        id: The id in the name of its file.
    """
    return next(record_faults(record, id=id), None)


def record_faults(record: object, *, id: str | None = None) -> Iterator[str]:
    """Yield every fault of a record, as `record_fault`; none after fields of other kinds."""
    try:
        yield from _record_faults(record, id)
    except (
        TypeError,
        ValueError,
        KeyError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        yield f"found fields of other kinds ({type(error).__name__}: {error}); expected those of a record"


def battery_disagreement(result: RecordJson, battery: RecordJson) -> str | None:
    """Return how a battery's record contradicts a result that names it, or None."""
    result_inputs = result["asked"]["inputs"]
    battery_inputs = battery["asked"]["inputs"]
    same_inputs = all(
        result_inputs.get(name) == battery_inputs.get(name) for name in ("model", "test")
    )
    if battery["kind"] != "battery" or not same_inputs:
        return f"found the battery {battery['id'][:12]} of another model or test; expected that of its own"
    # A result's checks are named with their ball, as in ``noise@0.1``; a battery has one ball only.
    stated = [{**check, "name": check["name"].partition("@")[0]} for check in result["checks"]]
    changed = [check["name"] for check in battery["checks"] if check not in stated]
    if changed:
        return f"found other checks ({', '.join(changed)}) than its battery {battery['id'][:12]} has; expected the same"
    return None


def _record_faults(record: object, id: str | None) -> Iterator[str]:
    if not isinstance(record, dict):
        yield f"found {type(record).__name__}; expected a JSON object"
        return
    if record.get("format") != RECORD_FORMAT or isinstance(record.get("format"), bool):
        yield f"found format {record.get('format')!r}; expected {RECORD_FORMAT}, the only one that this release reads"
    kind = record.get("kind")
    if not isinstance(kind, str) or kind not in FIELDS_BY_KIND:
        yield f"found kind {kind!r}; expected {', '.join(FIELDS_BY_KIND)}"
        return
    yield from field_type_faults(
        record, {"id": str, "asked": dict, **FIELDS_BY_KIND[kind], **COMMON_FIELDS}
    )
    yield from _id_faults(record, id)
    yield from field_type_faults(record["provenance"], PROVENANCE_FIELDS, of="provenance.")
    yield from field_type_faults(
        {"precision": "", "kernel_batch": 1, HALVED_KERNEL_BATCH: 1, **record["provenance"]},
        {"precision": str, "kernel_batch": int, HALVED_KERNEL_BATCH: int},
        of="provenance.",
    )
    yield from field_type_faults(
        {"seconds": {}, **record["observed"]}, {"seconds": dict}, of="observed."
    )
    yield from number_faults("observed.seconds", record["observed"].get("seconds", {}))
    environment = record["provenance"]["environment"]
    if not ID_PATTERN.fullmatch(environment):
        yield f"found the environment {environment!r}; expected a digest of 64 hexadecimal digits"
    facts = record.get("facts", {})
    if kind == "source":  # Its facts may be texts, such as the key of its weights in a checkpoint.
        facts = {name: fact for name, fact in facts.items() if type(fact) is not str}
    yield from number_faults("facts", facts)
    yield from _check_faults(record.get("checks", []))
    if "weights" in record and not ID_PATTERN.fullmatch(str(record["weights"].get("digest"))):
        yield f"found weights.digest {record['weights'].get('digest')!r}; expected 64 hexadecimal digits"
    faults_by_kind = {
        "result": _result_faults,
        "battery": _battery_faults,
        "source": _source_faults,
        "fit": _fit_faults,
    }
    yield from faults_by_kind[kind](record)


def field_type_faults(
    value: RecordJson, kinds: Mapping[str, Any], *, of: str = ""
) -> Iterator[str]:  # Any: types, or tuples of them
    """Yield a fault for each field that is missing or has another type."""
    for name, kind in kinds.items():
        if name not in value:
            yield f"found no {of}{name}; expected one"
            continue
        bool_as_int = isinstance(value[name], bool) and kind is int
        if not isinstance(value[name], kind) or bool_as_int:
            yield f"found {of}{name} of the type {type(value[name]).__name__}; expected {_type_names(kind)}"


def _type_names(kind: type | tuple[type, ...]) -> str:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join(each.__name__ for each in kinds)


def _id_faults(record: RecordJson, id: str | None) -> Iterator[str]:
    asked = record["asked"]
    yield from field_type_faults(asked, ID_FIELDS, of="asked.")
    if asked["kind"] != record["kind"]:
        yield f"found kind {record['kind']!r}; expected {asked['kind']!r}, as asked"
    expected_id = content_id(asked)
    if expected_id != record["id"]:
        yield f"found the id {str(record['id'])[:12]}; expected {expected_id[:12]}, that of what was asked"
    if id is not None and record["id"] != id:
        yield f"found the record of {str(record['id'])[:12]}; expected that of {id[:12]}, by which its file is named"


def _check_faults(checks: Sequence[RecordJson]) -> Iterator[str]:
    field_names = {field.name for field in fields(Check)}
    for check in checks:
        if (
            check.keys() != field_names
            or check["grade"] not in get_args(CheckStatus)
            or not isinstance(check["name"], str)
        ):
            expected = f"{', '.join(sorted(field_names))}, with a known grade"
            yield f"found the check {str(check)[:80]}; expected {expected}"
            continue
        numbers = {name: check[name] for name in ("value", "limit", "samples")}
        yield from number_faults(f"check {check['name']}", numbers)
        if _is_wrong_grade(check):
            name = check["name"].partition("@")[0]
            found = f"{name} {check['grade']} at {check['value']}"
            yield f"found {found}; expected otherwise at a limit of {check['limit']}"


def _is_wrong_grade(check: RecordJson) -> bool:
    """Return whether a check of the host has a grade that its value and limit exclude."""
    name = check["name"].partition("@")[0]
    is_above = check["value"] > check["limit"]
    if is_above:
        limited = name in FAILS_ABOVE_LIMIT or name in NEVER_PASSES_ABOVE_LIMIT
        return limited and check["grade"] == "pass"
    return name in FAILS_ABOVE_LIMIT and check["grade"] == "fail"


def _fit_faults(record: RecordJson) -> Iterator[str]:
    for row in record["curves"]:
        yield from number_faults("curves", row)


def _source_faults(record: RecordJson) -> Iterator[str]:
    yield from _fit_faults(record)
    probe, card = record["probe"], record["card"]
    yield from field_type_faults(
        card, {"architecture": str, "data": str, "shape": list, "outputs": int}, of="card."
    )
    if probe is None:
        return
    accuracy, total = probe["clean_accuracy"], probe["of"]
    correct = round(accuracy * total)
    yield from number_difference("probe.clean_accuracy", accuracy, correct / total)
    yield from interval_difference(
        "probe.interval", probe["interval"], wilson_interval(correct, total)
    )
    claimed = card["clean_accuracy"]
    agrees = None
    if claimed is not None:
        agrees = not abs(claimed - accuracy) > card["tolerance"]
    if (probe["claimed"], probe["agrees"]) != (claimed, agrees):
        yield f"found probe.agrees {probe['agrees']!r}; expected {agrees!r}, from what card and probe say"


def _battery_faults(record: RecordJson) -> Iterator[str]:
    of, positions = record["of"], record.get("positions")
    if positions is not None and not _are_positions(positions, of):
        yield f"found the positions {str(positions)[:80]}; expected ascending ones below {of}"
    for name, packed in record["outcomes"].items():
        values, wrong = unpack_checked(name, packed)
        yield from wrong
        if len(values) > of:
            yield f"found {len(values)} outcomes of {name}; expected at most {of}"
        # The records of batteries before version 3 do not say which samples were attacked.
        if "positions" in record and not wrong:
            count = of if positions is None else len(positions)
            if len(values) != count:
                yield f"found {len(values)} outcomes of {name}; expected {count}, one for each position"


def _are_positions(positions: object, of: int) -> bool:
    """Return whether these are ascending positions in a test part of `of` samples."""
    if not isinstance(positions, list) or not all(type(each) is int for each in positions):
        return False
    ascending = all(map(operator.lt, positions, positions[1:]))
    return ascending and (not positions or (positions[0] >= 0 and positions[-1] < of))


def _result_faults(record: RecordJson) -> Iterator[str]:
    metrics, outcomes = record["metrics"], record["outcomes"]
    for name, packed in outcomes.items():
        values, wrong = unpack_checked(name, packed)
        yield from wrong
        if not wrong:
            yield from share_faults(name, metrics, values)
    for name, metric in metrics.items():
        if name not in outcomes:
            is_share = metric.get("share") is True and 0 <= metric["value"] <= 1
            if metric.keys() != {"value"} and not (
                metric.keys() == {"value", "share"} and is_share
            ):
                yield f"found {name} {metric}; expected a value alone, a share, or outcomes"
            yield from number_faults(name, {"value": metric["value"]})
    yield from _verdict_faults(record)
    if "labels" in record and (fault := labels_fault(record["labels"])):
        yield fault
    yield from _leakage_faults(record.get("leakage", {}))
    for battery in _named_batteries(record["battery"]):
        if not ID_PATTERN.fullmatch(str(battery)):
            yield f"found battery {battery!r}; expected an id"
    yield from _file_reference_faults(record)


def _leakage_faults(leakage: RecordJson) -> Iterator[str]:
    """Yield what is wrong with the counts of images that a further data set shares with training data."""
    for pair, counts in leakage.items():
        # Too many images to compare are not counted.
        is_counted = counts.keys() == {"exact", "near", "of"} and all(
            count is None or type(count) is int for count in counts.values()
        )
        if pair not in FURTHER_LEAKAGE.values() or not is_counted:
            expected = f"exact, near and of under {' or '.join(FURTHER_LEAKAGE.values())}"
            yield f"found leakage {str({pair: counts})[:120]}; expected {expected}"


def _verdict_faults(record: RecordJson) -> Iterator[str]:
    found = record["verdict"]
    expected = verdict_from_checks(Check(**check) for check in record["checks"])
    differs = (found["value"], found["reason"]) != (expected.value, expected.reason)
    # A verdict by earlier rules may differ: readers apply the rules of today to the checks.
    is_current = found["rules"] == RULES_VERSION
    known = found["value"] in WORST_FIRST or (found["value"] in FORMER_VALUES and not is_current)
    if not known or (is_current and differs):
        yield (
            f"found the verdict {found['value']!r} ({str(found['reason'])[:200]}); "
            f"expected {expected.value!r} ({expected.reason[:200]}), from its checks"
        )


def _named_batteries(battery: object) -> list[object]:
    """Return the battery ids of a result: its one battery, or one for each metric."""
    if battery is None:
        return []
    return list(battery.values()) if isinstance(battery, dict) else [battery]


def _file_reference_faults(record: RecordJson) -> Iterator[str]:
    """Yield a fault for each reference to a file outside the record's own folders."""
    id, samples = record["id"], record["samples"]
    for name, path in record["files"].items():
        file = str(path).rpartition("/")[2]
        is_file_name = file not in ("", ".", "..") and "\\" not in file and "\0" not in file
        if path != f"files/{id}/{file}" or not is_file_name:
            yield f"found the file {path!r} for {name!r}; expected one in files/{id[:12]}.../"
    if samples is not None:
        expected = arrays_path(id)
        listed = isinstance(samples["fields"], list) and all(
            isinstance(field, str) for field in samples["fields"]
        )
        if samples["file"] != expected or not ID_PATTERN.fullmatch(samples["sha256"]) or not listed:
            yield f"found samples {str(samples)[:120]}; expected {expected} with its sha256 and fields"
