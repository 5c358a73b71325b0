"""Count of test images that also occur in source or target training data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from advtransfer.cache import Cache
from advtransfer.errors import Leaked
from advtransfer.host import Host
from advtransfer.node import Node, content_id
from advtransfer.result.record import FURTHER_LEAKAGE
from advtransfer.types import Json, Part, Samples
from advtransfer.worker.object_builder import dataset_of

LEAKAGE_VERSION = 1
"""Raised whenever the same images would be counted differently."""

MAX_PAIRS = 10**9
"""Largest number of image pairs that `count_leaks` compares unasked; above it, minutes become hours."""


@dataclass(frozen=True, slots=True)
class DataPart:
    """One part of one data set."""

    data: Node
    part: Part

    def load_samples(self, host: Host) -> Samples:
        """Return the samples of the part."""
        return dataset_of(host, self.data).part(self.part)


def compared_parts(source: Node | None, target: Node) -> dict[str, tuple[DataPart, DataPart]]:
    """Return the pairs of parts to compare, by name: training part first.

    The training data of a source are the data set that it names as its `data`.
    """
    target_train = DataPart(target, "train")
    target_test = DataPart(target, "test")
    pairs = {"target test in target train": (target_train, target_test)}
    data = source.inputs.get("data") if source is not None else None
    if isinstance(data, Node):
        source_train = DataPart(data, "train")
        pairs["target train in source train"] = (source_train, target_train)
        pairs["target test in source train"] = (source_train, target_test)
    return pairs


def count_leaks(
    a: DataPart, b: DataPart, *, host: Host, cache: Cache, always: bool
) -> dict[str, Json]:
    """Return the number of images of `b` that are in `a`, exactly or nearly.

    Counts are cached, so all trials that share the two parts count once. Above `MAX_PAIRS` pairs
    the counts are None, unless `always`.
    """
    key: dict[str, Json] = {
        "leakage": LEAKAGE_VERSION,
        "a": [a.data.id, a.part],
        "b": [b.data.id, b.part],
        "code": cast(Json, host.node_code(a.data) | host.node_code(b.data)),
    }
    id = content_id(key)
    artifact = cache.get(id)
    if artifact is None:
        samples_a = a.load_samples(host)
        samples_b = b.load_samples(host)
        if len(samples_a) * len(samples_b) > MAX_PAIRS and not always:
            return {"exact": None, "near": None, "of": len(samples_b)}
        with cache.hold_lock(id):
            # Another worker may have counted between the first look and the lock.
            artifact = cache.get(id) or cache.put(
                id, {}, _leak_counts(samples_a, samples_b), kind="leakage", use="host/leakage"
            )
    return dict(artifact.facts)


def fit_leakage(
    subset: Node, source: Node | None, *, host: Host, cache: Cache
) -> Mapping[str, Mapping[str, Json]] | None:
    """Return the counts for a fit, by pair; None where its suite says ``leakage: off``.

    Raises:
        Leaked: There are such images and the suite says ``leakage: error``.
    """
    pairs = compared_parts(source, cast(Node, subset.inputs["data"]))
    return counts_by_policy(pairs, subset, host=host, cache=cache)


def further_pairs(
    source: Node | None, target: Node, further: Node
) -> dict[str, tuple[DataPart, DataPart]]:
    """Return the pairs of parts to compare for a further data set of a target, by name: training part first."""
    test = DataPart(further, "test")
    pairs = {FURTHER_LEAKAGE["target"]: (DataPart(target, "train"), test)}
    data = source.inputs.get("data") if source is not None else None
    if isinstance(data, Node):
        pairs[FURTHER_LEAKAGE["source"]] = (DataPart(data, "train"), test)
    return pairs


def counts_by_policy(
    pairs: Mapping[str, tuple[DataPart, DataPart]], subset: Node, *, host: Host, cache: Cache
) -> Mapping[str, Mapping[str, Json]] | None:
    """Return the counts of pairs by the policy of a fit's training subset; None where it is ``off``.

    Raises:
        Leaked: There are such images and the policy is ``error``.
    """
    policy = subset.options_not_in_id.get("leakage", "count")
    if policy == "off":
        return None
    counts_by_pair = {
        name: count_leaks(a, b, host=host, cache=cache, always=policy == "error")
        for name, (a, b) in sorted(pairs.items())
    }
    leaks = [
        f"{name}: {counts['exact']} exact, {counts['near']} near"
        for name, counts in counts_by_pair.items()
        if counts["exact"] or counts["near"]
    ]
    if leaks and policy == "error":
        raise Leaked("; ".join(leaks))
    return counts_by_pair


def _leak_counts(samples_a: Samples, samples_b: Samples) -> dict[str, Json]:
    from advtransfer.toolkit.leakage import find_leaks

    leaks = find_leaks(samples_a, samples_b)
    return {"exact": leaks.exact, "near": leaks.near, "of": len(samples_b)}
