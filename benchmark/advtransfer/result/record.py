"""Contents of the records.

Everything except `observed` is byte-equal between runs of one environment, with any number of jobs and kills.
"""

from __future__ import annotations

import base64
import zlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TypeAlias

from advtransfer.node import Node
from advtransfer.result.verdict import verdict_from_checks
from advtransfer.statistics import wilson_interval
from advtransfer.types import Check, Json, Outcome, SourceCard

Record: TypeAlias = "dict[str, Json]"
RECORD_FORMAT = 1

HALVED_KERNEL_BATCH = "halved_kernel_batch"
"""Name in environments and provenances of the largest kernel batch after a GPU ran out of memory."""

FURTHER_LEAKAGE: Mapping[str, str] = {
    "target": "also test in target train",
    "source": "also test in source train",
}
"""Names of the pairs of parts in which a result on a further data set counts shared images, by whose train part."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Origin of a record: the fields that two runs of one environment must agree on.

    `kernel_batch` has the rows that the run named (``--kernel-batch``), `halved_kernel_batch` their
    upper bound after a GPU ran out of memory. Records have neither where the rule chose them.
    """

    environment: str
    plugin: Mapping[str, Json]
    device: str
    threads: int
    data: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    resolved: Mapping[str, str] = field(default_factory=dict)
    precision: str = "float32"
    kernel_batch: int | None = None
    halved_kernel_batch: int | None = None

    def to_json(self) -> dict[str, Json]:
        """Return the fields as records hold them."""
        fields: dict[str, Json] = asdict(self)
        for name in ("kernel_batch", HALVED_KERNEL_BATCH):
            if fields[name] is None:
                del fields[name]
        return fields


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
    """Return the record of a fit, whose id is the trial's; without `checks` where there are none."""
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
    """Return the record of a source or reference: its claims, the start-up probe, and any `checks`."""
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
    labels: Mapping[str, Json] | None = None,
    shares: Collection[str] = (),
    leakage: Mapping[str, Mapping[str, Json]] | None = None,
) -> Record:
    """Return the record of a result, with metrics computed from the outcomes of the samples.

    `shares` names the metrics that an evaluation states to be shares. `batteries` holds the ids of
    the battery records behind the checks, by metric. `labels` is what a fitted model is held to
    (see `advtransfer.result.evidence.unlearned_reason`). `leakage` counts the images that a further
    data set shares with the training data, by pair of parts; records have none of it elsewhere.
    """
    value, reason, rules = verdict_from_checks(checks)
    body: Record = {
        "metrics": {name: robust_share(values) for name, values in sorted(outcomes.items())}
        | {
            name: {"value": number, "share": True} if name in shares else {"value": number}
            for name, number in sorted(metrics.items())
        },
        "outcomes": {name: pack_outcomes(values) for name, values in sorted(outcomes.items())},
        "samples": dict(samples) if samples is not None else None,
        "checks": [asdict(check) for check in checks],
        "battery": _battery_field(batteries),
        "verdict": {"value": value, "reason": reason, "rules": rules},
        "files": dict(files),
    }
    if labels is not None:
        body["labels"] = dict(labels)
    if leakage is not None:
        body["leakage"] = {name: dict(counts) for name, counts in leakage.items()}
    return _assemble_record(node, body, provenance, observed)


def battery_record(
    node: Node,
    *,
    positions: Sequence[int],
    outcomes: Mapping[str, Sequence[int]],
    of: int,
    checks: Sequence[Check],
    provenance: Provenance,
    observed: Mapping[str, Json],
) -> Record:
    """Return the record of a battery: the host's attacks on one model in one ball.

    Args:
        node: The battery.
        positions: The attacked positions in the test part, ascending; recorded as None if these are
            all of them.
        outcomes: The outcome of each attacked sample, by attack. Broken means: by an example that
            the host found in the ball and the box, in float64, and misclassified.
        of: The number of test samples.
        checks: Checks of the model itself. The record of an evaluation has the checks of the evaluation.
        provenance: The origin of the record.
        observed: Fields that may differ between runs.
    """
    body: Record = {
        "of": of,
        "positions": list(positions) if len(positions) < of else None,
        "outcomes": {name: pack_outcomes(values) for name, values in sorted(outcomes.items())},
        "checks": [asdict(check) for check in checks],
    }
    return _assemble_record(node, body, provenance, observed)


def battery_ids(record: Mapping[str, Json]) -> list[str]:
    """Return the ids of the battery records behind a result's checks."""
    battery = record.get("battery")
    if isinstance(battery, Mapping):
        return [str(id) for id in battery.values()]
    return [str(battery)] if battery else []


def _battery_field(batteries: Mapping[str, str]) -> Json:
    # The record format names no metric where a result has one battery.
    if len(batteries) < 2:
        return next(iter(batteries.values()), None)
    return dict(sorted(batteries.items()))


def arrays_path(id: str) -> str:
    """Return the path in a run folder of the arrays of a record."""
    return f"samples/{id[:2]}/{id}.safetensors"


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
    """Return the record of an attempt that failed, was skipped or was lost, with its reason."""
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
    """Return a row with integral floats as integers, since a checkpoint gives a count back as 1.0."""
    return {
        name: value if isinstance(value, str) else _canonical_number(value)
        for name, value in row.items()
    }


def _canonical_number(value: float) -> int | float:
    return int(value) if float(value).is_integer() else float(value)


def robust_share(outcomes: Sequence[int]) -> dict[str, Json]:
    """Return the share of robust samples; `low` counts unknown ones as broken, `high` as robust."""
    counts = Counter(outcomes)
    total = len(outcomes)
    robust = counts[Outcome.ROBUST]
    unknown = counts[Outcome.UNKNOWN]
    return {
        "value": robust / total,
        "low": robust / total,
        "high": (robust + unknown) / total,
        "of": total,
        "interval": list(wilson_interval(robust, total)),
        "method": "wilson",
    }


def pack_outcomes(outcomes: Sequence[int]) -> dict[str, Json]:
    """Return the count of each outcome, and all outcomes at two bits each, zlib-compressed, in base64."""
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
    """Return the outcomes that `pack_outcomes` packed."""
    bits = zlib.decompress(base64.b64decode(str(outcomes["packed"])))
    return [Outcome(value) for value in unpack_bits(bits, int(str(outcomes["of"])))]


def unpack_bits(bits: bytes, of: int) -> list[int]:
    """Return the first `of` values of two bits, four a byte, the lowest bits first."""
    return [byte >> shift & 3 for byte in bits for shift in (0, 2, 4, 6)][:of]


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
    return head | body | {"provenance": provenance.to_json(), "observed": dict(observed)}
