"""One source or reference.

Its weights in the cache, and its record with the card and a check of its clean accuracy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from advtransfer.node import Node
from advtransfer.result import source_record
from advtransfer.statistics import wilson_interval
from advtransfer.toolkit.prediction import predict
from advtransfer.types import Json
from advtransfer.worker.object_builder import BuiltSource
from advtransfer.worker.recording import JobRecorder, Stopwatch

if TYPE_CHECKING:
    from torch import nn


def record_source(work: JobRecorder, node: Node) -> None:
    """Build a source unless the cache has it, and write its record in this run."""
    clock = Stopwatch()
    with clock.timing("build"), work.objects.side_effects.guard_component(node.use):
        built = work.objects.load_source(node)
    if work.run.has_record(node.id):
        return
    with clock.timing("probe"):
        probed = measure_clean_accuracy(work, node, built)
    facts = cast("dict[str, Any]", built.artifact.facts)  # Any: JSON that this package wrote
    data = node.inputs.get("data")
    digests = (
        {"data": work.objects.load_dataset(data).card().digest} if isinstance(data, Node) else {}
    )
    provenance = work.provenance_of(
        node,
        data=digests,
        weights={"source": built.artifact.digest},
        environment=work.run.write_environment(facts["environment"]),
    )
    work.run.write_record(
        source_record(
            node,
            card=built.card,
            probe=probed,
            weights=built.artifact.digest,
            curves=facts["curves"],
            facts=facts["facts"],
            checks=work.objects.side_effects.checks,
            provenance=provenance,
            observed=work.observed_facts(node, clock),
        )
    )


def measure_clean_accuracy(
    work: JobRecorder, node: Node, built: BuiltSource
) -> dict[str, Json] | None:
    """Clean accuracy measured on the test part of the source's own `data`, against what its card claims."""
    data = node.inputs.get("data")
    if not isinstance(data, Node):
        return None
    dataset = work.objects.load_dataset(data)
    card = dataset.card()
    if card.task != "classes" or card.shape != built.card.shape:
        return None
    logits, labels = predict(
        cast("nn.Module", built.network), dataset.part("test"), device=work.objects.device
    )
    right, total = int((logits.argmax(1) == labels).sum()), len(labels)
    claimed, measured = built.card.clean_accuracy, right / total
    off = claimed is not None and abs(claimed - measured) > built.card.tolerance
    return {
        "clean_accuracy": measured,
        "interval": list(wilson_interval(right, total)),
        "of": total,
        "on": "the test part of its data",
        "claimed": claimed,
        "tolerance": built.card.tolerance,
        "agrees": None if claimed is None else not off,
    }
