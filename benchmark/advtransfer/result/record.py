"""What a record holds.

All but `observed` is byte-equal between runs, jobs and kills of one environment.
"""

from __future__ import annotations

import base64
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TypeAlias

from advtransfer.node import Node
from advtransfer.result.verdict import verdict_from_checks
from advtransfer.statistics import wilson_interval
from advtransfer.types import Check, Json, Outcome, SourceCard

Record: TypeAlias = "dict[str, Json]"
RECORD_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who answered, as far as two runs of one environment must agree."""

    environment: str
    plugin: Mapping[str, Json]
    device: str
    threads: int
    data: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    resolved: Mapping[str, str] = field(default_factory=dict)
    precision: str = "float32"


def fit_record(
    node: Node,
    *,
    weights: str,
    kept: bool,
    leakage: Mapping[str, Mapping[str, Json]] | None,
    curves: Sequence[Mapping[str, float]],
    chosen: Mapping[str, Json],
    facts: Mapping[str, float],
    provenance: Provenance,
    observed: Mapping[str, Json],
    checks: Sequence[Check] = (),
) -> Record:
    """One fit; its id is the trial's. Its `checks` are there only where one has something to say."""
    body: Record = {
        "curves": list(map(canonical_numbers, curves)),
        "chosen": dict(chosen),
        "facts": canonical_numbers(facts),
        "leakage": {name: dict(one) for name, one in leakage.items()}
        if leakage is not None
        else None,
        "weights": {"digest": weights, "kept": kept},
    }
    return _assemble_record(node, body | _checks_field(checks), provenance, observed)


def source_record(
    node: Node,
    *,
    card: SourceCard,
    probe: Mapping[str, Json] | None,
    weights: str,
    curves: Sequence[Mapping[str, float]],
    facts: Mapping[str, float | str],
    provenance: Provenance,
    observed: Mapping[str, Json],
    checks: Sequence[Check] = (),
) -> Record:
    """One source or reference: what it claims to be, what the start-up probe measured, and `checks`, if any."""
    body: Record = {
        "card": asdict(card) | {"shape": list(card.shape)},
        "probe": dict(probe) if probe is not None else None,
        "curves": list(map(canonical_numbers, curves)),
        "facts": canonical_numbers(facts),
        "weights": {"digest": weights},
    }
    return _assemble_record(node, body | _checks_field(checks), provenance, observed)


def result_record(
    node: Node,
    *,
    outcomes: Mapping[str, Sequence[int]],
    metrics: Mapping[str, float],
    checks: Sequence[Check],
    batteries: Mapping[str, str],
    samples: Mapping[str, Json] | None,
    files: Mapping[str, str],
    provenance: Provenance,
    observed: Mapping[str, Json],
) -> Record:
    """What one evaluation gave: metrics computed here from the per-sample outcomes, with their evidence.

    `batteries` holds the ids of the battery records behind the checks, by metric; one alone is written without a name.
    """
    value, reason, rules = verdict_from_checks(checks)
    body: Record = {
        "metrics": {name: robust_share(values) for name, values in sorted(outcomes.items())}
        | {name: {"value": number} for name, number in sorted(metrics.items())},
        "outcomes": {name: pack_outcomes(values) for name, values in sorted(outcomes.items())},
        "samples": dict(samples) if samples is not None else None,
        "checks": [asdict(check) for check in checks],
        "battery": next(iter(batteries.values()), None)
        if len(batteries) < 2
        else dict(sorted(batteries.items())),
        "verdict": {"value": value, "reason": reason, "rules": rules},
        "files": dict(files),
    }
    return _assemble_record(node, body, provenance, observed)


