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
from advtransfer.suite.sections import VIEW_OPTIONS
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
from advtransfer.worker.context import SourceWrapper, UntrainedSource, WorkerContext
from advtransfer.worker.device import training_precision
from advtransfer.worker.guards.side_effects import SideEffectLog

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True, slots=True)
class BuiltSource:
    """A source that is ready to be transferred.

    Its card, its network with weights (frozen, in eval mode), and the cached artifact of the weights.
    """

    card: SourceCard
    network: Network
    artifact: Artifact


@dataclass(frozen=True, slots=True)
class CachedSource(SourceWrapper):
    """A source with cached weights: the value of an option of another source or of a method."""

    tensors: Tensors

    def weights(self, context: Context) -> Weights:
        """Return the cached weights."""
        return Weights(self.tensors)


@dataclass(frozen=True)
class ObjectBuilder:
    """Builds the objects of one job; `run` pins the data it reads, `cache` keeps trained weights."""

    job: Job
    run: Run
    cache: Cache
    device: torch.device
    scratch: Path
    tell: Callable[[Mapping[str, Json]], None]
    host: Host
    side_effects: SideEffectLog = field(default_factory=SideEffectLog)

    def component(self, node: Node) -> Component:
        """Return the component that a node names, at the version that the node states.

        Raises:
            PluginError: The installed plugin has another version of it.
        """
        component = self.host.component(node.use)
        installed = component.metadata.version
        if installed != node.version:
            raise PluginError(
                component.plugin,
                f"{node.use} is at version {installed} here, "
                f"but version {node.version} was asked for; "
                "install the same release on every machine of a run",
            )
        return component

    def build_object(self, node: Node) -> object:
        """Call a node's factory with its options and the objects that its inputs name."""
        build_part = self._build_fit_input if node.kind == "fit" else self._build_input
        return call_factory(self.component(node), node, build_part)

    def load_dataset(self, node: Node) -> Dataset:
        """Return a data set with its view; its content must be what this run first read."""
        dataset = dataset_of(self.host, node)
        self.run.pin_data(node.id, dataset.card().digest)
        return dataset

    def data_digests(self, node: Node) -> dict[str, str]:
        """Return the digest of a node's own data set, of a source or an evaluation, by its role; empty without one."""
        data = node.inputs.get("data")
        return {"data": self.load_dataset(data).card().digest} if isinstance(data, Node) else {}

    def train_parts(self, subset: Node) -> tuple[Samples, Samples | None]:
        """Return the training samples of a fit, and its validation samples if there are any."""
        data = cast(Node, subset.inputs["data"])
        samples = self.load_dataset(data).part("train")
        options = cast("Mapping[str, Any]", subset.options)  # Any: JSON that the suite has checked
        drawn = draw_subset(
            samples.labels(all_positions(samples)),
            n=None if options["n"] == "all" else options["n"],
            validation=options["validation"],
            # Without the versions, so that a new version of a data set draws the same subset.
            seed_parts=[data.unversioned_id(), options["seed"]],
            rule=options["rule"],
        )
        train = SampleSubset(samples, drawn.train)
        if not len(drawn.validation):
            return train, None
        return train, SampleSubset(samples, drawn.validation)

    def test_part(self, test: Node) -> Samples:
        """Return the test part, or a fixed draw of it."""
        return drawn_test_part(self.load_dataset(cast(Node, test.inputs["data"])), test)

    def load_source(self, node: Node) -> BuiltSource:
        """Return a source with its weights, from the cache or built now under a lock."""
        component = self.component(node)
        source = cast(Source, self.build_object(node))
        artifact = self._source_artifact(node)
        network = plugin_values.require_network(component, source.network())
        module = cast("nn.Module", network)
        plugin_values.load_weights(component, module, artifact.tensors)
        freeze_weights(module.to(self.device).eval())
        card = plugin_values.require_source_card(component, source.card())
        return BuiltSource(card, network, artifact)

    def build_adapter(self, node: Node | None, *, target: Shape, source: Shape) -> nn.Module | None:
        """Return the adapter between two input shapes; None if none is requested and they agree.

        Raises:
            Inapplicable: The shapes differ and no adapter is requested.
        """
        if node is None:
            if target != source:
                raise Inapplicable(
                    f"the target gives inputs {target}, the source takes {source}; add an adapter"
                )
            return None
        component = self.component(node)
        adapter = cast(Adapter, self.build_object(node))
        module = plugin_values.require_module(
            component, "module", adapter.module(target=target, source=source)
        )
        if not check_return_value(component, "learned", adapter.learned, bool):
            freeze_weights(module)
        return module.to(self.device)

    def make_context(self, node: Node, *stream: str | int, name: str) -> WorkerContext:
        """Return the context of a node; its random streams depend on `stream` alone."""
        return WorkerContext(
            node=node,
            stream=stream,
            device=self.device,
            cache=self.cache,
            scratch=self.scratch,
            tell=self.tell,
            name=name,
            code_of=self.host.node_code,
            trust_versions=self.job.trust_versions,
        )

    def _source_artifact(self, node: Node) -> Artifact:
        """Return a source's weights, from the cache or built now under a lock."""
        artifact = self.cached_artifact(node)
        if artifact is None:
            with self.cache.hold_lock(node.id):
                # Another worker may have built it between the first look and the lock.
                artifact = self.cached_artifact(node)
                if artifact is None:
                    self.cache.drop_artifact(node.id)
                    artifact = self._build_source(node, cast(Source, self.build_object(node)))
        self.side_effects.add_from_artifact(artifact.facts)
        return artifact

    def cached_artifact(self, node: Node) -> Artifact | None:
        """Return the cached artifact of a node; None if it has to be built (again).

        An artifact that other code of a plugin made does not count, unless versions are trusted.
        """
        artifact = self.cache.get(node.id)
        if artifact is None or self.job.trust_versions:
            return artifact
        return None if self.host.changed_plugins(artifact.facts.get("code")) else artifact

    def _build_source(self, node: Node, source: Source) -> Artifact:
        role = "reference" if training_start(node) == "own" else "source"
        seed = cast(int, node.options.get("seed", 0))
        context = self.make_context(node, role, seed, name=self.job_name(node))
        with (
            training_precision(self.job.precision, self.device),
            self.side_effects.guard_component(node.use) as side_effects,
        ):
            weights = plugin_values.require_weights(self.component(node), source.weights(context))
        facts: dict[str, Json] = {
            "curves": [dict(row) for row in weights.curves],
            "facts": dict(weights.facts),
            "environment": self.run.read_environments()[self.job.environment],
            **self.side_effects.artifact_facts(node.use, side_effects),
            "code": cast(Json, self.host.node_code(node)),
        }
        return self.cache.put(node.id, weights.tensors, facts, kind="source", use=node.use)

    def job_name(self, node: Node) -> str:
        """Return the name of a node on the console: the job's, or the component for other nodes."""
        return str(self.job.asked_by.get("name")) if node.id == self.job.id else node.use

    def _build_input(self, node: Node) -> object:
        if node.kind == "data":
            return self.load_dataset(node)
        if node.kind == "source":
            source = cast(Source, self.build_object(node))
            return CachedSource(source, self._source_artifact(node).tensors)
        return self.build_object(node)

    def _build_fit_input(self, node: Node) -> object:
        # A cached draw would give all fits the same start; each fit draws its own instead.
        if node.kind == "source" and self.component(node).metadata.is_untrained:
            source = cast(Source, self.build_object(node))
            return UntrainedSource(source, cast(int, node.options.get("seed", 0)))
        return self._build_input(node)


