"""Records held against themselves: id, format, kinds of fields, and what follows from outcomes and checks."""

from __future__ import annotations

import base64
import binascii
import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, cast, get_args

from advtransfer.node import canonical, digest
from advtransfer.result.record import FORMAT, share
from advtransfer.statistics import wilson
from advtransfer.types import Check, Grade, Outcome
from advtransfer.verdict import RULES, WORST_FIRST, verdict

Read = Mapping[str, Any]  # Any: JSON

ID = re.compile(r"[0-9a-f]{64}")
ASKED: Mapping[str, type] = {"kind": str, "use": str, "version": int, "options": dict, "inputs": dict}
LISTED: Mapping[str, type | tuple[type, ...]] = {"provenance": dict, "observed": dict}
KINDS: Mapping[str, Mapping[str, type | tuple[type, ...]]] = {
    "fit": {"curves": list, "chosen": dict, "facts": dict, "leakage": (dict, type(None)), "weights": dict},
    "source": {"card": dict, "probe": (dict, type(None)), "curves": list, "facts": dict, "weights": dict},
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
PROVENANCE: Mapping[str, type] = {"environment": str, "plugin": dict, "device": str, "threads": int, "data": dict}
WORST = frozenset({"legal_examples", "own_examples", "untouched", "eps_zero", "claimed_radius", "eval_mode"})
"""Checks of the host that fail as soon as their value is above their limit."""

BOUNDED = frozenset({"more_steps", "restarts", "noise", "single_step", "transferred", "finished", "huge_eps"})
"""Checks of the host that do not pass then."""

TOLERANCE = 1e-9
"""How far a share or an end of its interval may be from what the outcomes give, on another machine."""

MOST = 10**8
"""Samples of one metric; a text that says more is not unpacked."""


def fault(record: object, *, id: str | None = None) -> str | None:
    """What is wrong with a record, as ``found ...; expected ...``; None where all of it agrees.

    Args:
        record: As it was read.
        id: The id that its file is named by.
    """
    try:
        return next(_faults(record, id), None)
    except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError, RecursionError) as error:
        return f"found fields of other kinds ({type(error).__name__}: {error}); expected those of a record"


def disagreement(result: Read, battery: Read) -> str | None:
    """What a battery's record says otherwise than a result that names it; None where both say the same."""
    asked, other = result["asked"]["inputs"], battery["asked"]["inputs"]
    if battery["kind"] != "battery" or any(asked.get(name) != other.get(name) for name in ("model", "test")):
        return f"found the battery {battery['id'][:12]} of another model or test; expected that of its own"
    said = [{**check, "name": check["name"].partition("@")[0]} for check in result["checks"]]
    changed = [check["name"] for check in battery["checks"] if check not in said]
    if changed:
        return f"found other checks ({', '.join(changed)}) than its battery {battery['id'][:12]} has; expected the same"
    return None


def _faults(record: object, id: str | None) -> Iterator[str]:
    if not isinstance(record, dict):
        yield f"found {type(record).__name__}; expected a JSON object"
        return
    if record.get("format") != FORMAT or isinstance(record.get("format"), bool):
        yield f"found format {record.get('format')!r}; expected {FORMAT}, the only one that this release reads"
    kind = record.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        yield f"found kind {kind!r}; expected {', '.join(KINDS)}"
        return
    yield from typed(record, {"id": str, "asked": dict, **KINDS[kind], **LISTED})
    yield from _identity(record, id)
    yield from typed(record["provenance"], PROVENANCE, of="provenance.")
    yield from typed({"precision": "", **record["provenance"]}, {"precision": str}, of="provenance.")
    yield from typed({"seconds": {}, **record["observed"]}, {"seconds": dict}, of="observed.")
    yield from _numbers("observed.seconds", record["observed"].get("seconds", {}))
    environment = record["provenance"]["environment"]
    if not ID.fullmatch(environment):
        yield f"found the environment {environment!r}; expected a digest of 64 hexadecimal digits"
    facts = record.get("facts", {})  # those of a source may be words, such as the key that its weights were under
    yield from _numbers("facts", {name: one for name, one in facts.items() if kind != "source" or type(one) is not str})
    yield from _checks(record.get("checks", []))
    if "weights" in record and not ID.fullmatch(str(record["weights"].get("digest"))):
        yield f"found weights.digest {record['weights'].get('digest')!r}; expected 64 hexadecimal digits"
    yield from {"result": _result, "battery": _battery, "source": _source, "fit": _fit}[kind](record)


