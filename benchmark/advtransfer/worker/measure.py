"""One result: run an evaluation, verify its examples and claims, and write the record."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from advtransfer.errors import Inapplicable, PluginError
from advtransfer.host import Component
from advtransfer.node import Node
from advtransfer.result import result_record
from advtransfer.result.battery_index import battery_ball
from advtransfer.result.comparison import missed_limit
from advtransfer.result.evidence import tells_clean_accuracy
from advtransfer.result.record import Provenance, battery_ids
from advtransfer.toolkit.datasets import SampleSubset, all_positions
from advtransfer.toolkit.randomized import model_draws
from advtransfer.types import (
    Adapter,
    Check,
    Evaluation,
    EvaluationInputs,
    Examples,
    Json,
    Measurement,
    Outcome,
    Tensors,
)
from advtransfer.worker import plugin_values
from advtransfer.worker.battery_runner import BatteryRunner
from advtransfer.worker.context import WorkerContext
from advtransfer.worker.fit import FitJob, component_names
from advtransfer.worker.fit_parts import require_task
from advtransfer.worker.further_tests import check_further_test
from advtransfer.worker.guards.side_effects import untouched_check
from advtransfer.worker.object_builder import BuiltSource, samples_digest
from advtransfer.worker.plugin_values import contract_violation
from advtransfer.worker.recording import JobRecorder, Stopwatch
from advtransfer.worker.verification import ThreatModel
from advtransfer.worker.verification.claims import robustness_claims
from advtransfer.worker.verification.config import Norm
from advtransfer.worker.verification.examples import verify_examples
from advtransfer.worker.verification.model_checks import explain_missing_gradient

if TYPE_CHECKING:
    from torch import Tensor, nn


def measure_result(recorder: JobRecorder, node: Node, fit_job: FitJob | None) -> None:
    """Run an evaluation and write its record, unless the record and its batteries exist.

    Where only batteries of the version and size of this run lack, they alone are run.
    """
    if recorder.run.is_complete(node.id, recorder.job.battery):
        return
    if _renew_batteries(recorder, node, fit_job):
        return
    stopwatch = Stopwatch()
    log = recorder.objects.side_effects
    earlier_effects = len(log.result_effects)
    with stopwatch.timing("load"), log.guard_component(component_names(node)):
        component = recorder.objects.component(node)
        evaluation = cast(Evaluation, recorder.objects.build_object(node))
        inputs, weights = _evaluation_inputs(recorder, node, fit_job)
        leakage = check_further_test(recorder.objects, node)
        require_task(component.metadata, inputs.test.card, node.use)
    # Side effects of loading this result's own inputs mark this result, not those after it.
    own_effects = log.result_effects[earlier_effects:]
    del log.result_effects[earlier_effects:]
    seed = cast(int, node.options.get("seed", 0))
    name = recorder.objects.job_name(node)
    context = recorder.objects.make_context(node, "evaluation", seed, name=name)
    result = _ResultParts()
    # Closed explicitly, so that the final weights are restored also when a measurement raises.
    with closing(_each_model_state(inputs.model, fit_job)) as epochs:
        for epoch in epochs:
            scratch = context.scratch / (f"epoch {epoch}" if epoch is not None else "fitted")
            scratch.mkdir(exist_ok=True)
            with (
                stopwatch.timing("measure"),
                log.guard_component(node.use, inputs.model, own=True) as side_effects,
                explain_missing_gradient(node.use, inputs, device=recorder.objects.device),
                _seeded_draws(inputs, context),
            ):
                returned = evaluation.measure(inputs, context=replace(context, scratch=scratch))
                measurement = plugin_values.require_measurement(component, returned)
            # After the evaluation's own guard, so that nothing which it left bears on the checks.
            with (
                stopwatch.timing("checks"),
                log.guard_component(
                    node.use if fit_job is None else fit_job.node.use, inputs.model, own=True
                ) as check_effects,
            ):
                _require_contract(component, measurement, inputs)
                result.add_measurement(
                    measurement, inputs, device=recorder.objects.device, epoch=epoch
                )
            changed = list(dict.fromkeys([*side_effects.changed, *check_effects.changed]))
            if epoch is None:
                with stopwatch.timing("battery"):
                    effects = [*changed, *own_effects, *log.result_effects]
                    untouched = untouched_check(list(dict.fromkeys(effects)))
                    runner = _battery_runner(recorder, node, fit_job, inputs)
                    result.add_battery(measurement, untouched, runner)
            elif changed:
                result.checks.append(untouched_check(changed))
    # The record may exist although a battery of it was missing; it is not written twice.
    if not recorder.run.has_record(node.id):
        data = {"test": samples_digest(inputs.test), **recorder.objects.data_digests(node)}
        provenance = recorder.provenance_of(node, data=data, weights=weights)
        labels = _label_facts(inputs, result.outcomes)
        _write_record(recorder, node, result, provenance, stopwatch, labels=labels, leakage=leakage)


def attack_images(
    recorder: JobRecorder, node: Node, fit_job: FitJob, positions: Tensor
) -> list[Examples]:
    """Run an evaluation of the fitted model again on some test images, and return its examples.

    Args:
        recorder: The job that has fitted or loaded the model.
        node: The evaluation.
        fit_job: The fit, whose model is fitted.
        positions: Positions of the images in the test part, ``(M,)`` int64.

    Returns:
        The examples by metric, not verified; their positions are those in the whole test part.
    """
    component = recorder.objects.component(node)
    evaluation = cast(Evaluation, recorder.objects.build_object(node))
    inputs, _ = _evaluation_inputs(recorder, node, fit_job)
    chosen = replace(inputs, test=SampleSubset(inputs.test, positions))
    name = recorder.objects.job_name(node)
    seed = cast(int, node.options.get("seed", 0))
    context = recorder.objects.make_context(node, "evaluation", seed, name=name)
    with (
        recorder.objects.side_effects.guard_component(node.use, inputs.model, own=True),
        _seeded_draws(inputs, context),
    ):
        measurement = plugin_values.require_measurement(
            component, evaluation.measure(chosen, context=context)
        )
        _require_contract(component, measurement, chosen)
    return [replace(group, positions=positions[group.positions]) for group in measurement.examples]


def _seeded_draws(inputs: EvaluationInputs, context: WorkerContext) -> AbstractContextManager[None]:
    """Let a randomised model draw from a stream of the evaluation's own while it is measured."""
    models = (inputs.model, inputs.source, inputs.reference)
    return model_draws(
        *models, source=lambda: context.generator("model draws"), device=context.device
    )


