"""Validation of run folders from elsewhere.

Records (id, format, field types, derived numbers), plans and links.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, cast, get_args

from advtransfer.errors import CacheError
from advtransfer.node import content_id
from advtransfer.result.record import RECORD_FORMAT, robust_share
from advtransfer.result.verdict import RULES_VERSION, WORST_FIRST, verdict_from_checks
from advtransfer.statistics import wilson_interval
from advtransfer.types import Check, CheckStatus, Outcome

TRIAL_FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "source": (str, type(None)),
    "row": (str, type(None)),
    "replicate": (int, type(None)),
    "adapter": (str, type(None)),
    "target": str,
    "n": (int, str),
    "seed": int,
    "transfer": str,
    "evaluations": dict,
    "builds": list,
    "skipped": (str, type(None)),
}
"""The fields of a trial in a plan, but for its id."""


def path_without_links(root: Path, path: Path) -> Path:
    """A path in a run folder, if no link below the folder leads somewhere else.

    Raises:
        CacheError: One does; names it.
    """
    place = root
    for part in path.relative_to(root).parts:
        place = place / part
        if part == ".." or place.is_symlink():
            raise CacheError(
                f"found {str(place)!r}, a link; expected a file or folder of its own; replace it by one"
            )
    return path


def plan_fault(plan: Mapping[str, Any]) -> str | None:  # Any: JSON
    """What is wrong with a plan, as ``found ...; expected ...``: its ids name files, and its suite a folder."""
    try:
        return next(_plan_faults(plan), None)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        return f"found fields of other kinds ({type(error).__name__}: {error}); expected those of a plan"


def _plan_faults(plan: Mapping[str, Any]) -> Iterator[str]:  # Any: JSON
    yield from field_type_faults(
        plan, {"suite": str, "title": str, "leaderboard": dict, "sources": dict, "trials": list}
    )
    suite = plan["suite"]
    if not suite.strip(".") or any(
        one in "/\\" or ord(one) < 32 or ord(one) == 127 for one in suite
    ):
        yield f"found the suite {suite!r}; expected the name of one folder"
    yield from field_type_faults(
        plan["sources"], dict.fromkeys(plan["sources"], str), of="the name of the source "
    )
    rank_by = plan["leaderboard"].get("rank_by", "")
    if not isinstance(rank_by, str | None) and not isinstance(dict(rank_by).get("lowest"), str):
        yield f"found rank_by {rank_by!r}; expected a metric, or lowest: and a metric"
    ids = list(plan["sources"])
    for trial in plan["trials"]:
        yield from field_type_faults(
            trial,
            {name: kind for name, kind in TRIAL_FIELDS.items() if name in trial},
            of="a trial's ",
        )
        ids += [
            trial["id"],
            *trial["builds"],
            *(id for some in trial["evaluations"].values() for id in some),
        ]
    yield from (
        f"found the id {id!r}; expected 64 hexadecimal digits"
        for id in ids
        if not ID_PATTERN.fullmatch(id)
    )


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
"""Checks of the host that fail as soon as their value is above their limit."""

NEVER_PASSES_ABOVE_LIMIT = frozenset(
    {"more_steps", "restarts", "noise", "single_step", "transferred", "finished", "huge_eps"}
)
"""Checks of the host that do not pass then."""

SHARE_TOLERANCE = 1e-9
"""How far a share or an end of its interval may be from what the outcomes give, on another machine."""

MAX_SAMPLES = 10**8
"""Samples of one metric; a text that says more is not unpacked."""


def record_fault(record: object, *, id: str | None = None) -> str | None:
    """What is wrong with a record, as ``found ...; expected ...``; None where all of it agrees.

    Args:
        record: As it was read.
        id: The id that its file is named by.
    """
    try:
        return next(_record_faults(record, id), None)
    except (
        TypeError,
        ValueError,
        KeyError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        return f"found fields of other kinds ({type(error).__name__}: {error}); expected those of a record"


def battery_disagreement(result: RecordJson, battery: RecordJson) -> str | None:
    """What a battery's record says otherwise than a result that names it; None where both say the same."""
    asked, other = result["asked"]["inputs"], battery["asked"]["inputs"]
    if battery["kind"] != "battery" or any(
        asked.get(name) != other.get(name) for name in ("model", "test")
    ):
        return f"found the battery {battery['id'][:12]} of another model or test; expected that of its own"
    said = [{**check, "name": check["name"].partition("@")[0]} for check in result["checks"]]
    changed = [check["name"] for check in battery["checks"] if check not in said]
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
        {"precision": "", **record["provenance"]}, {"precision": str}, of="provenance."
    )
    yield from field_type_faults(
        {"seconds": {}, **record["observed"]}, {"seconds": dict}, of="observed."
    )
    yield from _number_faults("observed.seconds", record["observed"].get("seconds", {}))
    environment = record["provenance"]["environment"]
    if not ID_PATTERN.fullmatch(environment):
        yield f"found the environment {environment!r}; expected a digest of 64 hexadecimal digits"
    facts = record.get(
        "facts", {}
    )  # those of a source may be words, such as the key that its weights were under
    yield from _number_faults(
        "facts",
        {name: one for name, one in facts.items() if kind != "source" or type(one) is not str},
    )
    yield from _check_faults(record.get("checks", []))
    if "weights" in record and not ID_PATTERN.fullmatch(str(record["weights"].get("digest"))):
        yield f"found weights.digest {record['weights'].get('digest')!r}; expected 64 hexadecimal digits"
    yield from {
        "result": _result_faults,
        "battery": _battery_faults,
        "source": _source_faults,
        "fit": _fit_faults,
    }[kind](record)


