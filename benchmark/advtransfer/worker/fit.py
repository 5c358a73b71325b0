"""One fit.

Transfer a source to a target's training subset, or load the weights that a killed worker had
fitted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from advtransfer.cache import Artifact
from advtransfer.errors import AdvTransferError, CacheError, Inapplicable
from advtransfer.node import Node
from advtransfer.result import fit_record
from advtransfer.toolkit.model_modes import freeze_weights
from advtransfer.toolkit.rng import fork_global_rng
from advtransfer.types import ComponentMetadata, DataCard, Fitted, Json, Samples, Tensors, Transfer
from advtransfer.worker import plugin_values
from advtransfer.worker.context import WorkerContext
from advtransfer.worker.device import training_precision
from advtransfer.worker.leakage import fit_leakage
from advtransfer.worker.object_builder import BuiltSource, samples_digest
from advtransfer.worker.recording import JobRecorder, Stopwatch
from advtransfer.worker.verification.model_checks import check_outputs

if TYPE_CHECKING:
    from torch import Tensor, nn

FINAL_STATE = -1
"""The key of the last weights among snapshots by epoch."""


@dataclass(slots=True)
class FitJob:
    """A fit of one job; `make` leaves the fitted model, in eval mode and frozen, for the evaluations.

    `snapshots` are the model's states after earlier epochs, where its transfer kept some.
    """

    recorder: JobRecorder
    node: Node
    model: nn.Module | None = None
    digest: str = ""
    snapshots: Mapping[int, Tensors] = field(default_factory=dict)
    stopwatch: Stopwatch = field(default_factory=Stopwatch)

    def fit_or_load(self) -> None:
        """Fit, or load what a killed worker had fitted; write the record if there is none.

        Raises:
            CacheError: The record exists, and fitting again gave other weights.
        """
        with (
            self.stopwatch.timing("load"),
            self.recorder.objects.side_effects.guard_component(component_names(self.node)),
        ):
            parts = _FitParts.from_node(self.recorder, self.node)
        with self.stopwatch.timing("leakage"):
            leaked = self._count_leaks()
        artifact = self.recorder.objects.cached_artifact(self.node)
        if artifact is None:
            self.recorder.objects.cache.drop_artifact(self.node.id)
            artifact = self._fit_model(parts)
        self.recorder.objects.side_effects.add_from_artifact(artifact.facts)
        self._require_recorded_weights(artifact)
        states = _states_by_epoch(artifact.tensors)
        parts.model.load_state_dict(dict(states.pop(FINAL_STATE)))
        freeze_weights(parts.model.eval())
        check_outputs(parts.model, parts.train, device=self.recorder.objects.device)
        if not self.recorder.run.has_record(self.node.id):
            self._write_record(parts, artifact, leaked)
        self.model, self.digest, self.snapshots = parts.model, artifact.digest, states

    def _fit_model(self, parts: _FitParts) -> Artifact:
        context = fit_context(self.recorder, self.node)
        left = self.recorder.objects.side_effects
        with (
            self.stopwatch.timing("fit"),
            training_precision(self.recorder.job.precision, self.recorder.objects.device),
            left.guard_component(self.node.use, parts.model, fits=True) as found,
        ):
            given = parts.transfer.fit(
                parts.model,
                source=parts.source.network if parts.source else None,
                adapter=parts.adapter,
                train=parts.train,
                validation=parts.validation,
                context=context,
            )
        fitted = plugin_values.require_fitted(self.recorder.objects.component(self.node), given)
        state = parts.model.state_dict()
        broken = [
            name
            for name, tensor in state.items()
            if tensor.is_floating_point() and not tensor.isfinite().all()
        ]
        if broken:
            raise AdvTransferError(
                f"the fit left values that are not finite in {', '.join(broken)}"
            )
        kept = state | {
            f"{_snapshot_prefix(epoch)}{name}": tensor
            for epoch, one in fitted.snapshots.items()
            for name, tensor in one.items()
        }
        code = cast(Json, self.recorder.objects.host.node_code(self.node))
        facts = (
            _artifact_facts(fitted, self.stopwatch)
            | left.artifact_facts(self.node.use, found)
            | {"code": code}
        )
        return self.recorder.objects.cache.put(
            self.node.id, kept, facts, kind="fit", use=self.node.use
        )

    def _require_recorded_weights(self, artifact: Artifact) -> None:
        if not self.recorder.run.has_record(self.node.id):
            return
        recorded = cast("dict[str, Any]", self.recorder.run.read_record(self.node.id))["weights"][
            "digest"
        ]  # Any: a record
        if recorded != artifact.digest:
            raise CacheError(
                f"fitting again gave weights {artifact.digest[:12]}..., but the record has {str(recorded)[:12]}...; "
                f"this machine does not reproduce it; to replace it, delete its record {self.node.id}"
            )

    def _count_leaks(self) -> Mapping[str, Mapping[str, Json]] | None:
        subset, source = (self.node.inputs.get(name) for name in ("subset", "source"))
        shop = self.recorder.objects
        return fit_leakage(
            cast(Node, subset), cast("Node | None", source), host=shop.host, cache=shop.cache
        )

    def _write_record(
        self, parts: _FitParts, artifact: Artifact, leaked: Mapping[str, Mapping[str, Json]] | None
    ) -> None:
        facts = cast("dict[str, Any]", artifact.facts)  # Any: JSON that `_artifact_facts` wrote
        self.stopwatch.seconds = facts["seconds"] | self.stopwatch.seconds
        weights = {"source": parts.source.artifact.digest} if parts.source else {}
        data = {"train": parts.train.card.digest, "subset": samples_digest(parts.train)}
        if parts.validation is not None:
            data["validation"] = samples_digest(parts.validation)
        resolved = {"adapter": self._resolved_adapter(parts.adapter)}
        self.recorder.run.write_record(
            fit_record(
                self.node,
                weights=artifact.digest,
                kept=self.recorder.job.keep_weights,
                leakage=leaked,
                curves=facts["curves"],
                chosen=facts["chosen"],
                facts={
                    **facts["facts"],
                    "labels_used": len(parts.train) + len(parts.validation or ()),
                },
                provenance=self.recorder.provenance_of(
                    self.node, data=data, weights=weights, resolved=resolved
                ),
                observed=self.recorder.observed_facts(self.node, self.stopwatch),
                checks=self.recorder.objects.side_effects.checks,
            )
        )

    def _resolved_adapter(self, module: nn.Module | None) -> str:
        asked = self.node.inputs.get("adapter")
        if not isinstance(asked, Node) or module is None:
            return "identity"
        return describe_adapter(
            asked.use,
            module,
            suits=self.recorder.objects.component(asked).metadata.adapts_to_shapes,
        )


@dataclass(frozen=True, slots=True)
class _FitParts:
    """What a fit is made from."""

    transfer: Transfer
    model: nn.Module
    source: BuiltSource | None
    adapter: nn.Module | None
    train: Samples
    validation: Samples | None

    @classmethod
    def from_node(cls, work: JobRecorder, node: Node) -> _FitParts:
        shop = work.objects
        train, validation = shop.train_parts(cast(Node, node.inputs["subset"]))
        require_task(shop.component(node).metadata, train.card, node.use)
        transfer = cast(Transfer, shop.build_object(node))
        asked = node.inputs.get("source")
        source = shop.load_source(asked) if isinstance(asked, Node) else None
        asked = node.inputs.get("adapter")
        adapter = shop.build_adapter(
            asked if isinstance(asked, Node) else None,
            target=train.card.shape,
            source=source.card.shape if source else train.card.shape,
        )
        # a layer that is made here has no context to draw its weights from: the global state stands on the fit's stream
        stream = fit_context(work, node).generator("model")
        with fork_global_rng(stream, device=shop.device):
            made = transfer.model(
                source=source.network if source else None, adapter=adapter, target=train.card
            )
        model = plugin_values.require_module(shop.component(node), "model", made)
        return cls(transfer, model.to(shop.device), source, adapter, train, validation)


def fit_context(work: JobRecorder, node: Node) -> WorkerContext:
    """What a fit is lent; its randomness depends on its subset alone."""
    subset = cast(Node, node.inputs["subset"])
    return work.objects.make_context(
        node, "fit", subset.unversioned_id(), name=work.objects.job_name(node)
    )


def describe_adapter(use: str, module: nn.Module, *, suits: bool) -> str:
    """The adapter that was used: its component, and what it became where it suits itself to the shapes."""
    return f"{use}: {' -> '.join(map(str, list(module.children()) or [module]))}" if suits else use


def new_fit_job(work: JobRecorder, node: Node) -> FitJob:
    """A fit that is still to be made."""
    return FitJob(work, node)


def require_task(facts: ComponentMetadata, card: DataCard, use: str) -> None:
    """Refuse a component on a task that it does not state.

    Raises:
        Inapplicable: With the task and what the component works on.
    """
    if card.task not in facts.tasks:
        raise Inapplicable(
            f"{use} works on {', '.join(sorted(facts.tasks))}; the target's task is {card.task}"
        )


def component_names(node: Node) -> str:
    """The components that make the parts of a node, in words."""
    several = [value if isinstance(value, tuple) else (value,) for value in node.inputs.values()]
    inputs = [one for values in several for one in values if one.kind != "fit"]
    data = [one.inputs["data"] for one in inputs if one.kind in ("subset", "test")]
    uses = [one.use for one in (*inputs, *data, node) if isinstance(one, Node) and "/" in one.use]
    return ", ".join(dict.fromkeys(uses))


def _snapshot_prefix(epoch: int) -> str:
    return f"snapshot {epoch}/"


def _states_by_epoch(tensors: Tensors) -> dict[int, Tensors]:
    """An artifact's states by epoch; the last one under `FINAL_STATE`."""
    found: dict[int, dict[str, Tensor]] = {FINAL_STATE: {}}
    for name, tensor in tensors.items():
        match = re.match(r"snapshot (\d+)/", name)
        epoch, rest = (int(match[1]), name[match.end() :]) if match else (FINAL_STATE, name)
        found.setdefault(epoch, {})[rest] = tensor
    return {**found}


def _artifact_facts(fitted: Fitted, clock: Stopwatch) -> dict[str, Json]:
    return {
        "curves": [dict(row) for row in fitted.curves],
        "chosen": dict(fitted.chosen),
        "facts": dict(fitted.facts),
        "seconds": dict(clock.seconds),
    }