@lru_cache(maxsize=1)
def installed_host() -> Host:
    """Return the host with the installed plugins; they are discovered once per worker."""
    return Host.discover()


def dataset_of(host: Host, node: Node) -> Dataset:
    """Return a data set with its view; repeated calls in one worker return the same object."""
    # By the canonical text: a node holds dictionaries, so it cannot be hashed.
    return _cached_dataset(host, canonical_json(node.to_json()))


def drawn_test_part(dataset: Dataset, test: Node) -> Samples:
    """Return the test part of a data set, or the fixed draw of it that a node asks for."""
    samples = dataset.part("test")
    option = test.options["count"]
    count = None if option == "all" else cast(int, option)
    labels = samples.labels(all_positions(samples))
    return SampleSubset(samples, draw_test_positions(labels, count=count))


@lru_cache(maxsize=4)
def _cached_dataset(host: Host, text: str) -> Dataset:
    """Return a data set from its node's canonical text.

    Cached, since a worker does many jobs on the same few data sets.
    """
    node = Node.from_json(json.loads(text))
    component = host.component(node.use)
    dataset = call_factory(component, node, lambda part: dataset_of(host, part))
    validated = plugin_values.ValidatedDataset(component, cast(Dataset, dataset))
    # Any: JSON that the suite has checked
    view = cast("dict[str, Any]", {name: node.options.get(name) for name in VIEW_OPTIONS})
    return view_dataset(validated, **view)


def call_factory(component: Component, node: Node, part: Callable[[Node], object]) -> object:
    """Call a factory with the options of a node.

    Args:
        component: The component of the factory.
        node: The node.
        part: Returns the object for each node among the inputs.

    Raises:
        BadInput: The content of a file or folder has changed since the node was made.
    """
    fields = component.options.fields
    parts: dict[str, object] = {
        name: tuple(map(part, value)) if isinstance(value, tuple) else part(value)
        for name, value in node.inputs.items()
        if name in fields
    }
    options = {name: value for name, value in node.options.items() if name in fields}
    for name, value in options.items():
        if fields[name].file is not None and value is not None:
            kind = Folder if fields[name].file == "folder" else File
            many = fields[name].many
            references = cast("Sequence[Json]", value) if many else (value,)
            contents = tuple(_verified_content(kind, reference, node) for reference in references)
            parts[name] = contents if many else contents[0]
    all_options = {**options, **node.options_not_in_id}
    plain = {name: value for name, value in all_options.items() if fields[name].is_plain}
    return check_product(component, component.build(plain, parts))


def _verified_content(kind: type[File | Folder], reference: Json, node: Node) -> File | Folder:
    """Return a file or folder of a node after verifying its SHA-256."""
    sha256 = cast("Mapping[str, str]", reference)["sha256"]
    path = Path(node.files[sha256])
    file_digests.require_sha256(path, sha256)
    return kind(path, sha256)


def samples_digest(samples: Samples) -> str:
    """Return the digest of a subset: the content of its data set and its sample keys, in order."""
    return content_id([samples.card.digest, list(samples.keys)])