def field_type_faults(
    value: RecordJson, kinds: Mapping[str, Any], *, of: str = ""
) -> Iterator[str]:  # Any: types, or tuples of them
    """Fields that are missing, or of another type."""
    for name, kind in kinds.items():
        if name not in value:
            yield f"found no {of}{name}; expected one"
        elif not isinstance(value[name], kind) or (isinstance(value[name], bool) and kind is int):
            yield f"found {of}{name} of the type {type(value[name]).__name__}; expected {_type_names(kind)}"


def _type_names(kind: type | tuple[type, ...]) -> str:
    return " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))


def _id_faults(record: RecordJson, id: str | None) -> Iterator[str]:
    asked = record["asked"]
    yield from field_type_faults(asked, ID_FIELDS, of="asked.")
    if asked["kind"] != record["kind"]:
        yield f"found kind {record['kind']!r}; expected {asked['kind']!r}, as asked"
    if (told := content_id(asked)) != record["id"]:
        yield f"found the id {str(record['id'])[:12]}; expected {told[:12]}, that of what was asked"
    if id is not None and record["id"] != id:
        yield f"found the record of {str(record['id'])[:12]}; expected that of {id[:12]}, by which its file is named"


def _check_faults(checks: Sequence[RecordJson]) -> Iterator[str]:
    names = {one.name for one in fields(Check)}
    for one in checks:
        if (
            one.keys() != names
            or one["grade"] not in get_args(CheckStatus)
            or not isinstance(one["name"], str)
        ):
            yield f"found the check {str(one)[:80]}; expected {', '.join(sorted(names))}, with a known grade"
            continue
        yield from _number_faults(
            f"check {one['name']}", {name: one[name] for name in ("value", "limit", "samples")}
        )
        above = one["value"] > one["limit"]
        name = str(one["name"]).partition("@")[0]
        wrong = (
            (above and one["grade"] == "pass")
            if name in FAILS_ABOVE_LIMIT | NEVER_PASSES_ABOVE_LIMIT
            else False
        )
        if wrong or (name in FAILS_ABOVE_LIMIT and not above and one["grade"] == "fail"):
            yield f"found {name} {one['grade']} at {one['value']}; expected otherwise at a limit of {one['limit']}"


def _number_faults(of: str, values: RecordJson) -> Iterator[str]:
    for name, value in values.items():
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            yield f"found {of} {name} {value!r}; expected a finite number"


def _fit_faults(record: RecordJson) -> Iterator[str]:
    for row in record["curves"]:
        yield from _number_faults("curves", row)


def _source_faults(record: RecordJson) -> Iterator[str]:
    yield from _fit_faults(record)
    probe, card = record["probe"], record["card"]
    yield from field_type_faults(
        card, {"architecture": str, "data": str, "shape": list, "outputs": int}, of="card."
    )
    if probe is None:
        return
    right = round(probe["clean_accuracy"] * probe["of"])
    yield from _number_differs("probe.clean_accuracy", probe["clean_accuracy"], right / probe["of"])
    yield from _interval_differs(
        "probe.interval", probe["interval"], wilson_interval(right, probe["of"])
    )
    claimed = card["clean_accuracy"]
    agrees = (
        None if claimed is None else not abs(claimed - probe["clean_accuracy"]) > card["tolerance"]
    )
    if (probe["claimed"], probe["agrees"]) != (claimed, agrees):
        yield f"found probe.agrees {probe['agrees']!r}; expected {agrees!r}, from what card and probe say"


def _battery_faults(record: RecordJson) -> Iterator[str]:
    for name, packed in record["outcomes"].items():
        values, wrong = _unpack_checked(name, packed)
        yield from wrong
        if len(values) > record["of"]:
            yield f"found {len(values)} outcomes of {name}; expected at most {record['of']}"


