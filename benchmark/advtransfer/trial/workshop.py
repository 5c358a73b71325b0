"""From nodes to objects: data sets, subsets, networks with their weights, adapters, methods, evaluations."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from advtransfer import digests
from advtransfer.cache import Artifact, Cache
from advtransfer.errors import Inapplicable, PluginError
from advtransfer.host import Component, Host
from advtransfer.node import Node, canonical, digest
from advtransfer.result import Run
from advtransfer.returned import built, returned
from advtransfer.suite.references import start_of
from advtransfer.toolkit.freezing import freeze
from advtransfer.toolkit.samples import Picked, every
from advtransfer.toolkit.subset import draw, test_draw
from advtransfer.toolkit.views import view
from advtransfer.trial import border
from advtransfer.trial.context import WorkerContext
from advtransfer.trial.drawn import DrawnSource
from advtransfer.trial.left_behind import LeftBehind
from advtransfer.trial.precision import training_in
from advtransfer.types import (
    Adapter,
    Context,
    Dataset,
    File,
    Folder,
    Job,
    Json,
    Network,
    Samples,
    Shape,
    Source,
    SourceCard,
    Tensors,
    Weights,
)

if TYPE_CHECKING:
    import torch
    from torch import nn

VIEWS = ("classes", "channels", "size")


@dataclass(frozen=True, slots=True)
class BuiltSource:
    """A source ready to be carried over: its card, its network with weights (frozen, eval mode), and where they lie."""

    card: SourceCard
    network: Network
    artifact: Artifact


@dataclass(frozen=True, slots=True)
class ReadySource:
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
class Workshop:
    """Builds what one job needs; `run` pins what is read, `cache` keeps what is dear."""

    job: Job
    run: Run
    cache: Cache
    device: torch.device
    scratch: Path
    tell: Callable[[Mapping[str, Json]], None]
    host: Host
    left: LeftBehind = field(default_factory=LeftBehind)

    def component(self, node: Node) -> Component:
        """The component a node names, at the version that was asked for.

        Raises:
            PluginError: The installed plugin has another version of it.
        """
        found = self.host.component(node.use)
        if found.facts.version != node.version:
            message = f"{node.use} is at version {found.facts.version} here, but version {node.version} was asked for"
            raise PluginError(found.plugin, f"{message}; install the same release on every machine of a run")
        return found

    def build(self, node: Node) -> object:
        """Call a node's factory with its options and the objects its inputs name."""
        return assemble(self.component(node), node, self._part_of_fit if node.kind == "fit" else self._part)

    def dataset(self, node: Node) -> Dataset:
        """A data set with its view, held to the content that this run first saw."""
        made = dataset_of(self.host, node)
        self.run.pin(node.id, made.card().digest)
        return made

    def train(self, subset: Node) -> tuple[Samples, Samples | None]:
        """The training subset that a fit may see, and its validation part."""
        data = cast(Node, subset.inputs["data"])
        samples = self.dataset(data).part("train")
        options = cast("Mapping[str, Any]", subset.options)  # Any: JSON that the suite has checked
        drawn = draw(
            samples.labels(every(samples)),
            n=None if options["n"] == "all" else options["n"],
            validation=options["validation"],
            seed_parts=[data.unversioned(), options["seed"]],
            rule=options["rule"],
        )
        return Picked(samples, drawn.train), Picked(samples, drawn.validation) if len(drawn.validation) else None

    def test(self, test: Node) -> Samples:
        """The test part, or a fixed draw of it."""
        samples = self.dataset(cast(Node, test.inputs["data"])).part("test")
        count = test.options["count"]
        labels = samples.labels(every(samples))
        return Picked(samples, test_draw(labels, count=None if count == "all" else cast(int, count)))

    def source(self, node: Node) -> BuiltSource:
        """A source with its weights: from the cache, or built now under a lease."""
        component = self.component(node)
        source, artifact = cast(Source, self.build(node)), self._artifact(node)
        network = border.network(component, source.network())
        module = cast("nn.Module", network)
        border.load(component, module, artifact.tensors)
        freeze(module.to(self.device).eval())
        return BuiltSource(border.source_card(component, source.card()), network, artifact)

    def adapter(self, node: Node | None, *, target: Shape, source: Shape) -> nn.Module | None:
        """The adapter between two shapes; none where none was asked for and the shapes agree.

        Raises:
            Inapplicable: The shapes differ and the cell has no adapter.
        """
        if node is None:
            if target != source:
                raise Inapplicable(f"the target gives inputs {target}, the source takes {source}; add an adapter")
            return None
        component, adapter = self.component(node), cast(Adapter, self.build(node))
        module = border.module(component, "module", adapter.module(target=target, source=source))
        if not returned(component, "learned", adapter.learned, bool):
            freeze(module)
        return module.to(self.device)

    def context(self, node: Node, *stream: str | int, name: str) -> WorkerContext:
        """What `node` is lent; its randomness depends on `stream` alone."""
        trust = self.job.trust_versions
        return WorkerContext(
            node, stream, self.device, self.cache, self.scratch, self.tell, name, self.host.code_of, trust
        )

    def _artifact(self, node: Node) -> Artifact:
        """A source's weights from the cache, or made now under a lease."""
        found = self.known(node)
        if found is None:
            with self.cache.lease(node.id):
                found = self.known(node)
                if found is None:
                    self.cache.drop(node.id)
                    found = self._made(node, cast(Source, self.build(node)))
        self.left.marked(found.facts)
        return found

    def known(self, node: Node) -> Artifact | None:
        """What was built of a node, with the code that is installed; None where it is to be built (again)."""
        found = self.cache.get(node.id)
        if found is None or self.job.trust_versions or not self.host.changed(found.facts.get("code")):
            return found
        return None

    def _made(self, node: Node, source: Source) -> Artifact:
        role = "reference" if start_of(node) == "own" else "source"
        context = self.context(node, role, cast(int, node.options.get("seed", 0)), name=self.job_name(node))
        with training_in(self.job.precision, self.device), self.left.by(node.use) as found:
            made = border.weights(self.component(node), source.weights(context))
        facts: dict[str, Json] = {
            "curves": [dict(row) for row in made.curves],
            "facts": dict(made.facts),
            "environment": self.run.environments()[self.job.environment],
            **self.left.mark(node.use, found),
            "code": cast(Json, self.host.code_of(node)),
        }
        return self.cache.put(node.id, made.tensors, facts, kind="source", use=node.use)

    def job_name(self, node: Node) -> str:
        """What the console calls a node: the job's name, or the component of a node built on the way."""
        return str(self.job.asked_by.get("name")) if node.id == self.job.id else node.use

    def _part(self, node: Node) -> object:
        if node.kind == "data":
            return self.dataset(node)
        return self._ready(node) if node.kind == "source" else self.build(node)

    def _part_of_fit(self, node: Node) -> object:
        if node.kind == "source" and self.component(node).facts.drawn:
            return DrawnSource(cast(Source, self.build(node)), cast(int, node.options.get("seed", 0)))
        return self._part(node)

    def _ready(self, node: Node) -> Source:
        return ReadySource(cast(Source, self.build(node)), self._artifact(node).tensors)


