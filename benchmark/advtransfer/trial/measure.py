"""One result: an evaluation given just what it needs, its examples re-checked, its record written."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from typing import Any, cast

from advtransfer.errors import PluginError
from advtransfer.files import write_whole
from advtransfer.host import Component
from advtransfer.node import Node
from advtransfer.result import result_record
from advtransfer.trial.fit import Carried, fits_task
from advtransfer.trial.legality import checked
from advtransfer.trial.work import Clock, Work
from advtransfer.trial.workshop import BuiltSource, samples_digest
from advtransfer.types import Check, Evaluation, Given, Json, Measurement, Outcome, Samples


def measure(work: Work, node: Node, carried: Carried | None) -> None:
    """Measure what `node` asks and write its record; nothing when it is there already."""
    if work.run.has(node.id):
        return
    clock = Clock()
    with clock.on("load"):
        component = work.shop.component(node)
        evaluation = cast(Evaluation, work.shop.build(node))
        given, weights = _given(work, node, carried)
        fits_task(component.facts, given.test.card, node.use)
    seed = cast(int, node.options.get("seed", 0))
    context = work.shop.context(node, "evaluation", seed, name=work.shop.job_name(node))
    with clock.on("measure"):
        measurement = evaluation.measure(given, context=context)
    with clock.on("checks"):
        _sound(component, measurement, given.test)
        outcomes = dict(measurement.outcomes)
        checks: list[Check] = []
        if given.model is not None:
            outcomes, checks = checked(
                outcomes, measurement.examples, test=given.test, model=given.model, device=work.shop.device
            )
    data = {"test": samples_digest(given.test)}
    work.run.write(
        result_record(
            node,
            outcomes={name: values.tolist() for name, values in outcomes.items()},
            metrics=measurement.metrics,
            checks=[*checks, *measurement.checks],
            samples=_samples(work, node, measurement),
            files=_files(work, node, measurement),
            provenance=work.provenance(node, data=data, weights=weights),
            observed=work.observed(clock),
        )
    )


def _given(work: Work, node: Node, carried: Carried | None) -> tuple[Given, dict[str, str]]:
    """What the evaluation needs, and the digests of the weights among it."""
    shop = work.shop
    test = shop.test(cast(Node, node.inputs["test"]))
    built: dict[str, BuiltSource] = {
        name: shop.source(cast(Node, node.inputs[name])) for name in ("source", "reference") if name in node.inputs
    }
    weights = {name: one.artifact.digest for name, one in built.items()}
    parts: dict[str, Any] = {name: one.network for name, one in built.items()}  # Any: as varied as Given's fields
    if "model" in node.inputs and carried is not None:
        parts["model"], weights["model"] = carried.model, carried.digest
    if "train" in node.inputs:
        parts["train"], _ = shop.train(cast(Node, node.inputs["train"]))
    if "source" in built:
        adapter = cast("Node | None", node.inputs.get("adapter"))
        parts["adapter"] = shop.adapter(adapter, target=test.card.shape, source=built["source"].card.shape)
    return Given(test=test, **parts), weights


def _sound(component: Component, measurement: Measurement, test: Samples) -> None:
    """Refuse a measurement that cannot be a result.

    Raises:
        PluginError: Outcomes of another length or with other values, or a number that is not finite.
    """
    for name, values in measurement.outcomes.items():
        if tuple(values.shape) != (len(test),):
            message = f"outcomes {name!r} have shape {tuple(values.shape)}; expected one a test sample, ({len(test)},)"
            raise PluginError(component.plugin, f"{component.name}: {message}")
        if unknown := sorted(set(values.tolist()) - set(map(int, Outcome))):
            raise PluginError(component.plugin, f"{component.name}: outcomes {name!r} hold {unknown}; expected 0 to 3")
    for name, number in measurement.metrics.items():
        if not math.isfinite(number):
            raise PluginError(component.plugin, f"{component.name}: metric {name!r} is {number}; expected a number")
    if not measurement.outcomes and not measurement.metrics:
        raise PluginError(component.plugin, f"{component.name}: measured nothing; expected outcomes or metrics")


def _samples(work: Work, node: Node, measurement: Measurement) -> Mapping[str, Json] | None:
    """Keep arrays beside the record."""
    if not measurement.samples:
        return None
    from safetensors.torch import save

    from advtransfer.files import sha256_of

    relative = f"samples/{node.id[:2]}/{node.id}.safetensors"
    path = work.run.path / relative
    write_whole(path, save({name: tensor.contiguous() for name, tensor in measurement.samples.items()}))
    return {"file": relative, "sha256": sha256_of(path), "fields": sorted(measurement.samples)}


def _files(work: Work, node: Node, measurement: Measurement) -> dict[str, str]:
    """Keep figures beside the record, by name."""
    kept = {}
    for name, source in sorted(measurement.files.items()):
        relative = f"files/{node.id}/{source.name}"
        (work.run.path / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, work.run.path / relative)
        kept[name] = relative
    return kept