def typed(value: Read, kinds: Mapping[str, Any], *, of: str = "") -> Iterator[str]:  # Any: types, or tuples of them
    """Fields that are missing, or of another type."""
    for name, kind in kinds.items():
        if name not in value:
            yield f"found no {of}{name}; expected one"
        elif not isinstance(value[name], kind) or (isinstance(value[name], bool) and kind is int):
            yield f"found {of}{name} of the type {type(value[name]).__name__}; expected {_named(kind)}"


def _named(kind: type | tuple[type, ...]) -> str:
    return " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))


def _identity(record: Read, id: str | None) -> Iterator[str]:
    asked = record["asked"]
    yield from typed(asked, ASKED, of="asked.")
    if asked["kind"] != record["kind"]:
        yield f"found kind {record['kind']!r}; expected {asked['kind']!r}, as asked"
    if (told := digest(canonical(asked))) != record["id"]:
        yield f"found the id {str(record['id'])[:12]}; expected {told[:12]}, that of what was asked"
    if id is not None and record["id"] != id:
        yield f"found the record of {str(record['id'])[:12]}; expected that of {id[:12]}, by which its file is named"


def _checks(checks: Sequence[Read]) -> Iterator[str]:
    names = {one.name for one in fields(Check)}
    for one in checks:
        if one.keys() != names or one["grade"] not in get_args(Grade) or not isinstance(one["name"], str):
            yield f"found the check {str(one)[:80]}; expected {', '.join(sorted(names))}, with a known grade"
            continue
        yield from _numbers(f"check {one['name']}", {name: one[name] for name in ("value", "limit", "samples")})
        above = one["value"] > one["limit"]
        name = str(one["name"]).partition("@")[0]
        wrong = (above and one["grade"] == "pass") if name in WORST | BOUNDED else False
        if wrong or (name in WORST and not above and one["grade"] == "fail"):
            yield f"found {name} {one['grade']} at {one['value']}; expected otherwise at a limit of {one['limit']}"


def _numbers(of: str, values: Read) -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            yield f"found {of} {name} {value!r}; expected a finite number"


def _fit(record: Read) -> Iterator[str]:
    for row in record["curves"]:
        yield from _numbers("curves", row)


def _source(record: Read) -> Iterator[str]:
    yield from _fit(record)
    probe, card = record["probe"], record["card"]
    yield from typed(card, {"architecture": str, "data": str, "shape": list, "outputs": int}, of="card.")
    if probe is None:
        return
    right = round(probe["clean_accuracy"] * probe["of"])
    yield from _close("probe.clean_accuracy", probe["clean_accuracy"], right / probe["of"])
    yield from _each("probe.interval", probe["interval"], wilson(right, probe["of"]))
    claimed = card["clean_accuracy"]
    agrees = None if claimed is None else not abs(claimed - probe["clean_accuracy"]) > card["tolerance"]
    if (probe["claimed"], probe["agrees"]) != (claimed, agrees):
        yield f"found probe.agrees {probe['agrees']!r}; expected {agrees!r}, from what card and probe say"


def _battery(record: Read) -> Iterator[str]:
    for name, packed in record["outcomes"].items():
        values, wrong = _unpacked(name, packed)
        yield from wrong
        if len(values) > record["of"]:
            yield f"found {len(values)} outcomes of {name}; expected at most {record['of']}"


