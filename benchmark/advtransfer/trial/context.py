"""What the host lends to a running part: device, streams, cache, progress. Nothing is global."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from advtransfer.cache import Cache
from advtransfer.node import Node, canonical, digest
from advtransfer.toolkit.prediction import KERNEL_BATCH
from advtransfer.toolkit.rows import rows_of
from advtransfer.toolkit.streams import generator, stream_seed
from advtransfer.types import Json, Samples, Tensors

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

CODE = "advtransfer code"
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
        return generator(*self.stream, stream, *keys)

    def numpy(self, stream: str, *keys: int) -> np.random.Generator:
        """The same for NumPy."""
        import numpy as np

        return np.random.default_rng(stream_seed(*self.stream, stream, *keys))

    def remember(
        self, what: str, key: Mapping[str, Json], build: Callable[[], Tensors], *, of: Iterable[str] | None = None
    ) -> Tensors:
        """Tensors of a cache node below this one, or below inputs of it; `Busy` while another worker builds it."""
        id = digest(canonical({"below": self._below(of), "what": what, "key": key}))
        found = self.cache.get(id)
        if found is None:
            with self.cache.lease(id):
                found = self.cache.get(id) or self.cache.put(id, build(), {}, kind=what, use=self.node.use)
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
        asked: dict[str, Json] = {"below": self._below(of), "what": what, "key": key, "content": samples.card.digest}
        store = self.cache.rows(digest(canonical(asked)), kind=what, use=self.node.use)
        found = rows_of(samples, compute, device=self.device, store=store)
        self.cache.make_room(keep=store.folder)
        return found

    def _below(self, of: Iterable[str] | None) -> Json:
        """The ids that what is remembered depends on; an input that this node does not have counts as none."""
        if of is None:
            return self._with_code(self.node.id, self.code_of(self.node))
        inputs = {name: self._input(name) for name in sorted(of)}
        nodes = [node for found in inputs.values() for node in (found if isinstance(found, tuple) else (found,))]
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

    def _input(self, path: str) -> Node | tuple[Node, ...]:
        name, _, below = path.partition(".")
        found = self.node.inputs.get(name, ())
        while below and isinstance(found, Node):
            name, _, below = below.partition(".")
            found = found.inputs.get(name, ())
        return found

    def saved(self) -> Tensors | None:
        """What an earlier, killed call saved; not what was saved by other code."""
        found = self.cache.saved(self.node.id)
        if found is None:
            return None
        kept = dict(found)
        by = kept.pop(CODE, None)
        told = None if by is None else bytes(by.tolist()).decode()
        return kept if told is None or self.trust_versions or told == self._code else None

    def save(self, state: Tensors) -> None:
        """Keep a state to continue from."""
        import torch

        by = torch.tensor(list(self._code.encode()), dtype=torch.uint8)
        self.cache.save(self.node.id, {**state, CODE: by})

    @property
    def _code(self) -> str:
        """The code that this node is made with, as one text."""
        return digest(canonical(dict(self.code_of(self.node))))

    def progress(self, done: int, total: int, **news: float) -> None:
        """Tell how far this node is."""
        self.tell(
            {"event": "progress", "id": self.node.id, "name": self.name, "done": done, "total": total, "news": news}
        )
