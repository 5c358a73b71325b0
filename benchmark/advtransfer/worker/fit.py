"""One fit.

Transfer a source to a target's training subset, or load the weights that a killed worker had fitted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from advtransfer.cache import Artifact
from advtransfer.errors import AdvTransferError, CacheError
from advtransfer.node import Node
from advtransfer.result import fit_record
from advtransfer.suite.choice import Choice
from advtransfer.toolkit.model_modes import freeze_weights
from advtransfer.types import Fitted, Json, Tensors
from advtransfer.worker.choice import ChoiceResult, choose_options, refit_node
from advtransfer.worker.context import SharedTime
from advtransfer.worker.fit_parts import FitParts, fit_context
from advtransfer.worker.leakage import fit_leakage
from advtransfer.worker.object_builder import samples_digest
from advtransfer.worker.recording import JobRecorder, Stopwatch
from advtransfer.worker.verification.model_checks import check_outputs

if TYPE_CHECKING:
    from torch import Tensor, nn

FINAL_STATE = -1
"""Key of the final weights among the snapshots by epoch."""

OWN_SECONDS = "own_seconds"
"""Name, in an artifact's facts and in what is observed of a fit, of its seconds without what fits share."""

SNAPSHOT_PREFIX = re.compile(r"snapshot (\d+)/")
"""Prefix of the names of a snapshot's tensors in an artifact."""


@dataclass(slots=True)
class FitJob:
    """The fit of one job.

    `fit_or_load` sets the fitted model (in eval mode and frozen) and the digest of its weights for
    the evaluations. `snapshots` are the model's states after earlier epochs, where its transfer
    returned some.
    """

    recorder: JobRecorder
    node: Node
    model: nn.Module | None = None
    digest: str = ""
    snapshots: Mapping[int, Tensors] = field(default_factory=dict)
    stopwatch: Stopwatch = field(default_factory=Stopwatch)

    def fit_or_load(self) -> None:
        """Fit, or load a cached fit, and write the record if there is none.

        Raises:
            CacheError: The record exists, and fitting again gave other weights.
        """
        objects = self.recorder.objects
        choice = Choice.of_node(self.node)
        with self._guarded("load"):
            # A choice returns a fit on all labelled images, of the candidate that it chose.
            fitted_node = self.node if choice is None else refit_node(self.node, choice, 0)
            parts = FitParts.from_node(self.recorder, fitted_node)
        # Before the fit, so that a suite with `leakage: error` fails without fitting.
        with self._guarded("leakage"):
            leakage = self._count_leaks()
        artifact = objects.cached_artifact(self.node)
        if artifact is None:
            objects.cache.drop_artifact(self.node.id)
            chosen = None if choice is None else self._choose(choice, parts)
            if choice is not None and chosen is not None:
                parts = self._chosen_parts(choice, chosen.index, parts)
            artifact = self._fit_model(parts, chosen)
        elif choice is not None:
            parts = self._chosen_parts(choice, cast(int, artifact.facts["candidate"]), parts)
        objects.side_effects.add_from_artifact(artifact.facts)
        self._require_recorded_weights(artifact)
        # From the artifact even after a fit, so that new and cached fits give the same bits.
        states = _states_by_epoch(artifact.tensors)
        # The model's `forward` is the plugin's code too, here and wherever the host calls it.
        with self._guarded("load"):
            parts.model.load_state_dict(dict(states.pop(FINAL_STATE)))
            freeze_weights(parts.model.eval())
            check_outputs(parts.model, parts.train, device=objects.device)
        if not self.recorder.run.has_record(self.node.id):
            self._write_record(parts, artifact, leakage)
        self.model = parts.model
        self.digest = artifact.digest
        self.snapshots = states

    @contextmanager
    def _guarded(self, activity: str) -> Iterator[None]:
        """Time an activity that runs code of the fit's components, and log its side effects."""
        side_effects = self.recorder.objects.side_effects
        with (
            self.stopwatch.timing(activity),
            side_effects.guard_component(component_names(self.node)),
        ):
            yield

    def _choose(self, choice: Choice, parts: FitParts) -> ChoiceResult:
        with self._guarded("choose"):
            return choose_options(self.recorder, self.node, choice, parts)

    def _chosen_parts(self, choice: Choice, index: int, parts: FitParts) -> FitParts:
        node = refit_node(self.node, choice, index)
        return parts.for_node(self.recorder, node, train=parts.train)

    def _fit_model(self, parts: FitParts, choice: ChoiceResult | None) -> Artifact:
        objects = self.recorder.objects
        with self.stopwatch.timing("fit"):
            if choice is None:
                context = fit_context(self.recorder, parts.node)
            else:
                units = len(choice.curves) + 1
                context = fit_context(
                    self.recorder, parts.node, shown_as=self.node, unit=(units - 1, units)
                )
            fitted, side_effects = parts.fit(self.recorder, context)
        state = parts.model.state_dict()
        _require_finite(state)
        facts: dict[str, Json] = {
            **_fitted_facts(fitted, choice),
            "seconds": dict(self.stopwatch.seconds),
            **_own_seconds(self.stopwatch.seconds["fit"], context.shared_time),
            **objects.side_effects.artifact_facts(self.node.use, side_effects),
            "code": cast(Json, objects.host.node_code(self.node)),
        }
        tensors = state | _snapshot_tensors(fitted)
        artifact = objects.cache.put(self.node.id, tensors, facts, kind="fit", use=self.node.use)
        if choice is not None:
            # The training states are saved under the id of the fit that was chosen.
            objects.cache.delete_checkpoint(parts.node.id)
        return artifact

    def _require_recorded_weights(self, artifact: Artifact) -> None:
        if not self.recorder.run.has_record(self.node.id):
            return
        record = cast("dict[str, Any]", self.recorder.run.read_record(self.node.id))  # Any: JSON
        recorded = record["weights"]["digest"]
        if recorded != artifact.digest:
            raise CacheError(
                f"fitting again gave weights {artifact.digest[:12]}..., "
                f"but the record has {str(recorded)[:12]}...; "
                "this machine does not reproduce it; "
                f"to replace it, delete its record {self.node.id}"
            )

    def _count_leaks(self) -> Mapping[str, Mapping[str, Json]] | None:
        objects = self.recorder.objects
        subset = cast(Node, self.node.inputs.get("subset"))
        source = cast("Node | None", self.node.inputs.get("source"))
        return fit_leakage(subset, source, host=objects.host, cache=objects.cache)

    def _write_record(
        self, parts: FitParts, artifact: Artifact, leakage: Mapping[str, Mapping[str, Json]] | None
    ) -> None:
        facts = cast("dict[str, Any]", artifact.facts)  # Any: JSON that `_fit_model` wrote
        # A loaded fit keeps the seconds that fitting took; what was timed now takes precedence.
        self.stopwatch.seconds = facts["seconds"] | self.stopwatch.seconds
        weights = {"source": parts.source.artifact.digest} if parts.source else {}
        data = {"train": parts.train.card.digest, "subset": samples_digest(parts.train)}
        if parts.validation is not None:
            data["validation"] = samples_digest(parts.validation)
        resolved = {"adapter": self._resolved_adapter(parts.adapter)}
        labels_used = len(parts.train) + len(parts.validation or ())
        observed = dict(self.recorder.observed_facts(self.node, self.stopwatch))
        if OWN_SECONDS in facts:
            observed[OWN_SECONDS] = facts[OWN_SECONDS]
        self.recorder.run.write_record(
            fit_record(
                self.node,
                weights=artifact.digest,
                kept=self.recorder.job.keep_weights,
                leakage=leakage,
                curves=facts["curves"],
                chosen=facts["chosen"],
                facts={**facts["facts"], "labels_used": labels_used},
                provenance=self.recorder.provenance_of(
                    self.node, data=data, weights=weights, resolved=resolved
                ),
                observed=observed,
                checks=self.recorder.objects.side_effects.checks,
            )
        )

    def _resolved_adapter(self, module: nn.Module | None) -> str:
        adapter = self.node.inputs.get("adapter")
        if not isinstance(adapter, Node) or module is None:
            return "identity"
        metadata = self.recorder.objects.component(adapter).metadata
        return describe_adapter(adapter.use, module, suits=metadata.adapts_to_shapes)


