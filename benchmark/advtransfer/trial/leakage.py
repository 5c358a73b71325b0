"""Images that the source was trained on, or that a transfer may train on, among those that a target is measured on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from advtransfer.cache import Cache
from advtransfer.errors import Leaked
from advtransfer.host import Host
from advtransfer.node import Node, canonical, digest
from advtransfer.trial.workshop import dataset_of
from advtransfer.types import Json, Part, Samples

VERSION = 1
"""Goes up when the same images are counted otherwise."""

LARGE = 10**9
"""Pairs of images above which `count` does not count by itself: minutes become hours."""


@dataclass(frozen=True, slots=True)
class Side:
    """One part of one data set."""

    data: Node
    part: Part

    def samples(self, host: Host) -> Samples:
        """The part, read."""
        return dataset_of(host, self.data).part(self.part)


def pairs(source: Node | None, target: Node) -> dict[str, tuple[Side, Side]]:
    """What is looked for in what, by name; a source is known by the data set that it names as its `data`."""
    train, test = Side(target, "train"), Side(target, "test")
    found = {"target test in target train": (train, test)}
    data = source.inputs.get("data") if source is not None else None
    if isinstance(data, Node):
        seen = Side(data, "train")
        found |= {"target train in source train": (seen, train), "target test in source train": (seen, test)}
    return found


def count(a: Side, b: Side, *, host: Host, cache: Cache, always: bool) -> dict[str, Json]:
    """How many images of `b` are exactly, or nearly, in `a`; counted once for all trials that share the two.

    Above `LARGE` pairs nothing is counted, and that is what it says, unless `always`.
    """
    asked: dict[str, Json] = {"leakage": VERSION, "a": [a.data.id, a.part], "b": [b.data.id, b.part]}
    asked["code"] = cast(Json, host.code_of(a.data) | host.code_of(b.data))
    id = digest(canonical(asked))
    known = cache.get(id)
    if known is None:
        here, there = a.samples(host), b.samples(host)
        if len(here) * len(there) > LARGE and not always:
            return {"exact": None, "near": None, "of": len(there)}
        with cache.lease(id):
            known = cache.get(id) or cache.put(id, {}, _counted(here, there), kind="leakage", use="host/leakage")
    return dict(known.facts)


def leakage(subset: Node, source: Node | None, *, host: Host, cache: Cache) -> Mapping[str, Mapping[str, Json]] | None:
    """The counts for a fit, by pair; None where its suite says ``leakage: off``.

    Raises:
        Leaked: There are such images and the suite says ``leakage: error``.
    """
    policy = subset.how.get("leakage", "count")
    if policy == "off":
        return None
    named = pairs(source, cast(Node, subset.inputs["data"]))
    found = {
        name: count(a, b, host=host, cache=cache, always=policy == "error") for name, (a, b) in sorted(named.items())
    }
    leaked = {name: one for name, one in found.items() if one["exact"] or one["near"]}
    if leaked and policy == "error":
        raise Leaked("; ".join(f"{name}: {one['exact']} exact, {one['near']} near" for name, one in leaked.items()))
    return found


def _counted(here: Samples, there: Samples) -> dict[str, Json]:
    from advtransfer.toolkit.leakage import leaks

    found = leaks(here, there)
    return {"exact": found.exact, "near": found.near, "of": len(there)}
