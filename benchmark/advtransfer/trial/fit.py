"""One fit: a source carried to a target's training subset, or taken up again where a kill left it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from advtransfer.cache import Artifact
from advtransfer.errors import AdvTransferError, CacheError, Inapplicable
from advtransfer.node import Node
from advtransfer.result import fit_record
from advtransfer.toolkit.freezing import freeze
from advtransfer.toolkit.streams import seeded
from advtransfer.trial import border
from advtransfer.trial.context import WorkerContext
from advtransfer.trial.leakage import leakage
from advtransfer.trial.model_outputs import check_outputs
from advtransfer.trial.precision import training_in
from advtransfer.trial.work import Clock, Work
from advtransfer.trial.workshop import BuiltSource, samples_digest
from advtransfer.types import DataCard, Facts, Fitted, Json, Samples, Tensors, Transfer

if TYPE_CHECKING:
    from torch import Tensor, nn

FINAL = -1
"""The key of the last weights among snapshots by epoch."""


@dataclass(slots=True)
class Carried:
    """A fit of one job; `make` leaves the fitted model, in eval mode and frozen, for the evaluations.

    `snapshots` are the model's states after earlier epochs, where its transfer kept some.
    """

    work: Work
    node: Node
    model: nn.Module | None = None
    digest: str = ""
    snapshots: Mapping[int, Tensors] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)

    def make(self) -> None:
        """Fit, or load what a killed worker had fitted; write the record if there is none.

        Raises:
            CacheError: The record exists, and fitting again gave other weights.
        """
        with self.clock.on("load"), self.work.shop.left.by(involved(self.node)):
            parts = _Parts.of(self.work, self.node)
        with self.clock.on("leakage"):
            leaked = self._leakage()
        artifact = self.work.shop.known(self.node)
        if artifact is None:
            self.work.shop.cache.drop(self.node.id)
            artifact = self._fitted(parts)
        self.work.shop.left.marked(artifact.facts)
        self._agree(artifact)
        states = _states(artifact.tensors)
        parts.model.load_state_dict(dict(states.pop(FINAL)))
        freeze(parts.model.eval())
        check_outputs(parts.model, parts.train, device=self.work.shop.device)
        if not self.work.run.has(self.node.id):
            self._record(parts, artifact, leaked)
        self.model, self.digest, self.snapshots = parts.model, artifact.digest, states

    def _fitted(self, parts: _Parts) -> Artifact:
        context = fit_context(self.work, self.node)
        left = self.work.shop.left
        with (
            self.clock.on("fit"),
            training_in(self.work.job.precision, self.work.shop.device),
            left.by(self.node.use, parts.model, fits=True) as found,
        ):
            given = parts.transfer.fit(
                parts.model,
                source=parts.source.network if parts.source else None,
                adapter=parts.adapter,
                train=parts.train,
                validation=parts.validation,
                context=context,
            )
        fitted = border.fitted(self.work.shop.component(self.node), given)
        state = parts.model.state_dict()
        broken = [name for name, tensor in state.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
        if broken:
            raise AdvTransferError(f"the fit left values that are not finite in {', '.join(broken)}")
        kept = state | {
            f"{_prefix(epoch)}{name}": tensor for epoch, one in fitted.snapshots.items() for name, tensor in one.items()
        }
        code = cast(Json, self.work.shop.host.code_of(self.node))
        facts = _facts(fitted, self.clock) | left.mark(self.node.use, found) | {"code": code}
        return self.work.shop.cache.put(self.node.id, kept, facts, kind="fit", use=self.node.use)

    def _agree(self, artifact: Artifact) -> None:
        if not self.work.run.has(self.node.id):
            return
        recorded = cast("dict[str, Any]", self.work.run.read(self.node.id))["weights"]["digest"]  # Any: a record
        if recorded != artifact.digest:
            raise CacheError(
                f"fitting again gave weights {artifact.digest[:12]}..., but the record has {str(recorded)[:12]}...; "
                f"this machine does not reproduce it; to replace it, delete its record {self.node.id}"
            )

    def _leakage(self) -> Mapping[str, Mapping[str, Json]] | None:
        subset, source = (self.node.inputs.get(name) for name in ("subset", "source"))
        shop = self.work.shop
        return leakage(cast(Node, subset), cast("Node | None", source), host=shop.host, cache=shop.cache)

    def _record(self, parts: _Parts, artifact: Artifact, leaked: Mapping[str, Mapping[str, Json]] | None) -> None:
        facts = cast("dict[str, Any]", artifact.facts)  # Any: JSON that `_facts` wrote
        self.clock.seconds = facts["seconds"] | self.clock.seconds
        weights = {"source": parts.source.artifact.digest} if parts.source else {}
        data = {"train": parts.train.card.digest, "subset": samples_digest(parts.train)}
        if parts.validation is not None:
            data["validation"] = samples_digest(parts.validation)
        resolved = {"adapter": self._resolved(parts.adapter)}
        self.work.run.write(
            fit_record(
                self.node,
                weights=artifact.digest,
                kept=self.work.job.keep_weights,
                leakage=leaked,
                curves=facts["curves"],
                chosen=facts["chosen"],
                facts={**facts["facts"], "labels_used": len(parts.train) + len(parts.validation or ())},
                provenance=self.work.provenance(self.node, data=data, weights=weights, resolved=resolved),
                observed=self.work.observed(self.node, self.clock),
                checks=self.work.shop.left.checks,
            )
        )

    def _resolved(self, module: nn.Module | None) -> str:
        asked = self.node.inputs.get("adapter")
        if not isinstance(asked, Node) or module is None:
            return "identity"
        return described(asked.use, module, suits=self.work.shop.component(asked).facts.suits)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a fit is made from."""

    transfer: Transfer
    model: nn.Module
    source: BuiltSource | None
    adapter: nn.Module | None
    train: Samples
    validation: Samples | None

    @classmethod
    def of(cls, work: Work, node: Node) -> _Parts:
        shop = work.shop
        train, validation = shop.train(cast(Node, node.inputs["subset"]))
        fits_task(shop.component(node).facts, train.card, node.use)
        transfer = cast(Transfer, shop.build(node))
        asked = node.inputs.get("source")
        source = shop.source(asked) if isinstance(asked, Node) else None
        asked = node.inputs.get("adapter")
        adapter = shop.adapter(
            asked if isinstance(asked, Node) else None,
            target=train.card.shape,
            source=source.card.shape if source else train.card.shape,
        )
        # a layer that is made here has no context to draw its weights from: the global state stands on the fit's stream
        stream = fit_context(work, node).generator("model")
        with seeded(stream, device=shop.device):
            made = transfer.model(source=source.network if source else None, adapter=adapter, target=train.card)
        model = border.module(shop.component(node), "model", made)
        return cls(transfer, model.to(shop.device), source, adapter, train, validation)