def _result_faults(record: RecordJson) -> Iterator[str]:
    metrics, outcomes = record["metrics"], record["outcomes"]
    for name, packed in outcomes.items():
        values, wrong = _unpack_checked(name, packed)
        yield from wrong
        if not wrong:
            yield from _share_faults(name, metrics, values)
    for name, metric in metrics.items():
        if name not in outcomes:
            if metric.keys() != {"value"}:
                yield f"found {name} {metric}; expected a value alone, or outcomes"
            yield from _number_faults(name, metric)
    found, expected = (
        record["verdict"],
        verdict_from_checks(Check(**one) for one in record["checks"]),
    )
    if found["value"] not in WORST_FIRST or (
        found["rules"] == RULES_VERSION
        and (found["value"], found["reason"]) != (expected.value, expected.reason)
    ):
        yield f"found the verdict {found['value']!r}; expected {expected.value!r}, from its checks"
    named = record["battery"]
    batteries = named.values() if isinstance(named, dict) else [] if named is None else [named]
    yield from (
        f"found battery {one!r}; expected an id"
        for one in batteries
        if not ID_PATTERN.fullmatch(str(one))
    )
    yield from _file_reference_faults(record)


def _share_faults(name: str, metrics: RecordJson, values: Sequence[int]) -> Iterator[str]:
    if name not in metrics:
        yield f"found no metric {name}; expected that of its outcomes"
        return
    found, expected = metrics[name], cast("dict[str, Any]", robust_share(values))  # Any: JSON
    if found.keys() != expected.keys() or (found["of"], found["method"]) != (
        expected["of"],
        expected["method"],
    ):
        yield f"found {name} {found}; expected {expected}, from its outcomes"
        return
    for part in ("value", "low", "high"):
        yield from _number_differs(f"{name} {part}", found[part], expected[part])
    yield from _interval_differs(f"{name} interval", found["interval"], expected["interval"])


def _number_differs(name: str, found: float, expected: float) -> Iterator[str]:
    if isinstance(found, bool) or not math.isclose(
        found, expected, rel_tol=SHARE_TOLERANCE, abs_tol=SHARE_TOLERANCE
    ):
        yield f"found {name} {found!r}; expected {expected!r}, from the outcomes"


def _interval_differs(
    name: str, found: Sequence[float], expected: Sequence[float]
) -> Iterator[str]:
    if len(found) != len(expected):
        yield f"found {name} {found}; expected {list(expected)}"
    for one, other in zip(found, expected, strict=False):
        yield from _number_differs(name, one, other)


def _unpack_checked(name: str, packed: RecordJson) -> tuple[list[int], list[str]]:
    """Outcomes, and what is wrong with them; unpacks no more than it says there is."""
    of = packed["of"]
    if isinstance(of, bool) or not isinstance(of, int) or not 0 < of <= MAX_SAMPLES:
        return [], [f"found {name} of {of!r} samples; expected a count"]
    try:
        unpacker = zlib.decompressobj()
        bits = unpacker.decompress(
            base64.b64decode(packed["packed"], validate=True), -(-of // 4) + 1
        )
    except (binascii.Error, zlib.error) as error:
        return [], [
            f"found outcomes of {name} that cannot be unpacked ({error}); expected those of {of} samples"
        ]
    if len(bits) != -(-of // 4) or not unpacker.eof:
        return [], [f"found outcomes of {name} of another length; expected those of {of} samples"]
    values = [byte >> shift & 3 for byte in bits for shift in (0, 2, 4, 6)]
    counts = {one.name.lower(): values[:of].count(one) for one in Outcome}
    wrong = [
        key
        for key, count in counts.items()
        if packed[key] != count or isinstance(packed[key], bool)
    ]
    if any(values[of:]) or wrong:
        return [], [
            f"found other counts in the outcomes of {name} than are packed; expected {counts}"
        ]
    return values[:of], []


def _file_reference_faults(record: RecordJson) -> Iterator[str]:
    """Whatever a record refers to lies where a run folder keeps it: nobody is led out of the folder."""
    id, samples = record["id"], record["samples"]
    for name, path in record["files"].items():
        last = str(path).rpartition("/")[2]
        if path != f"files/{id}/{last}" or last in ("", ".", "..") or "\\" in last or "\0" in last:
            yield f"found the file {path!r} for {name!r}; expected one in files/{id[:12]}.../"
    if samples is not None:
        expected = f"samples/{id[:2]}/{id}.safetensors"
        listed = isinstance(samples["fields"], list) and all(
            isinstance(one, str) for one in samples["fields"]
        )
        if samples["file"] != expected or not ID_PATTERN.fullmatch(samples["sha256"]) or not listed:
            yield f"found samples {str(samples)[:120]}; expected {expected} with its sha256 and fields"
