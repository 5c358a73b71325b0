"""A `Context` without a host.

Everything in memory, and everything that was told kept for assertions.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from shutil import rmtree

import numpy as np
import torch
from torch import Tensor

from advtransfer.errors import Cancelled
from advtransfer.node import canonical_json
from advtransfer.toolkit.prediction import InMemoryRows, compute_rows
from advtransfer.toolkit.rng import stream_generator, stream_seed
from advtransfer.types import Json, Samples, Tensors


class InMemoryContext:
    """What the host lends to a running part, for tests.

    Args:
        seed: What every random stream depends on.
        device: Where to compute.
        batch_size: The batch size offered to evaluations.
        cancel_after: Raise Cancelled at this call of `progress`, as when a run is stopped; None for never.
        saved: The state that an earlier call saved.

    Attributes:
        told: What `progress` was told, in order: ``{"done": ..., "total": ..., **news}``.
        built: What `remember` has built, by name and canonical key.
        stored: The rows that `rows` has computed, by name and canonical key.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        device: str = "cpu",
        batch_size: int = 64,
        cancel_after: int | None = None,
        saved: Tensors | None = None,
    ) -> None:
        self.seed, self.batch_size = seed, batch_size
        self.device = torch.device(device)
        self.told: list[dict[str, float]] = []
        self.built: dict[tuple[str, str], Tensors] = {}
        self.stored: dict[tuple[str, str], InMemoryRows] = {}
        self._cancel_after, self._saved = cancel_after, saved
        self._scratch: Path | None = None

    @property
    def scratch(self) -> Path:
        """A folder that lives as long as the context."""
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="advtransfer-"))
            weakref.finalize(self, rmtree, self._scratch, ignore_errors=True)
        return self._scratch

    def generator(self, stream: str, *keys: int) -> torch.Generator:
        """A CPU generator that depends on the seed, the stream's name and the keys."""
        return stream_generator("test context", self.seed, stream, *keys)

    def numpy(self, stream: str, *keys: int) -> np.random.Generator:
        """The same for numpy."""
        return np.random.default_rng(stream_seed("test context", self.seed, stream, *keys))

    def remember(
        self,
        what: str,
        key: Mapping[str, Json],
        build: Callable[[], Tensors],
        *,
        of: Iterable[str] | None = None,
    ) -> Tensors:
        """What `build` gave for this name and key the first time."""
        place = what, canonical_json(key)
        if place not in self.built:
            self.built[place] = build()
        return self.built[place]

    def rows(
        self,
        what: str,
        key: Mapping[str, Json],
        samples: Samples,
        compute: Callable[[Tensor], Tensor],
        *,
        of: Iterable[str],
    ) -> Tensor:
        """What `compute` gives for each sample, computed once for this name, key and content."""
        store = self.stored.setdefault(
            (what, canonical_json({"key": key, "content": samples.card.digest})), InMemoryRows()
        )
        return compute_rows(samples, compute, device=self.device, store=store)

    def saved(self) -> Tensors | None:
        """The last saved state."""
        return self._saved

    def save(self, state: Tensors) -> None:
        """Keep a copy of the state."""
        self._saved = {name: tensor.clone() for name, tensor in state.items()}

    def progress(self, done: int, total: int, **news: float) -> None:
        """Keep the news; raises Cancelled when told to."""
        self.told.append({"done": done, "total": total, **news})
        if len(self.told) == self._cancel_after:
            raise Cancelled(f"stopped by the test at {done} of {total}")

    def resumed(self) -> InMemoryContext:
        """The context of the next call after this one was stopped: same seed, same saved state, never stopped."""
        return InMemoryContext(
            self.seed, device=str(self.device), batch_size=self.batch_size, saved=self._saved
        )