def _renew_batteries(recorder: JobRecorder, node: Node, fit_job: FitJob | None) -> bool:
    """Run the batteries that a recorded result lacks.

    Returns:
        False if the evaluation itself has to be run: it has no record, or the record of a battery
        that it names, and with it the ball of its claim, is gone.
    """
    run, config = recorder.run, recorder.battery_config
    if config is None or fit_job is None or not run.has_record(node.id):
        return False
    ids = battery_ids(run.read_record(node.id))
    if not all(map(run.has_record, ids)):
        return False
    test = recorder.objects.test_part(cast(Node, node.inputs["test"]))
    runner = BatteryRunner(recorder, node, fit_job, test, config)
    balls = [battery_ball(run.read_record(id)) for id in ids]
    runner.renew_batteries(ThreatModel(cast(Norm, ball.norm), ball.eps) for ball in balls)
    return True


def _label_facts(
    inputs: EvaluationInputs, outcomes: Mapping[str, list[int]]
) -> Mapping[str, Json] | None:
    """Return what a page needs to tell a classifier that did not learn; None for other models.

    The share of the largest class among the test labels, and whether the model is right on all
    images of one class and on no other, as one that predicts a constant is.
    """
    clean = next(filter(tells_clean_accuracy, outcomes), None)
    if inputs.model is None or inputs.test.card.task != "classes" or clean is None:
        return None
    labels = inputs.test.labels(all_positions(inputs.test)).cpu()
    is_correct = torch.tensor(outcomes[clean]) != Outcome.WRONG
    counts = labels.bincount()
    right_counts = labels[is_correct].bincount(minlength=len(counts))
    is_whole_class = (right_counts == counts) & (counts > 0)
    one_class = bool(is_whole_class.any()) and int((right_counts > 0).sum()) == 1
    return {"largest_class": float(counts.max()) / len(labels), "one_class": one_class}


