"""The objects that a fit needs, and the call of its transfer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from advtransfer.errors import Inapplicable
from advtransfer.node import Node
from advtransfer.toolkit.randomized import model_draws
from advtransfer.toolkit.rng import fork_global_rng
from advtransfer.types import ComponentMetadata, DataCard, Fitted, Json, Samples, Transfer
from advtransfer.worker import plugin_values
from advtransfer.worker.context import WorkerContext
from advtransfer.worker.device import training_precision
from advtransfer.worker.guards.side_effects import SideEffects
from advtransfer.worker.object_builder import BuiltSource
from advtransfer.worker.recording import JobRecorder

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class FitParts:
    """Objects that a fit needs; `node` is the fit that the model is built for."""

    node: Node
    transfer: Transfer
    model: nn.Module
    source: BuiltSource | None
    adapter: nn.Module | None
    train: Samples
    validation: Samples | None

    @classmethod
    def from_node(cls, recorder: JobRecorder, node: Node) -> FitParts:
        """Return the parts of a fit on the images of its subset."""
        objects = recorder.objects
        train, validation = objects.train_parts(cast(Node, node.inputs["subset"]))
        require_task(objects.component(node).metadata, train.card, node.use)
        transfer = cast(Transfer, objects.build_object(node))
        source_node = node.inputs.get("source")
        source = objects.load_source(source_node) if isinstance(source_node, Node) else None
        adapter_node = node.inputs.get("adapter")
        adapter = objects.build_adapter(
            adapter_node if isinstance(adapter_node, Node) else None,
            target=train.card.shape,
            source=source.card.shape if source else train.card.shape,
        )
        model = _build_model(recorder, node, transfer, source, adapter, train.card)
        return cls(node, transfer, model, source, adapter, train, validation)

    def for_node(self, recorder: JobRecorder, node: Node, *, train: Samples) -> FitParts:
        """Return the parts of another fit of this source and adapter, without a validation part."""
        with recorder.objects.side_effects.guard_component(node.use):
            transfer = cast(Transfer, recorder.objects.build_object(node))
            model = _build_model(recorder, node, transfer, self.source, self.adapter, train.card)
        return replace(
            self, node=node, transfer=transfer, model=model, train=train, validation=None
        )

    def fit(self, recorder: JobRecorder, context: WorkerContext) -> tuple[Fitted, SideEffects]:
        """Fit the model in place; return what the transfer returns, and its side effects."""
        objects = recorder.objects
        source = self.source.network if self.source else None
        with (
            training_precision(recorder.job.precision, objects.device),
            objects.side_effects.guard_component(
                self.node.use, self.model, fits=True
            ) as side_effects,
            model_draws(
                *(self.model, source),
                source=lambda: context.generator("model draws"),
                device=objects.device,
            ),
        ):
            returned = self.transfer.fit(
                self.model,
                source=source,
                adapter=self.adapter,
                train=self.train,
                validation=self.validation,
                context=context,
            )
        return plugin_values.require_fitted(objects.component(self.node), returned), side_effects


def _build_model(
    recorder: JobRecorder,
    node: Node,
    transfer: Transfer,
    source: BuiltSource | None,
    adapter: nn.Module | None,
    target: DataCard,
) -> nn.Module:
    objects = recorder.objects
    # `Transfer.model` gets no context, so a new layer draws its weights from the global state.
    # That state is set to the fit's own stream meanwhile.
    stream = fit_context(recorder, node).generator("model")
    with fork_global_rng(stream, device=objects.device):
        returned = transfer.model(
            source=source.network if source else None, adapter=adapter, target=target
        )
    model = plugin_values.require_module(objects.component(node), "model", returned)
    return model.to(objects.device)


def fit_context(
    recorder: JobRecorder,
    node: Node,
    *,
    shown_as: Node | None = None,
    unit: tuple[int, int] = (0, 1),
) -> WorkerContext:
    """Return the context of a fit.

    Its random streams depend on the subset alone, so that methods are compared on the same draws.

    Args:
        recorder: The job.
        node: The fit.
        shown_as: The fit that it is a part of, under which its progress is reported.
        unit: Its number from 0 among the parts, and their count.
    """
    subset = cast(Node, node.inputs["subset"])
    shown = node if shown_as is None else shown_as
    objects = recorder.objects
    name = objects.job_name(shown)
    context = objects.make_context(node, "fit", subset.unversioned_id(), name=name)
    number, count = unit

    def tell(event: Mapping[str, Json]) -> None:
        done, total = cast(int, event["done"]), cast(int, event["total"])
        objects.tell(
            {**event, "id": shown.id, "done": done + number * total, "total": total * count}
        )

    return context if shown_as is None else replace(context, tell=tell)


def require_task(metadata: ComponentMetadata, card: DataCard, use: str) -> None:
    """Refuse a component for a task that is not among those it states.

    Raises:
        Inapplicable: With the task and the tasks of the component.
    """
    if card.task not in metadata.tasks:
        raise Inapplicable(
            f"{use} works on {', '.join(sorted(metadata.tasks))}; the target's task is {card.task}"
        )
