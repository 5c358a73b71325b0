"""Context that the host gives to a component: device, random streams, cache, progress.

Nothing in it is global.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from advtransfer.cache import Cache
from advtransfer.node import Node, content_id
from advtransfer.toolkit.kernel_batch import KERNEL_BATCH, default_rows
from advtransfer.toolkit.prediction import compute_rows
from advtransfer.toolkit.rng import keyed_uniform, stream_generator, stream_seed
from advtransfer.types import (
    Context,
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
    import numpy as np
    import torch
    from torch import Tensor


CODE_ENTRY = "advtransfer code"
"""Name of the entry in a checkpoint that holds the digest of the code that saved it."""


@dataclass(slots=True)
class SharedTime:
    """The time of a node that does not belong to it alone.

    Attributes:
        seconds: Spent on values that nodes with the same inputs share, built or read.
        continued: The node took up the checkpoint of an earlier, killed call.
        has_saved: The node has saved a checkpoint itself.
    """

    seconds: float = 0.0
    continued: bool = False
    has_saved: bool = False
    _depth: int = field(default=0, init=False)

    @contextmanager
    def timing(self) -> Iterator[None]:
        """Add the time spent inside, once where blocks are nested."""
        began = time.perf_counter()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if not self._depth:
                self.seconds += time.perf_counter() - began


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """The `Context` of one node in one worker.

    `stream` is the prefix of its random streams: two contexts with the same one draw the same.
    `shared_time` is kept while the component runs.
    """

    node: Node
    stream: tuple[str | int, ...]
    device: torch.device
    cache: Cache
    scratch: Path
    tell: Callable[[Mapping[str, Json]], None]
    name: str
    code_of: Callable[[Node], Mapping[str, str]] = lambda node: {}
    trust_versions: bool = False
    shared_time: SharedTime = field(default_factory=SharedTime)

    @property
    def batch_size(self) -> int:
        """Rows per kernel for inputs of which nothing is known; the same for every component."""
        return default_rows()

    def generator(self, stream: str, *keys: int) -> torch.Generator:
        """Return a CPU generator at the start of a random stream."""
        return stream_generator(*self.stream, stream, *keys)

    def uniform(
        self, stream: str, keys: Sequence[int], shape: Shape, restart: int = 0, step: int = 0
    ) -> Tensor:
        """Return uniform numbers of each sample, ``(len(keys), *shape)`` float32 in [0, 1)."""
        return keyed_uniform(stream_seed(*self.stream, stream, restart, step), keys, shape)

    def numpy(self, stream: str, *keys: int) -> np.random.Generator:
        """Return a NumPy generator at the start of a random stream."""
        import numpy as np

        return np.random.default_rng(stream_seed(*self.stream, stream, *keys))

    def remember(
        self,
        what: str,
        key: Mapping[str, Json],
        build: Callable[[], Tensors],
        *,
        of: Iterable[str] | None = None,
    ) -> Tensors:
        """Return tensors that depend on this node, or on inputs of it, from the cache or from `build`.

        Args:
            what: Name of the tensors.
            key: Everything else that they depend on.
            build: Builds them if they are not cached.
            of: Names of the inputs that they depend on; None for the whole node.

        Raises:
            Busy: Another worker is building them.
        """
        id = content_id({"below": self._dependencies(of), "what": what, "key": key})
        # What depends on the whole node is its own.
        with self.shared_time.timing() if of is not None else nullcontext():
            artifact = self.cache.get(id)
            if artifact is None:
                with self.cache.hold_lock(id):
                    # Another worker may have built them between the first look and the lock.
                    artifact = self.cache.get(id) or self.cache.put(
                        id, build(), {}, kind=what, use=self.node.use
                    )
        return artifact.tensors

    def rows(
        self,
        what: str,
        key: Mapping[str, Json],
        samples: Samples,
        compute: Callable[[Tensor], Tensor],
        *,
        of: Iterable[str],
    ) -> Tensor:
        """Return `compute` of each sample, ``(N, ...)``, from the cache where it has the row.

        Several workers may ask for the same rows at once.
        """
        row_key: dict[str, Json] = {
            "below": self._dependencies(of),
            "what": what,
            "key": key,
            # The content too: a data set that is named can have different content in another run.
            "content": samples.card.digest,
        }
        if default_rows() != KERNEL_BATCH:
            # Rows of other kernel batches differ in their last bits.
            row_key["kernel_batch"] = default_rows()
        with self.shared_time.timing():
            store = self.cache.rows(content_id(row_key), kind=what, use=self.node.use)
            rows = compute_rows(samples, compute, device=self.device, store=store)
            self.cache.make_room(keep=store.folder)
        return rows

    def _dependencies(self, of: Iterable[str] | None) -> Json:
        """Return what a cached value depends on: ids of nodes, and digests of their code.

        An input that this node does not have counts as none.
        """
        if of is None:
            return self._with_code(self.node.id, self.code_of(self.node))
        inputs = {name: self._input_nodes(name) for name in sorted(of)}
        # The code of the component itself, without that of inputs that are not named.
        code = dict(self.code_of(replace(self.node, inputs={})))
        ids: dict[str, Json] = {}
        for name, nodes in inputs.items():
            several = nodes if isinstance(nodes, tuple) else (nodes,)
            for node in several:
                code |= self.code_of(node)
            ids[name] = [node.id for node in several] if isinstance(nodes, tuple) else nodes.id
        plugin = self.node.use.partition("/")[0]
        return self._with_code({"plugin": plugin, "inputs": ids}, code)

    @staticmethod
    def _with_code(ids: Json, code: Mapping[str, str]) -> Json:
        return {"of": ids, "code": dict(sorted(code.items()))} if code else ids

    def _input_nodes(self, path: str) -> Node | tuple[Node, ...]:
        """Return the input at a path such as ``source`` or ``model.source``."""
        name, _, rest = path.partition(".")
        nodes = self.node.inputs.get(name, ())
        while rest and isinstance(nodes, Node):
            name, _, rest = rest.partition(".")
            nodes = nodes.inputs.get(name, ())
        return nodes

    def saved(self) -> Tensors | None:
        """Return the checkpoint of an earlier, killed call.

        None if there is none, or if other code saved it, unless versions are trusted.
        """
        checkpoint = self.cache.load_checkpoint(self.node.id)
        if checkpoint is None:
            return None
        state = dict(checkpoint)
        entry = state.pop(CODE_ENTRY, None)
        if entry is not None and not self.trust_versions:
            digest = bytes(entry.tolist()).decode()
            if digest != self._code_digest:
                return None
        self.shared_time.continued |= not self.shared_time.has_saved
        return state

    def save(self, state: Tensors) -> None:
        """Save a checkpoint to continue from."""
        import torch

        # A checkpoint holds tensors alone, so the digest is stored as its bytes.
        digest = torch.tensor(list(self._code_digest.encode()), dtype=torch.uint8)
        self.cache.save_checkpoint(self.node.id, {**state, CODE_ENTRY: digest})
        self.shared_time.has_saved = True

    @property
    def _code_digest(self) -> str:
        """Digest of the code that this node is made with."""
        return content_id(dict(self.code_of(self.node)))

    def progress(self, done: int, total: int, **news: float) -> None:
        """Report how many of the node's units of work are done."""
        self.tell(
            {
                "event": "progress",
                "id": self.node.id,
                "name": self.name,
                "done": done,
                "total": total,
                "news": news,
            }
        )


@dataclass(frozen=True, slots=True)
class SourceWrapper:
    """A source whose weights come from elsewhere; subclasses have a method `weights`."""

    source: Source

    def card(self) -> SourceCard:
        """Return the source's own card."""
        return self.source.card()

    def network(self) -> Network:
        """Return the source's architecture with untrained weights."""
        return self.source.network()


@dataclass(frozen=True, slots=True)
class UntrainedSource(SourceWrapper):
    """An untrained source that each fit draws for itself, so its weights vary with the subset."""

    seed: int

    def weights(self, context: Context) -> Weights:
        """Return weights drawn from the fit's random stream and the source's seed."""
        fit_context = cast(WorkerContext, context)
        stream = (*fit_context.stream, "source", self.seed)
        return self.source.weights(replace(fit_context, stream=stream))