def _require_contract(
    component: Component, measurement: Measurement, inputs: EvaluationInputs
) -> None:
    violation = contract_violation(measurement, inputs.test)
    if violation is not None:
        raise PluginError(component.plugin, f"{component.name}: {violation}")


def _write_record(
    recorder: JobRecorder,
    node: Node,
    result: _ResultParts,
    provenance: Provenance,
    stopwatch: Stopwatch,
    *,
    labels: Mapping[str, Json] | None,
    leakage: Mapping[str, Mapping[str, Json]] | None,
) -> None:
    recorder.run.write_record(
        result_record(
            node,
            outcomes=result.outcomes,
            metrics=result.metrics,
            shares=result.shares,
            checks=result.checks,
            batteries=result.batteries,
            samples=_write_samples(recorder, node, result.samples),
            files=_copy_files(recorder, node, result.files),
            provenance=provenance,
            observed=recorder.observed_facts(node, stopwatch),
            labels=labels,
            leakage=leakage,
        )
    )


@dataclass(slots=True)
class _ResultParts:
    """Values of a record: those of the fitted model, and under ``metric@epoch`` those of snapshots."""

    outcomes: dict[str, list[int]] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    shares: set[str] = field(default_factory=set)
    checks: list[Check] = field(default_factory=list)
    samples: dict[str, Tensor] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    batteries: Mapping[str, str] = field(default_factory=dict)

    def add_measurement(
        self,
        measurement: Measurement,
        inputs: EvaluationInputs,
        *,
        device: torch.device,
        epoch: int | None,
    ) -> None:
        """Add a measurement after verifying its examples."""
        suffix = "" if epoch is None else f"@{epoch}"
        outcomes = dict(measurement.outcomes)
        checks = list(measurement.checks)
        if inputs.model is not None:
            outcomes, example_checks = verify_examples(
                outcomes, measurement.examples, test=inputs.test, model=inputs.model, device=device
            )
            checks = [*example_checks, *checks]
        self.checks += [replace(check, name=f"{check.name}{suffix}") for check in checks]
        for name, values in outcomes.items():
            self.outcomes[f"{name}{suffix}"] = values.tolist()
        for name, number in measurement.metrics.items():
            self.metrics[f"{name}{suffix}"] = number
        self.shares.update(f"{name}{suffix}" for name in measurement.shares)
        for name, array in measurement.samples.items():
            self.samples[f"{name}{suffix}"] = array
        for name, path in measurement.files.items():
            self.files[f"{name}{suffix}"] = _rename_for_epoch(path, suffix)

    def add_battery(
        self, measurement: Measurement, untouched: Check, runner: BatteryRunner | None
    ) -> None:
        """Add the battery checks of the fitted model, where robustness is claimed.

        Snapshots of earlier epochs have none: they are curves, not results to be ranked.
        """
        claims = robustness_claims(measurement) if runner is not None else []
        if claims or untouched.grade != "pass":
            self.checks.append(untouched)
        if runner is not None and claims:
            evidence = runner.verify_claims(self.outcomes, claims)
            self.checks += evidence.checks
            self.batteries = evidence.batteries