def describe_adapter(use: str, module: nn.Module, *, suits: bool) -> str:
    """Return the component of an adapter and, if it suits itself to the shapes, its modules."""
    if not suits:
        return use
    steps = list(module.children()) or [module]
    return f"{use}: {' -> '.join(map(str, steps))}"


def component_names(node: Node) -> str:
    """Return the names of the components that a node and its inputs are made by, with commas.

    The fit among the inputs of a result is left out: its components ran under its own guard.
    """
    nodes: list[Node] = []
    for value in node.inputs.values():
        nodes += value if isinstance(value, tuple) else (value,)
    inputs = [input_node for input_node in nodes if input_node.kind != "fit"]
    data = [part.inputs["data"] for part in inputs if part.kind in ("subset", "test")]
    uses = [
        component.use
        for component in (*inputs, *data, node)
        if isinstance(component, Node) and "/" in component.use
    ]
    return ", ".join(dict.fromkeys(uses))


def _fitted_facts(fitted: Fitted, choice: ChoiceResult | None) -> dict[str, Json]:
    """Return curves, chosen options and facts for the artifact, those of a choice included."""
    if choice is None:
        return {
            "curves": [dict(row) for row in fitted.curves],
            "chosen": dict(fitted.chosen),
            "facts": dict(fitted.facts),
        }
    return {
        "curves": [dict(row) for row in (*choice.curves, *fitted.curves)],
        "chosen": {**fitted.chosen, **choice.chosen},
        "facts": {**fitted.facts, **choice.facts},
        "candidate": choice.index,
    }


def _own_seconds(fit_seconds: float, shared_time: SharedTime) -> dict[str, Json]:
    """Return the seconds of a fit without what other fits share; nothing where an earlier call did a part."""
    if shared_time.continued:
        return {}
    return {OWN_SECONDS: max(0.0, fit_seconds - shared_time.seconds)}


def _require_finite(state: Tensors) -> None:
    non_finite = [
        name
        for name, tensor in state.items()
        if tensor.is_floating_point() and not tensor.isfinite().all()
    ]
    if non_finite:
        raise AdvTransferError(
            f"the fit left values that are not finite in {', '.join(non_finite)}"
        )


def _snapshot_tensors(fitted: Fitted) -> dict[str, Tensor]:
    """Return the tensors of all snapshots, under names that `_states_by_epoch` reads."""
    tensors: dict[str, Tensor] = {}
    for epoch, state in fitted.snapshots.items():
        tensors |= {f"snapshot {epoch}/{name}": tensor for name, tensor in state.items()}
    return tensors


def _states_by_epoch(tensors: Tensors) -> dict[int, Tensors]:
    """Return the states in an artifact by epoch, the final one under `FINAL_STATE`."""
    states: dict[int, dict[str, Tensor]] = {FINAL_STATE: {}}
    for name, tensor in tensors.items():
        match = SNAPSHOT_PREFIX.match(name)
        if match is None:
            states[FINAL_STATE][name] = tensor
        else:
            states.setdefault(int(match[1]), {})[name[match.end() :]] = tensor
    return {**states}