def _result(record: Read) -> Iterator[str]:
    metrics, outcomes = record["metrics"], record["outcomes"]
    for name, packed in outcomes.items():
        values, wrong = _unpacked(name, packed)
        yield from wrong
        if not wrong:
            yield from _share(name, metrics, values)
    for name, metric in metrics.items():
        if name not in outcomes:
            if metric.keys() != {"value"}:
                yield f"found {name} {metric}; expected a value alone, or outcomes"
            yield from _numbers(name, metric)
    found, expected = record["verdict"], verdict(Check(**one) for one in record["checks"])
    if found["value"] not in WORST_FIRST or (
        found["rules"] == RULES and (found["value"], found["reason"]) != (expected.value, expected.reason)
    ):
        yield f"found the verdict {found['value']!r}; expected {expected.value!r}, from its checks"
    named = record["battery"]
    batteries = named.values() if isinstance(named, dict) else [] if named is None else [named]
    yield from (f"found battery {one!r}; expected an id" for one in batteries if not ID.fullmatch(str(one)))
    yield from _files(record)


def _share(name: str, metrics: Read, values: Sequence[int]) -> Iterator[str]:
    if name not in metrics:
        yield f"found no metric {name}; expected that of its outcomes"
        return
    found, expected = metrics[name], cast("dict[str, Any]", share(values))  # Any: JSON
    if found.keys() != expected.keys() or (found["of"], found["method"]) != (expected["of"], expected["method"]):
        yield f"found {name} {found}; expected {expected}, from its outcomes"
        return
    for part in ("value", "low", "high"):
        yield from _close(f"{name} {part}", found[part], expected[part])
    yield from _each(f"{name} interval", found["interval"], expected["interval"])


def _close(name: str, found: float, expected: float) -> Iterator[str]:
    if isinstance(found, bool) or not math.isclose(found, expected, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
        yield f"found {name} {found!r}; expected {expected!r}, from the outcomes"


def _each(name: str, found: Sequence[float], expected: Sequence[float]) -> Iterator[str]:
    if len(found) != len(expected):
        yield f"found {name} {found}; expected {list(expected)}"
    for one, other in zip(found, expected, strict=False):
        yield from _close(name, one, other)


def _unpacked(name: str, packed: Read) -> tuple[list[int], list[str]]:
    """Outcomes, and what is wrong with them; unpacks no more than it says there is."""
    of = packed["of"]
    if isinstance(of, bool) or not isinstance(of, int) or not 0 < of <= MOST:
        return [], [f"found {name} of {of!r} samples; expected a count"]
    try:
        unpacker = zlib.decompressobj()
        bits = unpacker.decompress(base64.b64decode(packed["packed"], validate=True), -(-of // 4) + 1)
    except (binascii.Error, zlib.error) as error:
        return [], [f"found outcomes of {name} that cannot be unpacked ({error}); expected those of {of} samples"]
    if len(bits) != -(-of // 4) or not unpacker.eof:
        return [], [f"found outcomes of {name} of another length; expected those of {of} samples"]
    values = [byte >> shift & 3 for byte in bits for shift in (0, 2, 4, 6)]
    counts = {one.name.lower(): values[:of].count(one) for one in Outcome}
    wrong = [key for key, count in counts.items() if packed[key] != count or isinstance(packed[key], bool)]
    if any(values[of:]) or wrong:
        return [], [f"found other counts in the outcomes of {name} than are packed; expected {counts}"]
    return values[:of], []


def _files(record: Read) -> Iterator[str]:
    """Whatever a record refers to lies where a run folder keeps it: nobody is led out of the folder."""
    id, samples = record["id"], record["samples"]
    for name, path in record["files"].items():
        last = str(path).rpartition("/")[2]
        if path != f"files/{id}/{last}" or last in ("", ".", "..") or "\\" in last or "\0" in last:
            yield f"found the file {path!r} for {name!r}; expected one in files/{id[:12]}.../"
    if samples is not None:
        expected = f"samples/{id[:2]}/{id}.safetensors"
        listed = isinstance(samples["fields"], list) and all(isinstance(one, str) for one in samples["fields"])
        if samples["file"] != expected or not ID.fullmatch(samples["sha256"]) or not listed:
            yield f"found samples {str(samples)[:120]}; expected {expected} with its sha256 and fields"