def _battery_runner(
    recorder: JobRecorder, node: Node, fit_job: FitJob | None, inputs: EvaluationInputs
) -> BatteryRunner | None:
    """Return the runner of batteries; None if the run wants none or no classifier is evaluated."""
    if recorder.battery_config is None or fit_job is None or inputs.model is None:
        return None
    if inputs.test.card.task != "classes":
        return None
    is_strong = recorder.objects.component(node).metadata.is_strong
    return BatteryRunner(
        recorder,
        node,
        fit_job,
        inputs.test,
        recorder.battery_config,
        missed_limit=missed_limit(is_strong=is_strong),
    )


def _rename_for_epoch(path: Path, suffix: str) -> Path:
    """Rename the file of a snapshot, since all files of a result are kept in one folder."""
    return path.rename(path.with_stem(f"{path.stem}{suffix}")) if suffix else path


def _each_model_state(model: nn.Module | None, fit_job: FitJob | None) -> Generator[int | None]:
    """Yield None for the fitted model, then each snapshot's epoch while the model has its weights."""
    yield None
    if model is None or fit_job is None or not fit_job.snapshots:
        return
    final_state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    try:
        for epoch, state in sorted(fit_job.snapshots.items()):
            model.load_state_dict(dict(state))
            yield epoch
    finally:
        model.load_state_dict(final_state)


def _evaluation_inputs(
    recorder: JobRecorder, node: Node, fit_job: FitJob | None
) -> tuple[EvaluationInputs, dict[str, str]]:
    """Return the inputs of the evaluation, and the digests of the weights among them."""
    objects = recorder.objects
    test = objects.test_part(cast(Node, node.inputs["test"]))
    built: dict[str, BuiltSource] = {
        role: objects.load_source(cast(Node, node.inputs[role]))
        for role in ("source", "reference")
        if role in node.inputs
    }
    weights = {role: source.artifact.digest for role, source in built.items()}
    # Any: as varied as the fields of EvaluationInputs
    parts: dict[str, Any] = {role: source.network for role, source in built.items()}
    if "model" in node.inputs and fit_job is not None:
        parts["model"] = fit_job.model
        weights["model"] = fit_job.digest
    if "train" in node.inputs:
        parts["train"], _ = objects.train_parts(cast(Node, node.inputs["train"]))
    if "source" in built:
        adapter = cast("Node | None", node.inputs.get("adapter"))
        _refuse_learned_adapter(recorder, node, adapter)
        parts["adapter"] = objects.build_adapter(
            adapter, target=test.card.shape, source=built["source"].card.shape
        )
    return EvaluationInputs(test=test, **parts), weights


def _refuse_learned_adapter(recorder: JobRecorder, node: Node, adapter: Node | None) -> None:
    if adapter is None:
        return
    if cast(Adapter, recorder.objects.build_object(adapter)).learned:
        raise Inapplicable(
            f"{adapter.use} is learned by the transfer, "
            f"and {node.use} looks at the source itself through it; "
            "give these cells a fixed adapter, or leave them out by `only`"
        )


def _write_samples(
    recorder: JobRecorder, node: Node, samples: Tensors
) -> Mapping[str, Json] | None:
    """Write per-sample arrays beside the record; return the record's reference to them."""
    if not samples:
        return None
    from safetensors.torch import save

    from advtransfer.files import file_sha256

    relative = f"samples/{node.id[:2]}/{node.id}.safetensors"
    path = recorder.run.path / relative
    content = save({name: tensor.contiguous() for name, tensor in samples.items()})
    recorder.run.publish(path, content)
    return {"file": relative, "sha256": file_sha256(path), "fields": sorted(samples)}


def _copy_files(recorder: JobRecorder, node: Node, files: Mapping[str, Path]) -> dict[str, str]:
    """Copy figures beside the record; return their paths by name, relative to the run folder."""
    copied = {}
    for name, source in sorted(files.items()):
        relative = f"files/{node.id}/{source.name}"
        recorder.run.publish(recorder.run.path / relative, source.read_bytes())
        copied[name] = relative
    return copied
