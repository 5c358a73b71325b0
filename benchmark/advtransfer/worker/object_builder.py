"""Construction of objects from nodes.

Data sets, subsets, networks with weights, adapters, transfers, evaluations.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from advtransfer.cache import Artifact, Cache
from advtransfer.errors import Inapplicable, PluginError
from advtransfer.host import Component, Host
from advtransfer.host.component import check_product, check_return_value
from advtransfer.jobs import Job
from advtransfer.node import Node, canonical_json, content_id
from advtransfer.result import Run
from advtransfer.suite.grid_entries import training_start
from advtransfer.toolkit import file_digests
from advtransfer.toolkit.datasets import SampleSubset, all_positions
from advtransfer.toolkit.model_modes import freeze_weights
from advtransfer.toolkit.subset import draw_subset, draw_test_positions
from advtransfer.toolkit.views import view_dataset
from advtransfer.types import (
    Adapter,
    Context,
    Dataset,
    File,
    Folder,
    Json,
    Network,
    Samples,
    Shape,
    Source,
    SourceCard,
    Tensors,
    Weights,
)
from advtransfer.worker import plugin_values
from advtransfer.worker.context import UntrainedSource, WorkerContext
from advtransfer.worker.device import training_precision
from advtransfer.worker.guards.side_effects import SideEffectLog

if TYPE_CHECKING:
    import torch
    from torch import nn

VIEW_OPTIONS = ("classes", "channels", "size")


@dataclass(frozen=True, slots=True)
class BuiltSource:
    """A source ready to be carried over: its card, its network with weights (frozen, eval mode), and where they lie."""

    card: SourceCard
    network: Network
    artifact: Artifact


@dataclass(frozen=True, slots=True)
class CachedSource:
    """A source whose weights are made: what another source or a method that takes one as an option is handed."""

    source: Source
    tensors: Tensors

    def card(self) -> SourceCard:
        """The source's own card."""
        return self.source.card()

    def network(self) -> Network:
        """The architecture with untrained weights."""
        return self.source.network()

    def weights(self, context: Context) -> Weights:
        """The weights as they lie in the cache."""
        return Weights(self.tensors)


@dataclass(frozen=True)
class ObjectBuilder:
    """Builds what one job needs; `run` pins what is read, `cache` keeps what is dear."""

    job: Job
    run: Run
    cache: Cache
    device: torch.device
    scratch: Path
    tell: Callable[[Mapping[str, Json]], None]
    host: Host
    side_effects: SideEffectLog = field(default_factory=SideEffectLog)

    def component(self, node: Node) -> Component:
        """The component a node names, at the version that was asked for.

        Raises:
            PluginError: The installed plugin has another version of it.
        """
        found = self.host.component(node.use)
        if found.metadata.version != node.version:
            message = f"{node.use} is at version {found.metadata.version} here, but version {node.version} was asked for"
            raise PluginError(
                found.plugin, f"{message}; install the same release on every machine of a run"
            )
        return found

    def build_object(self, node: Node) -> object:
        """Call a node's factory with its options and the objects its inputs name."""
        return call_factory(
            self.component(node),
            node,
            self._build_fit_input if node.kind == "fit" else self._build_input,
        )

    def load_dataset(self, node: Node) -> Dataset:
        """A data set with its view, held to the content that this run first saw."""
        made = dataset_of(self.host, node)
        self.run.pin_data(node.id, made.card().digest)
        return made

    def train_parts(self, subset: Node) -> tuple[Samples, Samples | None]:
        """The training subset that a fit may see, and its validation part."""
        data = cast(Node, subset.inputs["data"])
        samples = self.load_dataset(data).part("train")
        options = cast("Mapping[str, Any]", subset.options)  # Any: JSON that the suite has checked
        drawn = draw_subset(
            samples.labels(all_positions(samples)),
            n=None if options["n"] == "all" else options["n"],
            validation=options["validation"],
            seed_parts=[data.unversioned_id(), options["seed"]],
            rule=options["rule"],
        )
        return SampleSubset(samples, drawn.train), SampleSubset(samples, drawn.validation) if len(
            drawn.validation
        ) else None

    def test_part(self, test: Node) -> Samples:
        """The test part, or a fixed draw of it."""
        samples = self.load_dataset(cast(Node, test.inputs["data"])).part("test")
        count = test.options["count"]
        labels = samples.labels(all_positions(samples))
        return SampleSubset(
            samples, draw_test_positions(labels, count=None if count == "all" else cast(int, count))
        )

    def load_source(self, node: Node) -> BuiltSource:
        """A source with its weights: from the cache, or built now under a lease."""
        component = self.component(node)
        source, artifact = cast(Source, self.build_object(node)), self._source_artifact(node)
        network = plugin_values.require_network(component, source.network())
        module = cast("nn.Module", network)
        plugin_values.load_weights(component, module, artifact.tensors)
        freeze_weights(module.to(self.device).eval())
        return BuiltSource(
            plugin_values.require_source_card(component, source.card()), network, artifact
        )

    def build_adapter(self, node: Node | None, *, target: Shape, source: Shape) -> nn.Module | None:
        """The adapter between two shapes; none where none was asked for and the shapes agree.

        Raises:
            Inapplicable: The shapes differ and the cell has no adapter.
        """
        if node is None:
            if target != source:
                raise Inapplicable(
                    f"the target gives inputs {target}, the source takes {source}; add an adapter"
                )
            return None
        component, adapter = self.component(node), cast(Adapter, self.build_object(node))
        module = plugin_values.require_module(
            component, "module", adapter.module(target=target, source=source)
        )
        if not check_return_value(component, "learned", adapter.learned, bool):
            freeze_weights(module)
        return module.to(self.device)

    def make_context(self, node: Node, *stream: str | int, name: str) -> WorkerContext:
        """What `node` is lent; its randomness depends on `stream` alone."""
        trust = self.job.trust_versions
        return WorkerContext(
            node,
            stream,
            self.device,
            self.cache,
            self.scratch,
            self.tell,
            name,
            self.host.node_code,
            trust,
        )

    def _source_artifact(self, node: Node) -> Artifact:
        """A source's weights from the cache, or made now under a lease."""
        found = self.cached_artifact(node)
        if found is None:
            with self.cache.hold_lock(node.id):
                found = self.cached_artifact(node)
                if found is None:
                    self.cache.drop_artifact(node.id)
                    found = self._build_source(node, cast(Source, self.build_object(node)))
        self.side_effects.add_from_artifact(found.facts)
        return found

    def cached_artifact(self, node: Node) -> Artifact | None:
        """What was built of a node, with the code that is installed; None where it is to be built (again)."""
        found = self.cache.get(node.id)
        if (
            found is None
            or self.job.trust_versions
            or not self.host.changed_plugins(found.facts.get("code"))
        ):
            return found
        return None

    def _build_source(self, node: Node, source: Source) -> Artifact:
        role = "reference" if training_start(node) == "own" else "source"
        context = self.make_context(
            node, role, cast(int, node.options.get("seed", 0)), name=self.job_name(node)
        )
        with (
            training_precision(self.job.precision, self.device),
            self.side_effects.guard_component(node.use) as found,
        ):
            made = plugin_values.require_weights(self.component(node), source.weights(context))
        facts: dict[str, Json] = {
            "curves": [dict(row) for row in made.curves],
            "facts": dict(made.facts),
            "environment": self.run.read_environments()[self.job.environment],
            **self.side_effects.artifact_facts(node.use, found),
            "code": cast(Json, self.host.node_code(node)),
        }
        return self.cache.put(node.id, made.tensors, facts, kind="source", use=node.use)

    def job_name(self, node: Node) -> str:
        """What the console calls a node: the job's name, or the component of a node built on the way."""
        return str(self.job.asked_by.get("name")) if node.id == self.job.id else node.use

    def _build_input(self, node: Node) -> object:
        if node.kind == "data":
            return self.load_dataset(node)
        return self._cached_source(node) if node.kind == "source" else self.build_object(node)

    def _build_fit_input(self, node: Node) -> object:
        if node.kind == "source" and self.component(node).metadata.is_untrained:
            return UntrainedSource(
                cast(Source, self.build_object(node)), cast(int, node.options.get("seed", 0))
            )
        return self._build_input(node)

    def _cached_source(self, node: Node) -> Source:
        return CachedSource(
            cast(Source, self.build_object(node)), self._source_artifact(node).tensors
        )


