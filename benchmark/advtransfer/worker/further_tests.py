"""Results on a further data set of a target (``also``), which no fit has seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from advtransfer.errors import BadInput, Problem
from advtransfer.node import Node
from advtransfer.suite.further_tests import class_names_differ
from advtransfer.types import DataCard, Json
from advtransfer.worker.leakage import counts_by_policy, further_pairs
from advtransfer.worker.object_builder import ObjectBuilder


def check_further_test(
    objects: ObjectBuilder, result: Node
) -> Mapping[str, Mapping[str, Json]] | None:
    """Return how many images of a result's further data set are training images, by pair of parts.

    None for a result on its target's own test part, which the counts of its fit are about, and where
    the suite says ``leakage: off``.

    Raises:
        BadInput: The further data set has other inputs or classes than the target's own data. A plan
            checks what is known before data are read; the names of classes are on their cards alone.
        Leaked: There are such images and the suite says ``leakage: error``.
    """
    fit = result.inputs.get("model")
    if not isinstance(fit, Node):
        return None
    subset = cast(Node, fit.inputs["subset"])
    own = cast(Node, subset.inputs["data"])
    further = cast(Node, cast(Node, result.inputs["test"]).inputs["data"])
    if further.id == own.id:
        return None
    own_card, further_card = (objects.load_dataset(node).card() for node in (own, further))
    problems = _card_problems(own_card, further_card, use=further.use)
    if problems:
        raise BadInput(problems)
    source = cast("Node | None", fit.inputs.get("source"))
    pairs = further_pairs(source, own, further)
    return counts_by_policy(pairs, subset, host=objects.host, cache=objects.cache)


def _card_problems(own: DataCard, further: DataCard, *, use: str) -> list[Problem]:
    """Return the differences for which a model of the target cannot be measured on further data."""
    fields = ("task", "outputs", "shape", "bounds")
    pairs = [(name, getattr(further, name), getattr(own, name)) for name in fields]
    if own.outputs == further.outputs and class_names_differ(own.names, further.names):
        pairs.append(("names", further.names, own.names))
    return [
        Problem(
            f"the further data set {use} with {name} {found}",
            f"{expected}, as in the target's own data",
            "name another data set in `also`, or correct its entry",
        )
        for name, found, expected in pairs
        if found != expected
    ]
