"""Names of metrics and checks that a record has to have, by others of the same evaluation or battery.

A metric too many takes a column from the whole board, and a check that is left out cannot fail; neither
is seen in one record alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from advtransfer.node import canonical_json
from advtransfer.result.battery_index import battery_version
from advtransfer.result.evidence import is_snapshot
from advtransfer.result.record import battery_ids
from advtransfer.types.metric_names import CLAIM_PREFIX

RecordJson: TypeAlias = Mapping[str, Any]  # Any: JSON
Names: TypeAlias = frozenset[str]
Group: TypeAlias = tuple[str, ...]

MODEL_CHECKS = frozenset({"box", "eval_mode", "stochastic", "batch", "logits"})
"""Checks of every battery of today's version."""

ATTACK_CHECKS = frozenset(
    {
        *("finite", "gradients", "saturation", "derivatives", "continuity", "huge_eps"),
        *("noise", "single_step", "transferred", "smoothed", "rounded"),
    }
)
"""Checks of a battery of today's version that had a correct image to attack."""

EXAMPLE_CHECKS = frozenset({"legal_examples", "own_examples", "untouched"})
"""Checks of a result that do not follow from its battery or its outcomes."""


class NameFault(NamedTuple):
    """Names that a record lacks or has too many of, by the record's id."""

    id: str
    text: str


def name_faults(
    records: Iterable[RecordJson], earlier: Iterable[RecordJson] = ()
) -> Iterator[NameFault]:
    """Yield records whose names of metrics or checks are not those of their like.

    Args:
        records: The valid records of a bundle.
        earlier: Those of the accepted submissions before it on its board, which decide.
    """
    own = {str(record["id"]): record for record in records}
    known = _names_by_group(earlier)
    within = _names_by_group(own.values())
    for id, record in own.items():
        yield from _radius_faults(record)
        yield from _check_faults(record, own)
        for group, names in _named_groups(record):
            expected = _usual_names(known.get(group) or within[group], group)
            # A newer release may check more; what matters is what is left out.
            extra = names - expected if group[0] == "metrics" else frozenset()
            if extra or expected - names:
                yield NameFault(id, _difference_text(group[0], names, expected))


def _named_groups(record: RecordJson) -> Iterator[tuple[Group, Names]]:
    """Yield the groups whose records have the same names, with those of this record."""
    asked = record["asked"]
    options = canonical_json(asked["options"])
    checks = frozenset(str(check["name"]) for check in record.get("checks") or ())
    if record["kind"] == "battery":
        # Without a correct image nothing is attacked.
        attacked = str(bool(record["outcomes"]))
        radius_free = {name: value for name, value in asked["options"].items() if name != "eps"}
        yield (
            ("checks", "battery", str(asked["version"]), canonical_json(radius_free), attacked),
            # Only models that offer a surrogate have a check of it.
            checks - {"surrogate"},
        )
    elif record["kind"] == "result":
        test = str(asked["inputs"].get("test"))
        group = (str(asked["use"]), str(asked["version"]), options, test)
        metrics = record["outcomes"]
        yield (
            ("metrics", *group),
            frozenset(name for name in metrics if not is_snapshot(name, metrics)),
        )
        # Without a broken image there need not be an example to check.
        if any(packed["broken"] for packed in metrics.values()):
            yield ("checks", *group), checks & EXAMPLE_CHECKS


def _names_by_group(records: Iterable[RecordJson]) -> dict[Group, Counter[Names]]:
    found: dict[Group, Counter[Names]] = defaultdict(Counter)
    for record in records:
        for group, names in _named_groups(record):
            found[group][names] += 1
    return found


def _usual_names(counts: Counter[Names], group: Group) -> Names:
    """Return the most frequent names; of equally frequent ones the fewer metrics, the more checks."""
    sign = 1 if group[0] == "metrics" else -1
    return min(counts, key=lambda names: (-counts[names], sign * len(names), sorted(names)))


def _radius_faults(record: RecordJson) -> Iterator[NameFault]:
    """Yield robust accuracies at another radius than the evaluation was asked for."""
    asked = record["asked"]["options"].get("eps") if record["kind"] == "result" else None
    radii = asked if isinstance(asked, list) else [asked]
    if not radii or any(type(value) not in (int, float) for value in radii):
        return
    for metric in record["outcomes"]:
        if not metric.startswith(CLAIM_PREFIX) or is_snapshot(metric, record["outcomes"]):
            continue
        stated = metric.partition("@")[2]
        if stated and stated not in {f"{value:g}" for value in radii}:
            wanted = ", ".join(f"{value:g}" for value in radii)
            yield NameFault(
                str(record["id"]),
                f"found {metric[:80]!r}; expected the radius {wanted}, as asked for",
            )


def _check_faults(record: RecordJson, records: Mapping[str, RecordJson]) -> Iterator[NameFault]:
    """Yield a battery of today without all its checks, and a result without those of its batteries."""
    found = {str(check["name"]).partition("@")[0] for check in record.get("checks") or ()}
    expected: set[str] = set()
    if record["kind"] == "battery":
        asked = record["asked"]
        if asked["version"] == battery_version(str(asked["options"].get("norm", ""))):
            expected = {*MODEL_CHECKS, *(ATTACK_CHECKS if record["outcomes"] else ())}
    elif record["kind"] == "result":
        for id in battery_ids(record):
            expected |= {str(check["name"]) for check in records.get(id, {}).get("checks", ())}
    if missing := expected - found:
        text = f"found no checks {', '.join(sorted(missing))}; expected all of its battery"
        yield NameFault(str(record["id"]), text)


def _difference_text(kind: str, names: Names, expected: Names) -> str:
    shown = [", ".join(sorted(each))[:200] or "none" for each in (names, expected)]
    return f"found the {kind} {shown[0]}; expected {shown[1]}, as in the others of its kind"