@lru_cache(maxsize=1)
def installed_host() -> Host:
    """The installed plugins; asked once in a worker's life."""
    return Host.discover()


def dataset_of(host: Host, node: Node) -> Dataset:
    """A data set with its view; a worker that asks again is given the same one."""
    return _cached_dataset(host, canonical_json(node.to_json()))


@lru_cache(maxsize=4)
def _cached_dataset(host: Host, text: str) -> Dataset:
    """A data set by its node's text: a worker does many jobs on the same few."""
    node = Node.from_json(json.loads(text))
    component = host.component(node.use)
    made = cast(Dataset, call_factory(component, node, lambda part: dataset_of(host, part)))
    return view_dataset(
        plugin_values.ValidatedDataset(component, made),
        **cast("dict[str, Any]", {name: node.options.get(name) for name in VIEW_OPTIONS}),
    )


def call_factory(component: Component, node: Node, part: Callable[[Node], object]) -> object:
    """Call a factory with the options of a node; `part` gives the object for each node among its inputs.

    Raises:
        BadInput: A file or folder no longer has the content that was asked for.
    """
    fields = component.options.fields
    parts: dict[str, object] = {
        name: tuple(map(part, value)) if isinstance(value, tuple) else part(value)
        for name, value in node.inputs.items()
        if name in fields
    }
    given = {name: value for name, value in node.options.items() if name in fields}
    for name, value in given.items():
        if fields[name].file is not None and value is not None:
            kind = Folder if fields[name].file == "folder" else File
            many = fields[name].many
            several = cast("Sequence[Json]", value) if many else (value,)
            contents = tuple(_verified_content(kind, one, node) for one in several)
            parts[name] = contents if many else contents[0]
    plain = {
        name: value
        for name, value in {**given, **node.options_not_in_id}.items()
        if fields[name].is_plain
    }
    return check_product(component, component.build(plain, parts))


def _verified_content(kind: type[File | Folder], asked: Json, node: Node) -> File | Folder:
    """A file or folder of a node, held to the content that was asked for."""
    sha256 = cast("Mapping[str, str]", asked)["sha256"]
    path = Path(node.files[sha256])
    file_digests.require_sha256(path, sha256)
    return kind(path, sha256)


def samples_digest(samples: Samples) -> str:
    """The digest of a subset: its data set's content and which samples it holds, in order."""
    return content_id([samples.card.digest, list(samples.keys)])
