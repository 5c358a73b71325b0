"""Batteries of one result.

Read from their records or run now, and compared with the evaluation's outcomes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

from advtransfer.errors import Busy
from advtransfer.node import Node, content_id
from advtransfer.result import Record, battery_record
from advtransfer.result.record import unpack_outcomes
from advtransfer.types import Adapter, Check, Json, Samples
from advtransfer.worker.fit import FitJob
from advtransfer.worker.object_builder import samples_digest
from advtransfer.worker.recording import JobRecorder, Stopwatch
from advtransfer.worker.verification import (
    BatteryConfig,
    BatteryResult,
    ThreatModel,
    compare_outcomes,
    run_battery,
)
from advtransfer.worker.verification.battery import examples_from_source, probed_positions
from advtransfer.worker.verification.claims import RobustnessClaim, unverifiable_checks
from advtransfer.worker.verification.config import BATTERY_VERSION

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class BatteryEvidence:
    """Checks for a result, and the ids of the batteries behind them, by metric."""

    checks: tuple[Check, ...]
    batteries: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BatteryRunner:
    """Where the batteries of one fitted model are run, for one of its results."""

    recorder: JobRecorder
    node: Node
    fit_job: FitJob
    test: Samples
    battery_config: BatteryConfig

    def verify_claims(
        self, outcomes: Mapping[str, Sequence[int]], claimed: Sequence[RobustnessClaim]
    ) -> BatteryEvidence:
        """What the batteries say of an evaluation's claims, one battery for each ball.

        Where there are several, their checks are named ``<check>@<eps>``. A claim that cannot be held is a bad check.
        """
        held = {claim.metric: claim.threat for claim in claimed if claim.threat is not None}
        checks = unverifiable_checks(claimed)
        batteries = {}
        for metric, threat in held.items():
            node = self.battery_node(threat)
            found = self.load_or_run(node, threat)
            missed = compare_outcomes(
                outcomes[metric], found.positions, found.outcomes, battery=self.battery_config
            )
            checks += [
                _named_by_eps(threat, check) if len(held) > 1 else check
                for check in (*missed, *found.checks)
            ]
            batteries[metric] = node.id
        return BatteryEvidence(tuple(checks), batteries)

    def battery_node(self, threat: ThreatModel) -> Node:
        """The node of the battery of this model in a ball: the same whichever evaluation asks."""
        options = {"norm": threat.norm, "eps": threat.eps, "size": self.battery_config.size}
        inputs = {name: self.node.inputs[name] for name in ("model", "test")}
        return Node("battery", "host/battery", BATTERY_VERSION, options, inputs)

    def load_or_run(self, node: Node, threat: ThreatModel) -> BatteryResult:
        """What its record says; without one the battery is run, and recorded."""
        if self.recorder.run.has_record(node.id):
            return _result_from_record(
                self.recorder.run.read_record(node.id),
                probed_positions(self.test, self.battery_config),
            )
        clock = Stopwatch()
        with clock.timing("transferred"):
            transferred = self._cached_source_examples(threat)
        with clock.timing("battery"):
            model, device = cast("nn.Module", self.fit_job.model), self.recorder.objects.device
            found = run_battery(
                model,
                self.test,
                threat,
                self.battery_config,
                device=device,
                transferred=transferred,
            )
        plugin = {"name": "host", "distribution": "advtransfer", "version": version("advtransfer")}
        data, weights = {"test": samples_digest(self.test)}, {"model": self.fit_job.digest}
        self.recorder.run.write_record(
            battery_record(
                node,
                outcomes={name: one.tolist() for name, one in found.outcomes.items()},
                of=len(self.test),
                checks=found.checks,
                provenance=self.recorder.provenance_of(
                    node, data=data, weights=weights, plugin=plugin
                ),
                observed=self.recorder.observed_facts(node, clock),
            )
        )
        return found

    def _cached_source_examples(self, threat: ThreatModel) -> Tensor | None:
        """Examples against the source, made once for all its trials; None without a source that can be attacked."""
        fit, shop = self.fit_job.node, self.recorder.objects
        source, adapter = fit.inputs.get("source"), fit.inputs.get("adapter")
        learned = isinstance(adapter, Node) and cast(Adapter, shop.build_object(adapter)).learned
        if not isinstance(source, Node) or learned:
            return None
        asked: Json = {
            "battery": BATTERY_VERSION,
            "source": source.id,
            "adapter": adapter.id if isinstance(adapter, Node) else None,
            "test": cast(Node, self.node.inputs["test"]).id,
            "options": self.battery_node(threat).options,
            "code": cast(Json, shop.host.node_code(source)),
        }
        id = content_id(asked)
        known = shop.cache.get(id)
        if known is not None:
            return known.tensors["examples"]
        made = self._make_source_examples(source, cast("Node | None", adapter), threat)
        try:
            with shop.cache.hold_lock(id):
                if shop.cache.get(id) is None:
                    shop.cache.put(id, {"examples": made}, {}, kind="battery", use="host/battery")
        except Busy:
            pass  # another worker keeps the same examples at this moment
        return made

    def _make_source_examples(
        self, source: Node, adapter: Node | None, threat: ThreatModel
    ) -> Tensor:
        from advtransfer.toolkit.model_modes import freeze_weights

        shop = self.recorder.objects
        built = shop.load_source(source)
        module = shop.build_adapter(adapter, target=self.test.card.shape, source=built.card.shape)
        if module is not None:
            freeze_weights(module.eval())

        def adapted(inputs: Tensor) -> Tensor:
            return built.network(inputs if module is None else module(inputs))

        return examples_from_source(
            adapted, self.test, threat, self.battery_config, device=shop.device
        ).cpu()


def _result_from_record(record: Record, positions: Tensor) -> BatteryResult:
    import torch

    fields = cast("Mapping[str, Any]", record)  # Any: a record of this package's own
    outcomes = {
        name: torch.tensor([int(one) for one in unpack_outcomes(packed)], dtype=torch.uint8)
        for name, packed in fields["outcomes"].items()
    }
    return BatteryResult(positions, outcomes, tuple(Check(**check) for check in fields["checks"]))


def _named_by_eps(threat: ThreatModel, check: Check) -> Check:
    return replace(check, name=f"{check.name}@{threat.eps:g}")