@lru_cache(maxsize=1)
def installed() -> Host:
    """The installed plugins; asked once in a worker's life."""
    return Host.discover()


def dataset_of(host: Host, node: Node) -> Dataset:
    """A data set with its view; a worker that asks again is given the same one."""
    return _dataset(host, canonical(node.to_json()))


@lru_cache(maxsize=4)
def _dataset(host: Host, text: str) -> Dataset:
    """A data set by its node's text: a worker does many jobs on the same few."""
    node = Node.from_json(json.loads(text))
    component = host.component(node.use)
    made = cast(Dataset, assemble(component, node, lambda part: dataset_of(host, part)))
    return view(
        border.HeldDataset(component, made), **cast("dict[str, Any]", {name: node.options.get(name) for name in VIEWS})
    )


def assemble(component: Component, node: Node, part: Callable[[Node], object]) -> object:
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
            contents = tuple(_content(kind, one, node) for one in several)
            parts[name] = contents if many else contents[0]
    plain = {name: value for name, value in {**given, **node.how}.items() if fields[name].plain}
    return built(component, component.build(plain, parts))


def _content(kind: type[File | Folder], asked: Json, node: Node) -> File | Folder:
    """A file or folder of a node, held to the content that was asked for."""
    sha256 = cast("Mapping[str, str]", asked)["sha256"]
    path = Path(node.files[sha256])
    digests.check(path, sha256)
    return kind(path, sha256)


def samples_digest(samples: Samples) -> str:
    """The digest of a subset: its data set's content and which samples it holds, in order."""
    return digest(canonical([samples.card.digest, list(samples.keys)]))
