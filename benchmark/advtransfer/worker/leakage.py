"""Count of target test images that also occur in source or target training data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from advtransfer.cache import Cache
from advtransfer.errors import Leaked
from advtransfer.host import Host
from advtransfer.node import Node, content_id
from advtransfer.types import Json, Part, Samples
from advtransfer.worker.object_builder import dataset_of

LEAKAGE_VERSION = 1
"""Goes up when the same images are counted otherwise."""

MAX_PAIRS = 10**9
"""Pairs of images above which `count_leaks` does not count by itself: minutes become hours."""


@dataclass(frozen=True, slots=True)
class DataPart:
    """One part of one data set."""

    data: Node
    part: Part

    def load_samples(self, host: Host) -> Samples:
        """The part, read."""
        return dataset_of(host, self.data).part(self.part)


def compared_parts(source: Node | None, target: Node) -> dict[str, tuple[DataPart, DataPart]]:
    """What is looked for in what, by name; a source is known by the data set that it names as its `data`."""
    train, test = DataPart(target, "train"), DataPart(target, "test")
    found = {"target test in target train": (train, test)}
    data = source.inputs.get("data") if source is not None else None
    if isinstance(data, Node):
        seen = DataPart(data, "train")
        found |= {
            "target train in source train": (seen, train),
            "target test in source train": (seen, test),
        }
    return found


def count_leaks(
    a: DataPart, b: DataPart, *, host: Host, cache: Cache, always: bool
) -> dict[str, Json]:
    """How many images of `b` are exactly, or nearly, in `a`; counted once for all trials that share the two.

    Above `MAX_PAIRS` pairs nothing is counted, and that is what it says, unless `always`.
    """
    asked: dict[str, Json] = {
        "leakage": LEAKAGE_VERSION,
        "a": [a.data.id, a.part],
        "b": [b.data.id, b.part],
    }
    asked["code"] = cast(Json, host.node_code(a.data) | host.node_code(b.data))
    id = content_id(asked)
    known = cache.get(id)
    if known is None:
        here, there = a.load_samples(host), b.load_samples(host)
        if len(here) * len(there) > MAX_PAIRS and not always:
            return {"exact": None, "near": None, "of": len(there)}
        with cache.hold_lock(id):
            known = cache.get(id) or cache.put(
                id, {}, _leak_counts(here, there), kind="leakage", use="host/leakage"
            )
    return dict(known.facts)


def fit_leakage(
    subset: Node, source: Node | None, *, host: Host, cache: Cache
) -> Mapping[str, Mapping[str, Json]] | None:
    """The counts for a fit, by pair; None where its suite says ``fit_leakage: off``.

    Raises:
        Leaked: There are such images and the suite says ``fit_leakage: error``.
    """
    policy = subset.options_not_in_id.get("leakage", "count")
    if policy == "off":
        return None
    named = compared_parts(source, cast(Node, subset.inputs["data"]))
    found = {
        name: count_leaks(a, b, host=host, cache=cache, always=policy == "error")
        for name, (a, b) in sorted(named.items())
    }
    leaked = {name: one for name, one in found.items() if one["exact"] or one["near"]}
    if leaked and policy == "error":
        raise Leaked(
            "; ".join(
                f"{name}: {one['exact']} exact, {one['near']} near" for name, one in leaked.items()
            )
        )
    return found


def _leak_counts(here: Samples, there: Samples) -> dict[str, Json]:
    from advtransfer.toolkit.leakage import find_leaks

    found = find_leaks(here, there)
    return {"exact": found.exact, "near": found.near, "of": len(there)}
