"""Records for tests: some fields, filled up to a complete and consistent record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from advtransfer.node import content_id
from advtransfer.result.record import RECORD_FORMAT, Record, pack_outcomes, robust_share
from advtransfer.result.verdict import verdict_from_checks
from advtransfer.statistics import wilson_interval
from advtransfer.types import Check, Outcome

RECORD_BODIES: Mapping[str, Record] = {
    "fit": {
        "curves": [],
        "chosen": {},
        "facts": {},
        "leakage": None,
        "weights": {"digest": "0" * 64, "kept": False},
    },
    "source": {"probe": None, "curves": [], "facts": {}, "weights": {"digest": "0" * 64}},
    "result": {
        "metrics": {},
        "outcomes": {},
        "samples": None,
        "checks": [],
        "battery": None,
        "files": {},
    },
    "battery": {"of": 1, "outcomes": {}, "checks": []},
}
SOURCE_CARD: Record = {
    "architecture": "small",
    "data": "toy",
    "constraint": "none",
    "shape": [1, 2, 2],
    "outputs": 2,
    "clean_accuracy": None,
    "tolerance": 0.01,
}
RECORD_PROVENANCE: Record = {
    "environment": "e" * 64,
    "plugin": {"name": "toy", "distribution": "toy", "version": "1"},
    "device": "cpu",
    "threads": 1,
    "precision": "float32",
    "data": {},
    "weights": {},
    "resolved": {},
}


def complete_record(parts: Mapping[str, Any], **asked: Any) -> Record:  # noqa: ANN401  # Any: JSON
    """Return a consistent record with the given fields; all others are filled in.

    The id is that of the record's ``asked``.

    Args:
        parts: Fields of a record, its kind included. Shares without outcomes get outcomes of as
            many samples as their ``of`` says.
        **asked: Fields of ``asked``: ``use``, ``options``, ``inputs``.
    """
    kind = str(parts["kind"])
    record: dict[str, Any] = {  # Any: JSON
        **RECORD_BODIES[kind],
        **parts,
        "format": RECORD_FORMAT,
    }
    record["asked"] = {
        "use": "toy/toy",
        "version": 1,
        "options": {},
        "inputs": {},
        **parts.get("asked", {}),
        **asked,
        "kind": kind,
    }
    record["id"] = content_id(record["asked"])
    record["provenance"] = {**RECORD_PROVENANCE, **parts.get("provenance", {})}
    record["observed"] = {"seconds": {}, "copied_from": None, **parts.get("observed", {})}
    if kind == "source":
        record["card"] = {**SOURCE_CARD, **parts.get("card", {})}
        probe = record["probe"]
        record["probe"] = _complete_probe(probe, record["card"]) if probe else None
    if kind == "result":
        _complete_shares(record)
        value, reason, rules = verdict_from_checks(Check(**check) for check in record["checks"])
        record["verdict"] = {"value": value, "reason": reason, "rules": rules}
    return record


def _complete_shares(record: dict[str, Any]) -> None:  # Any: JSON
    """Add outcomes for the shares that have none, and make the shares agree with them."""
    metrics = dict(record["metrics"])
    outcomes = dict(record["outcomes"])
    for name, metric in record["metrics"].items():
        if "of" in metric and name not in outcomes:
            share_outcomes = outcomes_of_share(metric)
            outcomes[name] = pack_outcomes(share_outcomes)
            metrics[name] = robust_share(share_outcomes)
    # Replaced, not changed in place: both may be objects of the caller.
    record["metrics"] = metrics
    record["outcomes"] = outcomes


def outcomes_of_share(share: Mapping[str, float]) -> list[Outcome]:
    """Return outcomes with the share's lower and upper bound, over ``of`` samples."""
    sample_count = int(share["of"])
    robust_count = round(share["low"] * sample_count)
    at_most_robust = round(share["high"] * sample_count)
    return (
        [Outcome.ROBUST] * robust_count
        + [Outcome.UNKNOWN] * (at_most_robust - robust_count)
        + [Outcome.BROKEN] * (sample_count - at_most_robust)
    )


def _complete_probe(
    probe: Mapping[str, Any], card: Mapping[str, Any]
) -> dict[str, Any]:  # Any: JSON
    """Return a source's probe with an accuracy of whole samples and all that follows from it."""
    correct_count = round(probe["clean_accuracy"] * probe["of"])
    accuracy = correct_count / probe["of"]
    claimed = card["clean_accuracy"]
    agrees = None if claimed is None else abs(claimed - accuracy) <= card["tolerance"]
    return {
        **probe,
        "clean_accuracy": accuracy,
        "interval": list(wilson_interval(correct_count, probe["of"])),
        "claimed": claimed,
        "agrees": agrees,
    }
