"""A source or reference: its weights in the cache, and its record with the card and the start-up probe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from advtransfer.node import Node
from advtransfer.result import source_record
from advtransfer.statistics import wilson
from advtransfer.toolkit.prediction import predict
from advtransfer.trial.work import Clock, Work
from advtransfer.trial.workshop import BuiltSource
from advtransfer.types import Json

if TYPE_CHECKING:
    from torch import nn


def record_source(work: Work, node: Node) -> None:
    """Build a source unless the cache has it, and write its record in this run."""
    clock = Clock()
    with clock.on("build"), work.shop.left.by(node.use):
        built = work.shop.source(node)
    if work.run.has(node.id):
        return
    with clock.on("probe"):
        probed = probe(work, node, built)
    facts = cast("dict[str, Any]", built.artifact.facts)  # Any: JSON that this package wrote
    data = node.inputs.get("data")
    digests = {"data": work.shop.dataset(data).card().digest} if isinstance(data, Node) else {}
    provenance = work.provenance(
        node,
        data=digests,
        weights={"source": built.artifact.digest},
        environment=work.run.write_environment(facts["environment"]),
    )
    work.run.write(
        source_record(
            node,
            card=built.card,
            probe=probed,
            weights=built.artifact.digest,
            curves=facts["curves"],
            facts=facts["facts"],
            checks=work.shop.left.checks,
            provenance=provenance,
            observed=work.observed(node, clock),
        )
    )


def probe(work: Work, node: Node, built: BuiltSource) -> dict[str, Json] | None:
    """Clean accuracy measured on the test part of the source's own `data`, against what its card claims."""
    data = node.inputs.get("data")
    if not isinstance(data, Node):
        return None
    dataset = work.shop.dataset(data)
    card = dataset.card()
    if card.task != "classes" or card.shape != built.card.shape:
        return None
    logits, labels = predict(cast("nn.Module", built.network), dataset.part("test"), device=work.shop.device)
    right, total = int((logits.argmax(1) == labels).sum()), len(labels)
    claimed, measured = built.card.clean_accuracy, right / total
    off = claimed is not None and abs(claimed - measured) > built.card.tolerance
    return {
        "clean_accuracy": measured,
        "interval": list(wilson(right, total)),
        "of": total,
        "on": "the test part of its data",
        "claimed": claimed,
        "tolerance": built.card.tolerance,
        "agrees": None if claimed is None else not off,
    }
