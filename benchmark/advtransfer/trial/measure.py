"""One result: an evaluation given just what it needs, its examples re-checked, its record written."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from advtransfer.errors import Inapplicable, PluginError
from advtransfer.files import write_whole
from advtransfer.node import Node
from advtransfer.result import result_record
from advtransfer.result.record import Provenance
from advtransfer.trial import border
from advtransfer.trial.claims import claims
from advtransfer.trial.evidence import Bench
from advtransfer.trial.fit import Carried, fits_task, involved
from advtransfer.trial.legality import checked
from advtransfer.trial.model_outputs import explained
from advtransfer.trial.sound import unsound
from advtransfer.trial.untouched import untouched_check
from advtransfer.trial.work import Clock, Work
from advtransfer.trial.workshop import BuiltSource, samples_digest
from advtransfer.types import Adapter, Check, Evaluation, Given, Json, Measurement, Tensors

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


def measure(work: Work, node: Node, carried: Carried | None) -> None:
    """Measure what `node` asks and write its record; nothing when it is there already with its batteries."""
    if work.run.is_whole(node.id):
        return
    clock, left = Clock(), work.shop.left
    before = len(left.trial)
    with clock.on("load"), left.by(involved(node)):
        component = work.shop.component(node)
        evaluation = cast(Evaluation, work.shop.build(node))
        given, weights = _given(work, node, carried)
        fits_task(component.facts, given.test.card, node.use)
    seed = cast(int, node.options.get("seed", 0))
    context = work.shop.context(node, "evaluation", seed, name=work.shop.job_name(node))
    found, own = _Found(), left.trial[before:]
    del left.trial[before:]  # what its own parts left marks this result alone
    with closing(_through(given.model, carried)) as epochs:  # a measurement that raises leaves the last weights too
        for epoch in epochs:
            scratch = context.scratch / (f"epoch {epoch}" if epoch is not None else "fitted")
            scratch.mkdir(exist_ok=True)
            with clock.on("measure"), left.by(node.use, given.model, own=True) as touched:
                lent = replace(context, scratch=scratch)
                with explained(node.use, given, device=work.shop.device):
                    measurement = border.measurement(component, evaluation.measure(given, context=lent))
            with clock.on("checks"):
                if fault := unsound(measurement, given.test):
                    raise PluginError(component.plugin, f"{component.name}: {fault}")
                found.take(measurement, given, device=work.shop.device, epoch=epoch)
            if epoch is None:
                with clock.on("battery"):
                    changes = dict.fromkeys([*touched.changed, *own, *left.trial])
                    found.hold(measurement, untouched_check([*changes]), _bench(work, node, carried, given))
            elif touched.changed:
                found.checks.append(untouched_check(touched.changed))
    if not work.run.has(node.id):
        data = {"test": samples_digest(given.test)}
        _write(work, node, found, work.provenance(node, data=data, weights=weights), clock)


def _write(work: Work, node: Node, found: _Found, provenance: Provenance, clock: Clock) -> None:
    work.run.write(
        result_record(
            node,
            outcomes=found.outcomes,
            metrics=found.metrics,
            checks=found.checks,
            batteries=found.batteries,
            samples=_samples(work, node, found.samples),
            files=_files(work, node, found.files),
            provenance=provenance,
            observed=work.observed(node, clock),
        )
    )


@dataclass(slots=True)
class _Found:
    """What an evaluation gave for the fitted model, and under ``metric@epoch`` for each snapshot of it."""

    outcomes: dict[str, list[int]] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    samples: dict[str, Tensor] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    batteries: Mapping[str, str] = field(default_factory=dict)

    def take(self, measurement: Measurement, given: Given, *, device: torch.device, epoch: int | None) -> None:
        """Add one measurement, its examples re-checked by the host."""
        at = "" if epoch is None else f"@{epoch}"
        outcomes, checks = dict(measurement.outcomes), list(measurement.checks)
        if given.model is not None:
            outcomes, legal = checked(outcomes, measurement.examples, test=given.test, model=given.model, device=device)
            checks = [*legal, *checks]
        self.outcomes |= {f"{name}{at}": values.tolist() for name, values in outcomes.items()}
        self.metrics |= {f"{name}{at}": value for name, value in measurement.metrics.items()}
        self.checks += [replace(check, name=f"{check.name}{at}") for check in checks]
        self.samples |= {f"{name}{at}": values for name, values in measurement.samples.items()}
        self.files |= {f"{name}{at}": _named(path, at) for name, path in measurement.files.items()}

    def hold(self, measurement: Measurement, untouched: Check, bench: Bench | None) -> None:
        """Add what the batteries of the fitted model say of the outcomes, where robustness is claimed.

        Snapshots of earlier epochs are held against none: they are curves, not results to be ranked.
        """
        claimed = claims(measurement) if bench is not None else []
        if claimed or untouched.grade != "pass":
            self.checks.append(untouched)
        if bench is not None and claimed:
            evidence = bench.evidence(self.outcomes, claimed)
            self.checks += evidence.checks
            self.batteries = evidence.batteries


def _bench(work: Work, node: Node, carried: Carried | None, given: Given) -> Bench | None:
    """Where batteries are run; None where the run wants none, or there is no model of classes."""
    if work.battery is None or carried is None or given.model is None or given.test.card.task != "classes":
        return None
    return Bench(work, node, carried, given.test, work.battery)


def _named(path: Path, at: str) -> Path:
    """The file under a name of its own for the snapshot that it is of."""
    return path.rename(path.with_stem(f"{path.stem}{at}")) if at else path


def _through(model: nn.Module | None, carried: Carried | None) -> Generator[int | None]:
    """None for the fitted model, then the epoch of each snapshot while the model has its weights."""
    yield None
    if model is None or carried is None or not carried.snapshots:
        return
    last = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    try:
        for epoch, state in sorted(carried.snapshots.items()):
            model.load_state_dict(dict(state))
            yield epoch
    finally:
        model.load_state_dict(last)


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
        if adapter is not None and cast(Adapter, shop.build(adapter)).learned:
            found = f"{adapter.use} is learned by the transfer, and {node.use} looks at the source itself through it"
            raise Inapplicable(f"{found}; give these cells a fixed adapter, or leave them out by `only`")
        parts["adapter"] = shop.adapter(adapter, target=test.card.shape, source=built["source"].card.shape)
    return Given(test=test, **parts), weights


def _samples(work: Work, node: Node, samples: Tensors) -> Mapping[str, Json] | None:
    """Keep arrays beside the record."""
    if not samples:
        return None
    from safetensors.torch import save

    from advtransfer.files import sha256_of

    relative = f"samples/{node.id[:2]}/{node.id}.safetensors"
    path = work.run.path / relative
    write_whole(path, save({name: tensor.contiguous() for name, tensor in samples.items()}))
    return {"file": relative, "sha256": sha256_of(path), "fields": sorted(samples)}


def _files(work: Work, node: Node, files: Mapping[str, Path]) -> dict[str, str]:
    """Keep figures beside the record, by name."""
    kept = {}
    for name, source in sorted(files.items()):
        relative = f"files/{node.id}/{source.name}"
        (work.run.path / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, work.run.path / relative)
        kept[name] = relative
    return kept