def fit_context(work: Work, node: Node) -> WorkerContext:
    """What a fit is lent; its randomness depends on its subset alone."""
    subset = cast(Node, node.inputs["subset"])
    return work.shop.context(node, "fit", subset.unversioned(), name=work.shop.job_name(node))


def described(use: str, module: nn.Module, *, suits: bool) -> str:
    """The adapter that was used: its component, and what it became where it suits itself to the shapes."""
    return f"{use}: {' -> '.join(map(str, list(module.children()) or [module]))}" if suits else use


def carry(work: Work, node: Node) -> Carried:
    """A fit that is still to be made."""
    return Carried(work, node)


def fits_task(facts: Facts, card: DataCard, use: str) -> None:
    """Refuse a component on a task that it does not state.

    Raises:
        Inapplicable: With the task and what the component works on.
    """
    if card.task not in facts.tasks:
        raise Inapplicable(f"{use} works on {', '.join(sorted(facts.tasks))}; the target's task is {card.task}")


def involved(node: Node) -> str:
    """The components that make the parts of a node, in words."""
    several = [value if isinstance(value, tuple) else (value,) for value in node.inputs.values()]
    inputs = [one for values in several for one in values if one.kind != "fit"]
    data = [one.inputs["data"] for one in inputs if one.kind in ("subset", "test")]
    uses = [one.use for one in (*inputs, *data, node) if isinstance(one, Node) and "/" in one.use]
    return ", ".join(dict.fromkeys(uses))


def _prefix(epoch: int) -> str:
    return f"snapshot {epoch}/"


def _states(tensors: Tensors) -> dict[int, Tensors]:
    """An artifact's states by epoch; the last one under `FINAL`."""
    found: dict[int, dict[str, Tensor]] = {FINAL: {}}
    for name, tensor in tensors.items():
        match = re.match(r"snapshot (\d+)/", name)
        epoch, rest = (int(match[1]), name[match.end() :]) if match else (FINAL, name)
        found.setdefault(epoch, {})[rest] = tensor
    return {**found}


def _facts(fitted: Fitted, clock: Clock) -> dict[str, Json]:
    return {
        "curves": [dict(row) for row in fitted.curves],
        "chosen": dict(fitted.chosen),
        "facts": dict(fitted.facts),
        "seconds": dict(clock.seconds),
    }
