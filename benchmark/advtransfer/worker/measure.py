"""One result: run an evaluation, verify its examples and claims, and write the record."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from advtransfer.errors import Inapplicable, PluginError
from advtransfer.files import write_atomic
from advtransfer.node import Node
from advtransfer.result import result_record
from advtransfer.result.record import Provenance
from advtransfer.types import (
    Adapter,
    Check,
    Evaluation,
    EvaluationInputs,
    Json,
    Measurement,
    Tensors,
)
from advtransfer.worker import plugin_values
from advtransfer.worker.battery_runner import BatteryRunner
from advtransfer.worker.fit import FitJob, component_names, require_task
from advtransfer.worker.guards.side_effects import untouched_check
from advtransfer.worker.object_builder import BuiltSource, samples_digest
from advtransfer.worker.plugin_values import contract_violation
from advtransfer.worker.recording import JobRecorder, Stopwatch
from advtransfer.worker.verification.claims import robustness_claims
from advtransfer.worker.verification.examples import verify_examples
from advtransfer.worker.verification.model_checks import explain_missing_gradient

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


def measure_result(work: JobRecorder, node: Node, carried: FitJob | None) -> None:
    """Measure what `node` asks and write its record; nothing when it is there already with its batteries."""
    if work.run.is_complete(node.id):
        return
    clock, left = Stopwatch(), work.objects.side_effects
    before = len(left.result_effects)
    with clock.timing("load"), left.guard_component(component_names(node)):
        component = work.objects.component(node)
        evaluation = cast(Evaluation, work.objects.build_object(node))
        given, weights = _evaluation_inputs(work, node, carried)
        require_task(component.metadata, given.test.card, node.use)
    seed = cast(int, node.options.get("seed", 0))
    context = work.objects.make_context(node, "evaluation", seed, name=work.objects.job_name(node))
    found, own = _ResultParts(), left.result_effects[before:]
    del left.result_effects[before:]  # what its own parts left marks this result alone
    with closing(
        _each_model_state(given.model, carried)
    ) as epochs:  # a measurement that raises leaves the last weights too
        for epoch in epochs:
            scratch = context.scratch / (f"epoch {epoch}" if epoch is not None else "fitted")
            scratch.mkdir(exist_ok=True)
            with (
                clock.timing("measure"),
                left.guard_component(node.use, given.model, own=True) as touched,
            ):
                lent = replace(context, scratch=scratch)
                with explain_missing_gradient(node.use, given, device=work.objects.device):
                    measurement = plugin_values.require_measurement(
                        component, evaluation.measure(given, context=lent)
                    )
            with clock.timing("checks"):
                if fault := contract_violation(measurement, given.test):
                    raise PluginError(component.plugin, f"{component.name}: {fault}")
                found.add_measurement(measurement, given, device=work.objects.device, epoch=epoch)
            if epoch is None:
                with clock.timing("battery"):
                    changes = dict.fromkeys([*touched.changed, *own, *left.result_effects])
                    found.add_battery(
                        measurement,
                        untouched_check([*changes]),
                        _battery_runner(work, node, carried, given),
                    )
            elif touched.changed:
                found.checks.append(untouched_check(touched.changed))
    if not work.run.has_record(node.id):
        data = {"test": samples_digest(given.test)}
        _write_record(
            work, node, found, work.provenance_of(node, data=data, weights=weights), clock
        )


def _write_record(
    work: JobRecorder, node: Node, found: _ResultParts, provenance: Provenance, clock: Stopwatch
) -> None:
    work.run.write_record(
        result_record(
            node,
            outcomes=found.outcomes,
            metrics=found.metrics,
            checks=found.checks,
            batteries=found.batteries,
            samples=_write_samples(work, node, found.samples),
            files=_copy_files(work, node, found.files),
            provenance=provenance,
            observed=work.observed_facts(node, clock),
        )
    )


@dataclass(slots=True)
class _ResultParts:
    """What an evaluation gave for the fitted model, and under ``metric@epoch`` for each snapshot of it."""

    outcomes: dict[str, list[int]] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    samples: dict[str, Tensor] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    batteries: Mapping[str, str] = field(default_factory=dict)

    def add_measurement(
        self,
        measurement: Measurement,
        given: EvaluationInputs,
        *,
        device: torch.device,
        epoch: int | None,
    ) -> None:
        """Add one measurement, its examples re-checked by the host."""
        at = "" if epoch is None else f"@{epoch}"
        outcomes, checks = dict(measurement.outcomes), list(measurement.checks)
        if given.model is not None:
            outcomes, legal = verify_examples(
                outcomes, measurement.examples, test=given.test, model=given.model, device=device
            )
            checks = [*legal, *checks]
        self.outcomes |= {f"{name}{at}": values.tolist() for name, values in outcomes.items()}
        self.metrics |= {f"{name}{at}": value for name, value in measurement.metrics.items()}
        self.checks += [replace(check, name=f"{check.name}{at}") for check in checks]
        self.samples |= {f"{name}{at}": values for name, values in measurement.samples.items()}
        self.files |= {
            f"{name}{at}": _rename_for_epoch(path, at) for name, path in measurement.files.items()
        }

    def add_battery(
        self, measurement: Measurement, untouched: Check, bench: BatteryRunner | None
    ) -> None:
        """Add what the batteries of the fitted model say of the outcomes, where robustness is claimed.

        Snapshots of earlier epochs are held against none: they are curves, not results to be ranked.
        """
        claimed = robustness_claims(measurement) if bench is not None else []
        if claimed or untouched.grade != "pass":
            self.checks.append(untouched)
        if bench is not None and claimed:
            evidence = bench.verify_claims(self.outcomes, claimed)
            self.checks += evidence.checks
            self.batteries = evidence.batteries


def _battery_runner(
    work: JobRecorder, node: Node, carried: FitJob | None, given: EvaluationInputs
) -> BatteryRunner | None:
    """Where batteries are run; None where the run wants none, or there is no model of classes."""
    if (
        work.battery_config is None
        or carried is None
        or given.model is None
        or given.test.card.task != "classes"
    ):
        return None
    return BatteryRunner(work, node, carried, given.test, work.battery_config)


def _rename_for_epoch(path: Path, at: str) -> Path:
    """The file under a name of its own for the snapshot that it is of."""
    return path.rename(path.with_stem(f"{path.stem}{at}")) if at else path


def _each_model_state(model: nn.Module | None, carried: FitJob | None) -> Generator[int | None]:
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


def _evaluation_inputs(
    work: JobRecorder, node: Node, carried: FitJob | None
) -> tuple[EvaluationInputs, dict[str, str]]:
    """What the evaluation needs, and the digests of the weights among it."""
    shop = work.objects
    test = shop.test_part(cast(Node, node.inputs["test"]))
    built: dict[str, BuiltSource] = {
        name: shop.load_source(cast(Node, node.inputs[name]))
        for name in ("source", "reference")
        if name in node.inputs
    }
    weights = {name: one.artifact.digest for name, one in built.items()}
    parts: dict[str, Any] = {
        name: one.network for name, one in built.items()
    }  # Any: as varied as Given's fields
    if "model" in node.inputs and carried is not None:
        parts["model"], weights["model"] = carried.model, carried.digest
    if "train" in node.inputs:
        parts["train"], _ = shop.train_parts(cast(Node, node.inputs["train"]))
    if "source" in built:
        adapter = cast("Node | None", node.inputs.get("adapter"))
        if adapter is not None and cast(Adapter, shop.build_object(adapter)).learned:
            found = f"{adapter.use} is learned by the transfer, and {node.use} looks at the source itself through it"
            raise Inapplicable(
                f"{found}; give these cells a fixed adapter, or leave them out by `only`"
            )
        parts["adapter"] = shop.build_adapter(
            adapter, target=test.card.shape, source=built["source"].card.shape
        )
    return EvaluationInputs(test=test, **parts), weights


def _write_samples(work: JobRecorder, node: Node, samples: Tensors) -> Mapping[str, Json] | None:
    """Keep arrays beside the record."""
    if not samples:
        return None
    from safetensors.torch import save

    from advtransfer.files import file_sha256

    relative = f"samples/{node.id[:2]}/{node.id}.safetensors"
    path = work.run.path / relative
    write_atomic(path, save({name: tensor.contiguous() for name, tensor in samples.items()}))
    return {"file": relative, "sha256": file_sha256(path), "fields": sorted(samples)}


def _copy_files(work: JobRecorder, node: Node, files: Mapping[str, Path]) -> dict[str, str]:
    """Keep figures beside the record, by name."""
    kept = {}
    for name, source in sorted(files.items()):
        relative = f"files/{node.id}/{source.name}"
        (work.run.path / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, work.run.path / relative)
        kept[name] = relative
    return kept
