"""Context that the host lends to a component: device, random streams, cache, progress.

Nothing in it is global.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from advtransfer.cache import Cache
from advtransfer.node import Node, content_id
from advtransfer.toolkit.prediction import KERNEL_BATCH, compute_rows
from advtransfer.toolkit.rng import stream_generator, stream_seed
from advtransfer.types import Context, Json, Network, Samples, Source, SourceCard, Tensors, Weights

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor


CODE_ENTRY = "advtransfer code"
"""The name in a checkpoint of the digest of the code that it was saved by."""


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """The `Context` of one node in one worker; `stream` names what its randomness depends on."""

    node: Node
    stream: tuple[str | int, ...]
    device: torch.device
    cache: Cache
    scratch: Path
    tell: Callable[[Mapping[str, Json]], None]
    name: str
    code_of: Callable[[Node], Mapping[str, str]] = lambda node: {}
    trust_versions: bool = False

    @property
    def batch_size(self) -> int:
        """Rows that one kernel sees; the same everywhere, so that no result depends on it."""
        return KERNEL_BATCH

    def generator(self, stream: str, *keys: int) -> torch.Generator:
        """A CPU generator at the start of the stream."""
        return stream_generator(*self.stream, stream, *keys)

    def numpy(self, stream: str, *keys: int) -> np.random.Generator:
        """The same for NumPy."""
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
        """Tensors of a cache node below this one, or below inputs of it; `Busy` while another worker builds it."""
        id = content_id({"below": self._dependencies(of), "what": what, "key": key})
        found = self.cache.get(id)
        if found is None:
            with self.cache.hold_lock(id):
                found = self.cache.get(id) or self.cache.put(
                    id, build(), {}, kind=what, use=self.node.use
                )
        return found.tensors

    def rows(
        self,
        what: str,
        key: Mapping[str, Json],
        samples: Samples,
        compute: Callable[[Tensor], Tensor],
        *,
        of: Iterable[str],
    ) -> Tensor:
        """What `compute` gives for each sample, found in the cache or kept there, however many ask at once."""
        # the content too: a data set that is named may have another one in another run
        asked: dict[str, Json] = {
            "below": self._dependencies(of),
            "what": what,
            "key": key,
            "content": samples.card.digest,
        }
        store = self.cache.rows(content_id(asked), kind=what, use=self.node.use)
        found = compute_rows(samples, compute, device=self.device, store=store)
        self.cache.make_room(keep=store.folder)
        return found

    def _dependencies(self, of: Iterable[str] | None) -> Json:
        """The ids that what is remembered depends on; an input that this node does not have counts as none."""
        if of is None:
            return self._with_code(self.node.id, self.code_of(self.node))
        inputs = {name: self._input_nodes(name) for name in sorted(of)}
        nodes = [
            node
            for found in inputs.values()
            for node in (found if isinstance(found, tuple) else (found,))
        ]
        # the code of inputs that are not named is not what this depends on
        code = dict(self.code_of(replace(self.node, inputs={})))
        for node in nodes:
            code |= self.code_of(node)
        asked: Json = {
            "plugin": self.node.use.partition("/")[0],
            "inputs": {
                name: [node.id for node in found] if isinstance(found, tuple) else found.id
                for name, found in inputs.items()
            },
        }
        return self._with_code(asked, code)

    @staticmethod
    def _with_code(asked: Json, code: Mapping[str, str]) -> Json:
        return {"of": asked, "code": dict(sorted(code.items()))} if code else asked

    def _input_nodes(self, path: str) -> Node | tuple[Node, ...]:
        name, _, below = path.partition(".")
        found = self.node.inputs.get(name, ())
        while below and isinstance(found, Node):
            name, _, below = below.partition(".")
            found = found.inputs.get(name, ())
        return found

    def saved(self) -> Tensors | None:
        """What an earlier, killed call saved; not what was saved by other code."""
        found = self.cache.load_checkpoint(self.node.id)
        if found is None:
            return None
        kept = dict(found)
        by = kept.pop(CODE_ENTRY, None)
        told = None if by is None else bytes(by.tolist()).decode()
        return kept if told is None or self.trust_versions or told == self._code_digest else None

    def save(self, state: Tensors) -> None:
        """Keep a state to continue from."""
        import torch

        by = torch.tensor(list(self._code_digest.encode()), dtype=torch.uint8)
        self.cache.save_checkpoint(self.node.id, {**state, CODE_ENTRY: by})

    @property
    def _code_digest(self) -> str:
        """The code that this node is made with, as one text."""
        return content_id(dict(self.code_of(self.node)))

    def progress(self, done: int, total: int, **news: float) -> None:
        """Tell how far this node is."""
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
class UntrainedSource:
    """An untrained source that each fit draws for itself: with the subset, the weights it starts from change too."""

    source: Source
    seed: int

    def card(self) -> SourceCard:
        """The source's own card."""
        return self.source.card()

    def network(self) -> Network:
        """The architecture."""
        return self.source.network()

    def weights(self, context: Context) -> Weights:
        """Weights drawn from the fit's stream and the source's seed."""
        fit = cast(WorkerContext, context)
        return self.source.weights(replace(fit, stream=(*fit.stream, "source", self.seed)))
