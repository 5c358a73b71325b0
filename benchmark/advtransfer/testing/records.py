"""Records for tests: parts of one, filled up to a whole record that agrees with itself."""

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
    """A record with these parts, the others made up so that all of it agrees; its id is that of what it asks.

    Args:
        parts: Fields of a record, its kind among them. Shares without outcomes are given some, of their ``of`` samples.
        **asked: What it asks: ``use``, ``options``, ``inputs``.
    """
    kind = str(parts["kind"])
    made: dict[str, Any] = {**RECORD_BODIES[kind], **parts, "format": RECORD_FORMAT}  # Any: JSON
    made["asked"] = {
        "use": "toy/toy",
        "version": 1,
        "options": {},
        "inputs": {},
        **parts.get("asked", {}),
        **asked,
    }
    made["asked"]["kind"] = kind
    made["id"] = content_id(made["asked"])
    made["provenance"] = {**RECORD_PROVENANCE, **parts.get("provenance", {})}
    made["observed"] = {"seconds": {}, "copied_from": None, **parts.get("observed", {})}
    if kind == "source":
        made["card"] = {**SOURCE_CARD, **parts.get("card", {})}
        made["probe"] = _complete_probe(made["probe"], made["card"]) if made["probe"] else None
    if kind == "result":
        shares = {
            name: one
            for name, one in made["metrics"].items()
            if "of" in one and name not in made["outcomes"]
        }
        made["outcomes"] = made["outcomes"] | {
            name: pack_outcomes(_make_outcomes(one)) for name, one in shares.items()
        }
        made["metrics"] = made["metrics"] | {
            name: robust_share(_make_outcomes(one)) for name, one in shares.items()
        }
        value, reason, rules = verdict_from_checks(Check(**one) for one in made["checks"])
        made["verdict"] = {"value": value, "reason": reason, "rules": rules}
    return made


def _make_outcomes(share: Mapping[str, float]) -> list[Outcome]:
    of = int(share["of"])
    robust, high = (round(share[name] * of) for name in ("low", "high"))
    return (
        [Outcome.ROBUST] * robust
        + [Outcome.UNKNOWN] * (high - robust)
        + [Outcome.BROKEN] * (of - high)
    )


def _complete_probe(
    probe: Mapping[str, Any], card: Mapping[str, Any]
) -> dict[str, Any]:  # Any: JSON
    right, claimed = round(probe["clean_accuracy"] * probe["of"]), card["clean_accuracy"]
    accuracy = right / probe["of"]
    agrees = None if claimed is None else abs(claimed - accuracy) <= card["tolerance"]
    told = {
        "clean_accuracy": accuracy,
        "interval": list(wilson_interval(right, probe["of"])),
        "claimed": claimed,
    }
    return {**probe, **told, "agrees": agrees}
