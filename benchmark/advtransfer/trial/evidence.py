"""The battery behind a result: read from its record or run now, and held against what the evaluation gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

from advtransfer.errors import Busy
from advtransfer.node import Node, canonical, digest
from advtransfer.result import Record, battery_record
from advtransfer.result.record import unpacked
from advtransfer.trial.battery import Battery, Findings, Threat, compared, run_battery
from advtransfer.trial.battery.design import VERSION
from advtransfer.trial.battery.run import examples_from, positions_of
from advtransfer.trial.claims import Claim, unheld
from advtransfer.trial.fit import Carried
from advtransfer.trial.work import Clock, Work
from advtransfer.trial.workshop import samples_digest
from advtransfer.types import Adapter, Check, Json, Samples

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Evidence:
    """Checks for a result, and the ids of the batteries behind them, by metric."""

    checks: tuple[Check, ...]
    batteries: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Bench:
    """Where the batteries of one fitted model are run, for one of its results."""

    work: Work
    node: Node
    carried: Carried
    test: Samples
    battery: Battery

    def evidence(self, outcomes: Mapping[str, Sequence[int]], claimed: Sequence[Claim]) -> Evidence:
        """What the batteries say of an evaluation's claims, one battery for each ball.

        Where there are several, their checks are named ``<check>@<eps>``. A claim that cannot be held is a bad check.
        """
        held = {claim.metric: claim.threat for claim in claimed if claim.threat is not None}
        checks = unheld(claimed)
        batteries = {}
        for metric, threat in held.items():
            node = self.ask(threat)
            found = self.findings(node, threat)
            missed = compared(outcomes[metric], found.positions, found.outcomes, battery=self.battery)
            checks += [_at(threat, check) if len(held) > 1 else check for check in (*missed, *found.checks)]
            batteries[metric] = node.id
        return Evidence(tuple(checks), batteries)

    def ask(self, threat: Threat) -> Node:
        """The node of the battery of this model in a ball: the same whichever evaluation asks."""
        options = {"norm": threat.norm, "eps": threat.eps, "size": self.battery.size}
        inputs = {name: self.node.inputs[name] for name in ("model", "test")}
        return Node("battery", "host/battery", VERSION, options, inputs)

    def findings(self, node: Node, threat: Threat) -> Findings:
        """What its record says; without one the battery is run, and recorded."""
        if self.work.run.has(node.id):
            return _read(self.work.run.read(node.id), positions_of(self.test, self.battery))
        clock = Clock()
        with clock.on("transferred"):
            transferred = self._transferred(threat)
        with clock.on("battery"):
            model, device = cast("nn.Module", self.carried.model), self.work.shop.device
            found = run_battery(model, self.test, threat, self.battery, device=device, transferred=transferred)
        plugin = {"name": "host", "distribution": "advtransfer", "version": version("advtransfer")}
        data, weights = {"test": samples_digest(self.test)}, {"model": self.carried.digest}
        self.work.run.write(
            battery_record(
                node,
                outcomes={name: one.tolist() for name, one in found.outcomes.items()},
                of=len(self.test),
                checks=found.checks,
                provenance=self.work.provenance(node, data=data, weights=weights, plugin=plugin),
                observed=self.work.observed(node, clock),
            )
        )
        return found

    def _transferred(self, threat: Threat) -> Tensor | None:
        """Examples against the source, made once for all its trials; None without a source that can be attacked."""
        fit, shop = self.carried.node, self.work.shop
        source, adapter = fit.inputs.get("source"), fit.inputs.get("adapter")
        learned = isinstance(adapter, Node) and cast(Adapter, shop.build(adapter)).learned
        if not isinstance(source, Node) or learned:
            return None
        asked: Json = {
            "battery": VERSION,
            "source": source.id,
            "adapter": adapter.id if isinstance(adapter, Node) else None,
            "test": cast(Node, self.node.inputs["test"]).id,
            "options": self.ask(threat).options,
            "code": cast(Json, shop.host.code_of(source)),
        }
        id = digest(canonical(asked))
        known = shop.cache.get(id)
        if known is not None:
            return known.tensors["examples"]
        made = self._against(source, cast("Node | None", adapter), threat)
        try:
            with shop.cache.lease(id):
                if shop.cache.get(id) is None:
                    shop.cache.put(id, {"examples": made}, {}, kind="battery", use="host/battery")
        except Busy:
            pass  # another worker keeps the same examples at this moment
        return made

    def _against(self, source: Node, adapter: Node | None, threat: Threat) -> Tensor:
        from advtransfer.toolkit.freezing import freeze

        shop = self.work.shop
        built = shop.source(source)
        module = shop.adapter(adapter, target=self.test.card.shape, source=built.card.shape)
        if module is not None:
            freeze(module.eval())

        def adapted(inputs: Tensor) -> Tensor:
            return built.network(inputs if module is None else module(inputs))

        return examples_from(adapted, self.test, threat, self.battery, device=shop.device).cpu()


def _read(record: Record, positions: Tensor) -> Findings:
    import torch

    fields = cast("Mapping[str, Any]", record)  # Any: a record of this package's own
    outcomes = {
        name: torch.tensor([int(one) for one in unpacked(packed)], dtype=torch.uint8)
        for name, packed in fields["outcomes"].items()
    }
    return Findings(positions, outcomes, tuple(Check(**check) for check in fields["checks"]))


def _at(threat: Threat, check: Check) -> Check:
    return replace(check, name=f"{check.name}@{threat.eps:g}")
