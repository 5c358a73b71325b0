"""One source or reference.

Its weights in the cache, and its record with the card and a measurement of its clean accuracy.
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


def record_source(recorder: JobRecorder, node: Node) -> None:
    """Build a source unless it is cached, and write its record in this run."""
    objects = recorder.objects
    stopwatch = Stopwatch()
    with stopwatch.timing("build"), objects.side_effects.guard_component(node.use):
        built = objects.load_source(node)
    if recorder.run.has_record(node.id):
        return
    with stopwatch.timing("probe"), objects.side_effects.guard_component(node.use):
        probe = measure_clean_accuracy(recorder, node, built)
    facts = cast("dict[str, Any]", built.artifact.facts)  # Any: JSON that this package wrote
    provenance = recorder.provenance_of(
        node,
        data=objects.data_digests(node),
        weights={"source": built.artifact.digest},
        # A cached source may have been trained in another environment than this run's.
        environment=recorder.run.write_environment(facts["environment"]),
    )
    recorder.run.write_record(
        source_record(
            node,
            card=built.card,
            probe=probe,
            weights=built.artifact.digest,
            curves=facts["curves"],
            facts={**facts["facts"], "parameters": parameter_count(built)},
            checks=objects.side_effects.checks,
            provenance=provenance,
            observed=recorder.observed_facts(node, stopwatch),
        )
    )


def parameter_count(built: BuiltSource) -> int:
    """Return the number of parameters of a source's network, the static control of questions."""
    network = cast("nn.Module", built.network)
    return sum(parameter.numel() for parameter in network.parameters())


def measure_clean_accuracy(
    recorder: JobRecorder, node: Node, built: BuiltSource
) -> dict[str, Json] | None:
    """Return a source's accuracy on the test part of its `data`, beside what its card claims.

    None where the source names no data, or data of another task or shape.
    """
    data_node = node.inputs.get("data")
    if not isinstance(data_node, Node):
        return None
    dataset = recorder.objects.load_dataset(data_node)
    card = dataset.card()
    if card.task != "classes" or card.shape != built.card.shape:
        return None
    network = cast("nn.Module", built.network)
    logits, labels = predict(network, dataset.part("test"), device=recorder.objects.device)
    correct = int((logits.argmax(1) == labels).sum())
    total = len(labels)
    measured = correct / total
    claimed = built.card.clean_accuracy
    deviates = claimed is not None and abs(claimed - measured) > built.card.tolerance
    return {
        "clean_accuracy": measured,
        "interval": list(wilson_interval(correct, total)),
        "of": total,
        "on": "the test part of its data",
        "claimed": claimed,
        "tolerance": built.card.tolerance,
        "agrees": None if claimed is None else not deviates,
    }
