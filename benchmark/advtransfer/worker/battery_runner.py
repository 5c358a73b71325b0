"""Batteries of one result.

Read from their records or run now, and compared with the evaluation's outcomes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, cast

from advtransfer.errors import Busy
from advtransfer.node import Node, content_id
from advtransfer.result import battery_record
from advtransfer.result.battery_index import Ball, BatteryEvidence, battery_version, read_battery
from advtransfer.result.comparison import SUSPICIOUS_SHARE, compare_outcomes, named_by_eps
from advtransfer.result.outcomes import outcomes_from_values
from advtransfer.toolkit.randomized import model_draws
from advtransfer.toolkit.rng import stream_generator
from advtransfer.toolkit.surrogate_gradients import surrogate_gradients
from advtransfer.types import Adapter, Check, Json, Samples
from advtransfer.worker.fit import FitJob
from advtransfer.worker.object_builder import samples_digest
from advtransfer.worker.recording import JobRecorder, Stopwatch
from advtransfer.worker.verification import (
    BatteryConfig,
    BatteryResult,
    ThreatModel,
    run_battery,
)
from advtransfer.worker.verification.battery import battery_rows, examples_from_source
from advtransfer.worker.verification.claims import RobustnessClaim, unverifiable_checks

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class ClaimChecks:
    """Checks for a result, and the ids of the batteries behind them, by metric."""

    checks: tuple[Check, ...]
    batteries: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BatteryRunner:
    """Runs the batteries of one fitted model for one of its results.

    Args:
        recorder: The recorder of the job.
        node: The result.
        fit_job: The fitted model.
        test: The test part.
        battery_config: Amount of work.
        missed_limit: Largest lower bound of the share of samples that the evaluation may miss.
    """

    recorder: JobRecorder
    node: Node
    fit_job: FitJob
    test: Samples
    battery_config: BatteryConfig
    missed_limit: float = SUSPICIOUS_SHARE

    def verify_claims(
        self, outcomes: Mapping[str, Sequence[int]], claimed: Sequence[RobustnessClaim]
    ) -> ClaimChecks:
        """Compare an evaluation's claims with batteries, one battery per ball.

        With several balls the checks are named ``<check>@<eps>``. A claim that cannot be verified
        is a bad check.
        """
        threats = {claim.metric: claim.threat for claim in claimed if claim.threat is not None}
        checks = unverifiable_checks(claimed)
        batteries = {}
        for metric, threat in threats.items():
            node = self.battery_node(threat)
            battery = self.load_or_run(node, threat)
            values = outcomes_from_values(outcomes[metric])
            comparison = compare_outcomes(values, battery, limit=self.missed_limit)
            own_checks = [*comparison, *battery.checks]
            checks += own_checks if len(threats) == 1 else named_by_eps(own_checks, threat.eps)
            batteries[metric] = node.id
        return ClaimChecks(tuple(checks), batteries)

    def renew_batteries(self, threats: Iterable[ThreatModel]) -> None:
        """Run the batteries of a recorded result that lack a record of this version and size."""
        for threat in threats:
            self.load_or_run(self.battery_node(threat), threat)

    def battery_node(self, threat: ThreatModel) -> Node:
        """Return the node of this model's battery in a ball; it is the same for all evaluations."""
        options = {"norm": threat.norm, "eps": threat.eps, "size": self.battery_config.size}
        inputs = {name: self.node.inputs[name] for name in ("model", "test")}
        return Node("battery", "host/battery", battery_version(threat.norm), options, inputs)

    def load_or_run(self, node: Node, threat: ThreatModel) -> BatteryEvidence:
        """Return what the battery found, from its record; without a record, run and record it."""
        run = self.recorder.run
        if run.has_record(node.id):
            evidence = read_battery(run.read_record(node.id), Ball(threat.norm, threat.eps))
            if evidence is not None:
                return evidence
        stopwatch = Stopwatch()
        objects = self.recorder.objects
        model = cast("nn.Module", self.fit_job.model)
        fit_use = self.fit_job.node.use
        with objects.side_effects.guard_component(fit_use, model, own=True) as side_effects:
            with stopwatch.timing("transferred"):
                transferred = self._cached_source_examples(threat)
            with stopwatch.timing("battery"), _battery_draws(model, node.id, objects.device):
                result = run_battery(
                    model,
                    self.test,
                    threat,
                    self.battery_config,
                    device=objects.device,
                    transferred=transferred,
                )
        if side_effects.changed:
            # In the battery's own record, since other results of the model are compared with it.
            result = replace(result, checks=(*result.checks, side_effects.to_check()))
        self._write_record(node, result, stopwatch)
        return result.evidence(threat, of=len(self.test))

    def _write_record(self, node: Node, result: BatteryResult, stopwatch: Stopwatch) -> None:
        # The battery is part of the host, so no plugin answers for the record.
        plugin = {"name": "host", "distribution": "advtransfer", "version": version("advtransfer")}
        provenance = self.recorder.provenance_of(
            node,
            data={"test": samples_digest(self.test)},
            weights={"model": self.fit_job.digest},
            plugin=plugin,
        )
        self.recorder.run.write_record(
            battery_record(
                node,
                positions=result.positions.tolist(),
                outcomes={name: values.tolist() for name, values in result.outcomes.items()},
                of=len(self.test),
                checks=result.checks,
                provenance=provenance,
                observed=self.recorder.observed_facts(node, stopwatch),
            )
        )

    def _cached_source_examples(self, threat: ThreatModel) -> Tensor | None:
        """Return examples against the source, made once for all its trials.

        None without a source, or with an adapter that the fit learns: each fit would then need
        examples of its own.
        """
        objects = self.recorder.objects
        source = self.fit_job.node.inputs.get("source")
        adapter = cast("Node | None", self.fit_job.node.inputs.get("adapter"))
        if not isinstance(source, Node):
            return None
        if adapter is not None and cast(Adapter, objects.build_object(adapter)).learned:
            return None
        key: Json = {
            "battery": battery_version(threat.norm),
            "source": source.id,
            "adapter": None if adapter is None else adapter.id,
            "test": cast(Node, self.node.inputs["test"]).id,
            "options": self.battery_node(threat).options,
            # Other kernels round differently.
            "rows": battery_rows(self.test, self.battery_config, objects.device),
            "code": cast(Json, objects.host.node_code(source)),
        }
        id = content_id(key)
        artifact = objects.cache.get(id)
        if artifact is not None:
            return artifact.tensors["examples"]
        examples = self._make_source_examples(source, adapter, threat)
        # Locked only to store them: making them takes seconds, and every worker gets the same.
        try:
            with objects.cache.hold_lock(id):
                if objects.cache.get(id) is None:
                    tensors = {"examples": examples}
                    objects.cache.put(id, tensors, {}, kind="battery", use="host/battery")
        except Busy:
            pass  # another worker is storing the same examples
        return examples

    def _make_source_examples(
        self, source: Node, adapter: Node | None, threat: ThreatModel
    ) -> Tensor:
        from advtransfer.toolkit.model_modes import freeze_weights

        objects = self.recorder.objects
        built = objects.load_source(source)
        module = objects.build_adapter(
            adapter, target=self.test.card.shape, source=built.card.shape
        )
        if module is not None:
            freeze_weights(module.eval())

        def adapted_network(inputs: Tensor) -> Tensor:
            return built.network(inputs if module is None else module(inputs))

        with (
            _battery_draws(built.network, source.id, objects.device),
            surrogate_gradients(cast("nn.Module", built.network)),
        ):
            examples = examples_from_source(
                adapted_network, self.test, threat, self.battery_config, device=objects.device
            )
        return examples.cpu()


def _battery_draws(model: object, id: str, device: torch.device) -> AbstractContextManager[None]:
    """Let a randomised model draw from a stream of the battery's own."""
    return model_draws(model, source=lambda: stream_generator("battery draws", id), device=device)