def battery_record(
    node: Node,
    *,
    outcomes: Mapping[str, Sequence[int]],
    of: int,
    checks: Sequence[Check],
    provenance: Provenance,
    observed: Mapping[str, Json],
) -> Record:
    """What the host found out about one model in one ball: outcomes of its probes on a fixed draw, checks of the model.

    Args:
        node: The battery.
        outcomes: What became of each drawn sample, by probe.
        of: How many test samples these were drawn from.
        checks: Those of the model itself; what a probe says of an evaluation stands in that evaluation's record.
        provenance: Who answers.
        observed: What may differ.
    """
    body: Record = {
        "of": of,
        "outcomes": {name: pack_outcomes(values) for name, values in sorted(outcomes.items())},
        "checks": [asdict(check) for check in checks],
    }
    return _assemble_record(node, body, provenance, observed)


def battery_ids(record: Mapping[str, Json]) -> list[str]:
    """The ids of the battery records that a result's checks come from."""
    found = record.get("battery")
    return (
        [str(id) for id in found.values()]
        if isinstance(found, Mapping)
        else [str(found)]
        if found
        else []
    )


def attempt_record(
    node: Node,
    *,
    status: str,
    reason: str,
    exception: str | None,
    traceback: str | None,
    deterministic: bool,
    environment: str,
    observed: Mapping[str, Json],
) -> Record:
    """A try that did not end in a record: failed, skipped or lost, and why."""
    return {
        "format": RECORD_FORMAT,
        "id": node.id,
        "kind": node.kind,
        "asked": node.id_fields(),
        "status": status,
        "reason": reason,
        "exception": exception,
        "traceback": traceback,
        "deterministic": deterministic,
        "environment": environment,
        "observed": dict(observed),
    }


def canonical_numbers(row: Mapping[str, float | str]) -> dict[str, Json]:
    """Numbers as one value has one text: a count that a checkpoint gave back as 1.0 is 1 again; words as they are."""
    return {
        name: value if isinstance(value, str) else _canonical_number(value)
        for name, value in row.items()
    }


def _canonical_number(value: float) -> int | float:
    return int(value) if float(value).is_integer() else float(value)


def robust_share(outcomes: Sequence[int]) -> dict[str, Json]:
    """The share of robust samples: `low` counts an unknown as broken, `high` as robust."""
    counts, total = Counter(outcomes), len(outcomes)
    robust, unknown = counts[Outcome.ROBUST], counts[Outcome.UNKNOWN]
    return {
        "value": robust / total,
        "low": robust / total,
        "high": (robust + unknown) / total,
        "of": total,
        "interval": list(wilson_interval(robust, total)),
        "method": "wilson",
    }


def pack_outcomes(outcomes: Sequence[int]) -> dict[str, Json]:
    """Counts of each outcome, and every sample's at two bits, zlib-compressed, base64."""
    counts = Counter(outcomes)
    padded = [*outcomes, *[0] * (-len(outcomes) % 4)]
    quads = zip(padded[::4], padded[1::4], padded[2::4], padded[3::4], strict=True)
    bits = bytes(a | b << 2 | c << 4 | d << 6 for a, b, c, d in quads)
    text = base64.b64encode(zlib.compress(bits, 9)).decode()
    return {outcome.name.lower(): counts[outcome] for outcome in Outcome} | {
        "of": len(outcomes),
        "packed": text,
    }


def unpack_outcomes(outcomes: Mapping[str, Json]) -> list[Outcome]:
    """The inverse of `pack_outcomes`."""
    bits = zlib.decompress(base64.b64decode(str(outcomes["packed"])))
    values = [Outcome(byte >> shift & 3) for byte in bits for shift in (0, 2, 4, 6)]
    return values[: int(str(outcomes["of"]))]


def _checks_field(checks: Sequence[Check]) -> Record:
    return {"checks": [asdict(check) for check in checks]} if checks else {}


def _assemble_record(
    node: Node, body: Record, provenance: Provenance, observed: Mapping[str, Json]
) -> Record:
    head: Record = {
        "format": RECORD_FORMAT,
        "kind": node.kind,
        "id": node.id,
        "asked": node.id_fields(),
    }
    return head | body | {"provenance": asdict(provenance), "observed": dict(observed)}
